// Says what is wrong with a command line in the form that all errors of the program have.
#pragma once

#include <CLI/App.hpp>

#include <string>
#include <vector>

namespace longlora::cli {

/// Says what is wrong with a command line that names no verb. The text is empty where it names one or asks
/// for help.
std::string missing_verb(const CLI::App& app, const std::vector<std::string>& words);

/// Says why a command line could not be parsed: "[flag or verb] expected X, got Y; what to do", and where the
/// flags are listed.
std::string describe_usage_error(const CLI::App& app, const CLI::ParseError& error);

}  // namespace longlora::cli
