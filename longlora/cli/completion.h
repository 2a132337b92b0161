// Completion of command lines in a shell.
#pragma once

#include <CLI/App.hpp>

#include <string>

namespace longlora::cli {

/// A script for bash that completes the verbs of `app`, the flags that their --help shows, and their values:
/// the words of a choice, folders, or files.
std::string bash_completion(const CLI::App& app);

}  // namespace longlora::cli
