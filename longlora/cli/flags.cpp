#include "longlora/cli/flags.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cctype>
#include <numeric>

#include "longlora/core/error.h"
#include "longlora/core/log.h"

namespace longlora::cli {
namespace {

std::string lower(std::string text) {
  for (char& c : text) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return text;
}

/// Levenshtein distance.
size_t edit_distance(const std::string& a, const std::string& b) {
  std::vector<size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), size_t{0});
  for (size_t i = 0; i < a.size(); ++i) {
    size_t diagonal = row[0]++;
    for (size_t j = 0; j < b.size(); ++j) {
      const size_t substituted = diagonal + (a[i] == b[j] ? 0 : 1);
      diagonal = row[j + 1];
      row[j + 1] = std::min({substituted, row[j] + 1, row[j + 1] + 1});
    }
  }
  return row.back();
}

}  // namespace

CLI::Option* add_bool(CLI::App& app, const std::string& name, bool& value, const std::string& help) {
  const auto parse = [name, &value](const std::string& text) {
    const std::string word = lower(text);
    if (word.empty() || word == "true" || word == "yes" || word == "1" || word == "on")
      value = true;
    else if (word == "false" || word == "no" || word == "0" || word == "off")
      value = false;
    else
      throw CLI::ValidationError(name, fmt::format("expected True or False, got {}", text));
  };
  // The default is told in words: CLI11 would take a default_str for the value of a flag given alone.
  return app
      .add_option_function<std::string>(name, parse,
                                        fmt::format("{} (default: {})", help, value ? "True" : "False"))
      ->expected(0, 1)
      ->type_name("True|False");
}

CLI::Option* add_list(CLI::App& app, const std::string& name, std::vector<std::string>& values,
                      const std::string& help) {
  return app.add_option(name, values, help)->delimiter(',')->type_name("A,B,…")->capture_default_str();
}

CLI::Option* add_paths(CLI::App& app, const std::string& name, std::vector<std::filesystem::path>& paths,
                       const std::string& help) {
  return app.add_option(name, paths, help)->type_name("PATH…");
}

void add_ignored(CLI::App& app, const std::string& name, const std::string& reason) {
  app.add_option_function<std::string>(
         name,
         [name, reason](const std::string&) { log_info(fmt::format("{} has no effect: {}", name, reason)); },
         fmt::format("Accepted for old command lines; no effect: {}", reason))
      ->expected(0, 1)
      ->group("Accepted without effect");
}

std::set<std::string> given_flags(const CLI::App& app) {
  std::set<std::string> given;
  for (const CLI::Option* option : app.get_options()) {
    if (option->count() == 0) continue;
    for (const std::string& name : option->get_lnames()) given.insert("--" + name);
  }
  return given;
}

std::vector<std::string> parameter_patterns(std::vector<std::string> words) {
  std::erase(words, "");
  const auto none = std::erase(words, "none");
  if (none > 0 && !words.empty())
    throw UsageError(
        fmt::format("[--trainable_params] expected none or parts of names, got none beside {}", words[0]));
  return words;
}

std::string nearest_word(const std::vector<std::string>& words, const std::string& unknown) {
  std::string best;
  size_t best_distance = std::max<size_t>(2, unknown.size() / 3) + 1;
  for (const std::string& word : words) {
    const size_t distance = edit_distance(word, unknown);
    if (distance >= best_distance) continue;
    best_distance = distance;
    best = word;
  }
  return best;
}

std::string nearest_flag(const CLI::App& app, const std::string& unknown) {
  std::vector<std::string> flags;
  for (const CLI::Option* option : app.get_options())
    for (const std::string& name : option->get_lnames()) flags.push_back("--" + name);
  return nearest_word(flags, unknown);
}

std::string version() {
  return LONGLORA_VERSION;
}

}  // namespace longlora::cli
