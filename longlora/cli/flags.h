// Functions that declare flags and check their values.
#pragma once

#include <CLI/App.hpp>

#include <cstdint>
#include <filesystem>
#include <optional>
#include <set>
#include <string>
#include <vector>

namespace longlora::cli {

/// Declares a flag that takes True/False in any case, yes/no, on/off or 1/0, and that is true where it has no
/// value.
CLI::Option* add_bool(CLI::App& app, const std::string& name, bool& value, const std::string& help);

/// Declares a flag that takes a list: "a,b,c", several words, or both.
CLI::Option* add_list(CLI::App& app, const std::string& name, std::vector<std::string>& values,
                      const std::string& help);

/// Declares a flag that takes one or more paths.
CLI::Option* add_paths(CLI::App& app, const std::string& name, std::vector<std::filesystem::path>& paths,
                       const std::string& help);

/// Declares --bin_dtype, which takes one of data::id_type_choices().
CLI::Option* add_bin_dtype(CLI::App& app, std::string& value);

/// The functions below return checks of values. Each says "expected …, got …", also of a text that is no
/// number.
CLI::Validator at_least(int64_t least);
/// Accepts a whole number above 0, or -1, by which the released scripts mean "not given".
CLI::Validator size_or_unset();
CLI::Validator positive_number();
CLI::Validator not_negative_number();
/// Accepts a number from 0 to 1.
CLI::Validator share();

/// Accepts GiB of memory: a number above 0 that is small enough to be counted in bytes.
CLI::Validator memory_in_gib();
/// Declares --memory_budget.
CLI::Option* add_memory_budget(CLI::App& app, std::optional<double>& gib);
/// Returns the value of --memory_budget in bytes; 0 where it was not given.
int64_t memory_budget_bytes(std::optional<double> gib);

/// Adds a check to every flag of a verb that takes a number. A flag for whole numbers accepts one that fits
/// its type ("500.0" and "1e3" are accepted, "010" is ten); other flags accept a finite number.
void check_numbers(CLI::App& verb);

/// Returns the names of the flags that a command line gave. A flag with several names has all of them here:
/// "--evaluation_strategy", "--eval_strategy".
std::set<std::string> given_flags(const CLI::App& app);

/// Returns the parts of names that the words of --trainable_params mean; there are none for "" and "none".
/// Throws UsageError for "none" beside other words.
std::vector<std::string> parameter_patterns(std::vector<std::string> words);

/// Returns the word that is spelled most like `unknown`, or an empty text where none is similar.
std::string nearest_word(const std::vector<std::string>& words, const std::string& unknown);

/// Returns the flags in a verb's --help that `unknown` may stand for: all that begin with it, or the one that
/// is spelled most like it; empty where there are none.
std::vector<std::string> meant_flags(const CLI::App& verb, const std::string& unknown);

}  // namespace longlora::cli
