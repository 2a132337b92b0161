// How an option is declared in one place. Each group of options lists its fields in one function. Command
// line, checks, run.json and the identity of a resumed run are loops over that list:
//
//   template <typename Options, typename Fields>
//   static void list_fields(Options& options, Fields& fields) {
//     fields.add("--lora_r", options.lora.rank, "Rank of the low-rank pairs");
//     fields.check(options.lora.rank > 0, "--lora_r must be positive, got {}", options.lora.rank);
//   }
//
// `Options` is the whole TrainOptions, so that a check may look at other groups. `Fields` is one of the
// loops. It has four functions:
//
//   add(flag, value, help, rule)              A field with a flag, whose name without dashes is its key.
//   choice(flag, value, choices, help, rule)  The same where each value has a name.
//   record(key, value, kept)                  Something recorded that has no flag of its own or another form
//                                             there. A function gives it where only valid options have one.
//   check(holds, problem, numbers…)           What must hold, with the message (fmt's form) if it does not.
//
// Flags that state an option in another program's words are not listed here but in the command line (cli).
#pragma once

#include <string>
#include <utility>
#include <vector>

namespace longlora::train {

/// Where the value of a field is written down.
enum class Kept {
  kNowhere,
  kInRecord,    // in the effective options of run.json
  kInIdentity,  // there, too, and it must not change when a run is resumed
};

/// What else is known of a field. --help shows the default of numbers, texts and choices; paths, lists of
/// paths and optional values have none.
struct FieldRule {
  Kept kept = Kept::kInIdentity;
  bool shows_default = true;
  bool is_required = false;
  const char* type_name = nullptr;  // the name of the type in --help; null: that of the value's type
  const char* alone = nullptr;  // the choice that the flag means where it has no value; null: it needs one
};

/// The names of a choice and their values. A value with several names is recorded under the first.
template <typename Value>
using Choices = std::vector<std::pair<std::string, Value>>;

/// Makes choices of these names, whose values are from_name(name).
template <typename FromName>
auto choices_of(const std::vector<std::string>& names, const FromName& from_name) {
  Choices<decltype(from_name(std::string()))> choices;
  for (const std::string& name : names) choices.emplace_back(name, from_name(name));
  return choices;
}

}  // namespace longlora::train
