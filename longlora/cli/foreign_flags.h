// Flags that people bring along: those of Hugging Face's Trainer and of LongLoRA's released scripts. One
// table says of each what it does here; the command line, its messages and docs/flags.md are made from it.
#pragma once

#include <CLI/App.hpp>

#include <string>
#include <string_view>
#include <vector>

namespace longlora::cli {

/// What becomes of a foreign flag.
enum class FlagFate {
  kWorks,     // an option of the verb has this name and does this
  kSameAs,    // another name of the option that `word` names
  kNoEffect,  // taken, and a line says why nothing happens
  kRefused,   // ends the program with what to do instead, unless its value asks for nothing
};

/// How many values a flag takes on the command line.
enum class FlagValues {
  kOne,
  kMaybeOne,  // a Boolean: given alone it is true
  kSeveral,
};

struct ForeignFlag {
  std::string_view name;  // as in Python: no dashes in front, words joined by underscores
  FlagFate fate;
  FlagValues values;
  /// Of a refused flag: the values that ask for nothing, in lower case and split by "|".
  std::string_view neutral;
  /// What it does here, which flag it is, why nothing happens, or what to do instead.
  std::string_view word;
};

/// Flags of one origin, and the verbs that take them.
struct FlagGroup {
  std::string_view title;
  std::vector<std::string_view> scripts;  // of the released ones that have these flags
  std::vector<std::string_view> verbs;
  std::vector<ForeignFlag> flags;
};

/// Fields of transformers.TrainingArguments, of version 5.23 and of versions 4 back to the released scripts'.
const FlagGroup& trainer_flags();
/// Those of the released scripts, and what `plan` takes only because fine-tune and sft do.
const std::vector<FlagGroup>& released_flags();

/// Declares what the tables have for this verb beside its own options: flags without effect, and refused
/// ones. They are hidden in --help.
void add_foreign_flags(CLI::App& verb);

/// What the tables say of a flag ("--save_strategy") that works in a verb; empty where they do not have it.
std::string word_of_flag(const CLI::App& verb, const std::string& flag);

/// The words of a command line (the verb first) with every flag spelled as its verb declares it:
/// --learning-rate becomes --learning_rate, --no_cuda and other names of a flag the one it has here, and
/// --no_packing becomes --packing=False. Words that are values of a flag stay as they are.
std::vector<std::string> with_own_spelling(const CLI::App& app, std::vector<std::string> words);

/// The content of docs/flags.md.
std::string flags_page();

}  // namespace longlora::cli
