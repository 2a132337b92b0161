// Flags of other programs: Hugging Face's Trainer and LongLoRA's released scripts. A table says what each
// does in this program. The command line, its messages and docs/flags.md are made from the table.
#pragma once

#include <CLI/App.hpp>

#include <string>
#include <string_view>
#include <vector>

namespace longlora::cli {

/// What this program does with a flag of another program.
enum class FlagFate {
  kWorks,     // the verb has an option with this name
  kSameAs,    // it is another name of the option that `word` names
  kNoEffect,  // it is accepted, and a line says why it changes nothing
  kRefused,   // it is an error that says what to do instead, unless its value asks for nothing
};

/// How many values a flag takes on the command line.
enum class FlagValues {
  kOne,
  kMaybeOne,  // a Boolean, which is true where it has no value
  kSeveral,
};

struct ForeignFlag {
  std::string_view name;  // as in Python: without dashes in front, with underscores between words
  FlagFate fate;
  FlagValues values;
  /// For a refused flag, the values that ask for nothing, in lower case and separated by "|".
  std::string_view neutral;
  /// What the flag does, which flag it is another name of, why it changes nothing, or what to do instead, as
  /// `fate` says.
  std::string_view word;
};

/// Flags of one origin, and the verbs that take them.
struct FlagGroup {
  std::string_view title;
  std::vector<std::string_view> scripts;  // the released scripts that have these flags
  std::vector<std::string_view> verbs;
  std::vector<ForeignFlag> flags;
};

/// The fields of transformers.TrainingArguments in version 5.23, and in versions 4 down to that of the
/// released scripts.
const FlagGroup& trainer_flags();
/// The flags of the released scripts, and flags that `plan` accepts only because fine-tune and sft have them.
const std::vector<FlagGroup>& released_flags();

/// Declares the flags in the tables that are no options of the verb: those without effect and the refused
/// ones. They are not in --help.
void add_foreign_flags(CLI::App& verb);

/// Returns what the tables say of a flag ("--save_strategy") that works in a verb, or an empty text where
/// they do not have it.
std::string word_of_flag(const CLI::App& verb, const std::string& flag);

/// Returns the words of a command line (the verb first) with every flag spelled as its verb declares it.
/// --learning-rate becomes --learning_rate, other names of a flag become the name that it has here, and
/// --no_packing becomes --packing=False. Words that are values of a flag stay as they are.
std::vector<std::string> with_own_spelling(const CLI::App& app, std::vector<std::string> words);

/// Returns the content of docs/flags.md.
std::string flags_page();

}  // namespace longlora::cli
