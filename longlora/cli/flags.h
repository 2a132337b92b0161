// Helpers for declaring flags as the released scripts spell them.
#pragma once

#include <CLI/App.hpp>

#include <filesystem>
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

/// A flag of the released scripts that has no effect here: taken, and mentioned once with the reason.
void add_ignored(CLI::App& app, const std::string& name, const std::string& reason);

/// Names of the flags that a command line gave, all names of each: "--evaluation_strategy",
/// "--eval_strategy".
std::set<std::string> given_flags(const CLI::App& app);

/// Words of --trainable_params as parts of names: none for "" and "none". Throws UsageError for "none" beside
/// others.
std::vector<std::string> parameter_patterns(std::vector<std::string> words);

/// The word nearest to `unknown` in spelling; empty when none is near.
std::string nearest_word(const std::vector<std::string>& words, const std::string& unknown);

/// What the flag nearest to `unknown` is called among the options of `app`; empty when none is near.
std::string nearest_flag(const CLI::App& app, const std::string& unknown);

/// "0.1.0"
std::string version();

}  // namespace longlora::cli
