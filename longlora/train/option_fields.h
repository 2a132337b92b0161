// How options are declared once. Each group of options lists its fields in one function, and command line,
// checks, record and resume identity of a run are loops over that list, as results are written and read
// (results/fields.h):
//
//   template <typename Options, typename Fields>
//   static void list_fields(Options& options, Fields& fields) {
//     fields.add("--lora_r", options.lora.rank, "Rank of the low-rank pairs");
//     fields.check(options.lora.rank > 0, "--lora_r must be positive, got {}", options.lora.rank);
//   }
//
// `Options` is the whole TrainOptions, so that a check may look at other groups. `Fields` is one of the
// loops, and has four functions:
//
//   add(flag, value, help, rule)              A field with a flag, whose name without dashes is its key.
//   choice(flag, value, choices, help, rule)  The same where each value has a name.
//   record(key, value, kept)                  Something recorded that has no flag of its own or another form
//                                             there. A function gives it where only valid options have one.
//   check(holds, problem, numbers…)           What must hold, with the message (fmt's form) if it does not.
//
// Flags that say an option in another program's words, and conversions of such words, are the command line's.
#pragma once

#include <string>
#include <utility>
#include <vector>

namespace longlora::train {

/// Where the value of a field is kept.
enum class Kept {
  kNowhere,
  kInRecord,    // in the effective options of run.json
  kInIdentity,  // there, and it must not change when a run is resumed
};

/// What a field is beside its flag, value and help. Numbers, texts and choices show their default in --help;
/// paths, lists of them and optional values have none.
struct FieldRule {
  Kept kept = Kept::kInIdentity;
  bool shows_default = true;
  bool is_required = false;
  const char* type_name = nullptr;  // in --help, in place of the type's own
  const char* alone = nullptr;      // of a choice: the one that the flag without a value makes
};

/// Names and what they stand for. A value with several names is recorded by the first.
template <typename Value>
using Choices = std::vector<std::pair<std::string, Value>>;

/// Choices of these names, whose values `from_name(name)` knows.
template <typename FromName>
auto choices_of(const std::vector<std::string>& names, const FromName& from_name) {
  Choices<decltype(from_name(std::string()))> choices;
  for (const std::string& name : names) choices.emplace_back(name, from_name(name));
  return choices;
}

}  // namespace longlora::train
