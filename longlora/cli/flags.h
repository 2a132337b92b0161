// Helpers for declaring flags as the released scripts spell them.
#pragma once

#include <CLI/App.hpp>

#include <cstdint>
#include <filesystem>
#include <optional>
#include <set>
#include <string>
#include <vector>

namespace longlora::cli {

/// A flag that is true when given alone and takes True/False (any case), yes/no, 1/0.
CLI::Option* add_bool(CLI::App& app, const std::string& name, bool& value, const std::string& help);

/// A list given as "a,b,c", as several words, or both.
CLI::Option* add_list(CLI::App& app, const std::string& name, std::vector<std::string>& values,
                      const std::string& help);

/// One or more paths.
CLI::Option* add_paths(CLI::App& app, const std::string& name, std::vector<std::filesystem::path>& paths,
                       const std::string& help);

/// --bin_dtype, one of data::id_type_choices().
CLI::Option* add_bin_dtype(CLI::App& app, std::string& value);

/// Checks of values. Each refuses with "expected …, got …" what is no number at all, too.
CLI::Validator at_least(int64_t least);
/// A whole number above 0, or -1, the released scripts' word for "not given".
CLI::Validator size_or_unset();
CLI::Validator positive_number();
CLI::Validator not_negative_number();
/// From 0 to 1.
CLI::Validator share();

/// GiB of memory: above 0, and so few that they can be counted in bytes.
CLI::Validator memory_in_gib();
/// --memory_budget.
CLI::Option* add_memory_budget(CLI::App& app, std::optional<double>& gib);
/// The same in bytes; 0 where the flag was not given.
int64_t memory_budget_bytes(std::optional<double> gib);

/// Gives every flag of a verb that takes a number the check that its value is one: a whole number that fits
/// where the flag takes those ("500.0" and "1e3" are taken, "010" is ten), else a finite one.
void check_numbers(CLI::App& verb);

/// Names of the flags that a command line gave, all names of each: "--evaluation_strategy",
/// "--eval_strategy".
std::set<std::string> given_flags(const CLI::App& app);

/// Words of --trainable_params as parts of names: none for "" and "none". Throws UsageError for "none" beside
/// others.
std::vector<std::string> parameter_patterns(std::vector<std::string> words);

/// The word nearest to `unknown` in spelling; empty when none is near.
std::string nearest_word(const std::vector<std::string>& words, const std::string& unknown);

/// The flags in --help of a verb that `unknown` may be meant to be: the one nearest in spelling, or all that
/// it is the beginning of; empty when there are none.
std::vector<std::string> meant_flags(const CLI::App& verb, const std::string& unknown);

/// "0.1.0"
std::string version();

}  // namespace longlora::cli
