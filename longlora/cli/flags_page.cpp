#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "longlora/cli/foreign_flags.h"

namespace longlora::cli {
namespace {

constexpr const char* kIntroduction = R"(# Flags of other programs

<!-- Made by `longlora --flags_page` from the tables that the program itself parses by; edit those. -->

Command lines of LongLoRA's released scripts, and of scripts on Hugging Face's Trainer, run as they are with the first words
swapped: `python fine-tune.py …` becomes `longlora fine-tune …`. Every flag of theirs does its work, or is taken with a line
that says why nothing happens, or ends the program with what to do instead. None is dropped in silence. `longlora VERB --help`
lists the flags that the program has itself.

`--flag value` and `--flag=value` are the same, dashes can stand for underscores (`--learning-rate`), a Boolean takes True,
False, yes, no, 1, 0 or nothing (`--do_train`), and `--no_flag` makes one False. A whole number can be written `500`, `500.0`
or `5e2`. What `torchrun` and `deepspeed` take in front of a script's name has to go.

The `-qlora` scripts are the plain ones with `--quantize nf4`, and the supervised ones with `--group_size reference-sft`
where the groups of S² have to be theirs, too ([sft.md](sft.md)). No verb does what `run_streaming_llama_longalpaca.py` and
`pdf2txt` do.
)";

constexpr const char* kTrainer = R"(
## Hugging Face's TrainingArguments

In `fine-tune`, `sft` and `plan`: the fields of transformers 5.23, and those that versions 4 had at the time of the released
scripts. "There" is Hugging Face.
)";

std::string word_of(const ForeignFlag& flag) {
  if (flag.fate == FlagFate::kSameAs) return fmt::format("`--{}`", flag.word);
  if (flag.fate == FlagFate::kRefused && flag.neutral.find("false") != std::string_view::npos)
    return fmt::format("unless False: {}", flag.word);
  return std::string(flag.word);
}

std::string row(const ForeignFlag& flag) {
  return fmt::format("| `--{}` | {} |\n", flag.name, word_of(flag));
}

// Returns a table of the flags with certain fates, or an empty text where there are none.
std::string table(const std::vector<ForeignFlag>& flags, const std::string& heading,
                  const std::vector<FlagFate>& fates) {
  std::string rows;
  for (const ForeignFlag& flag : flags)
    if (std::find(fates.begin(), fates.end(), flag.fate) != fates.end()) rows += row(flag);
  return rows.empty() ? "" : fmt::format("\n| {} | |\n|---|---|\n{}", heading, rows);
}

std::string tables(const std::vector<ForeignFlag>& flags) {
  return table(flags, "does its work", {FlagFate::kWorks, FlagFate::kSameAs}) +
         table(flags, "taken without effect", {FlagFate::kNoEffect}) +
         table(flags, "refused", {FlagFate::kRefused});
}

}  // namespace

std::string flags_page() {
  std::string page = kIntroduction;
  page += "\n## The released scripts\n";
  for (const FlagGroup& group : released_flags()) {
    if (group.scripts.empty()) continue;
    page += fmt::format("\n### {}\n\n`{}` → `{}`.{}\n", group.title, fmt::join(group.scripts, "`, `"),
                        fmt::join(group.verbs, "`, `"),
                        group.title == "Training" ? " All of the Trainer's flags (below), and:" : "");
    page += tables(group.flags);
  }
  page += kTrainer;
  return page + tables(trainer_flags().flags);
}

}  // namespace longlora::cli
