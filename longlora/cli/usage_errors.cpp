#include "longlora/cli/usage_errors.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <sstream>

#include "longlora/cli/flags.h"
#include "longlora/cli/foreign_flags.h"

namespace longlora::cli {
namespace {

// Returns the verb that was parsed, or the application itself.
const CLI::App& active_verb(const CLI::App& app) {
  const auto verbs = app.get_subcommands();
  return verbs.empty() ? app : *verbs.front();
}

// Returns the verbs that have a flag of this name.
std::vector<std::string> verbs_with(const CLI::App& app, const std::string& flag) {
  std::vector<std::string> names;
  for (const CLI::App* verb : app.get_subcommands(/*filter=*/{})) {
    const CLI::Option* option = verb->get_option_no_throw(flag);
    if (option != nullptr && !option->get_group().empty()) names.push_back(verb->get_name());
  }
  return names;
}

// Says what is wrong with a word that belongs to no flag.
std::string describe_unknown(const CLI::App& app, const CLI::App& verb, const std::string& word) {
  if (!word.starts_with("-"))
    return fmt::format("[{}] expected a flag, got the word {}; a value with spaces in it needs quotes",
                       verb.get_name(), word);
  const std::string flag = word.substr(0, word.find('='));
  std::string message = fmt::format("[{}] expected a flag of this verb, got {}", verb.get_name(), flag);
  if (const auto others = verbs_with(app, flag); !others.empty())
    return message + fmt::format(", a flag of {}", fmt::join(others, ", "));
  const auto meant = meant_flags(verb, flag);
  return meant.empty() ? message : message + fmt::format("; did you mean {}?", fmt::join(meant, " or "));
}

// Rewrites CLI11's sentence about a value that is not in a list, "V not in {a,b}". `word` is what else is
// known of the flag.
std::string describe_choice(const std::string& problem, const std::string& word) {
  const size_t not_in = problem.rfind(" not in {");
  const std::string value = problem.substr(0, not_in);
  std::istringstream list(problem.substr(not_in + 9, problem.size() - not_in - 10));
  std::vector<std::string> choices;
  for (std::string choice; std::getline(list, choice, ',');) choices.push_back(choice);
  const std::string nearest = nearest_word(choices, value);
  std::string message = fmt::format("expected one of {}, got {}", fmt::join(choices, ", "), value);
  if (!nearest.empty()) return message + fmt::format("; did you mean {}?", nearest);
  return word.empty() ? message : fmt::format("{}; {}", message, word);
}

// Rewrites CLI11's sentence about a flag in the words of this program.
std::string describe_value(const CLI::App& verb, const std::string& flag, const std::string& problem) {
  if (problem.find(" not in {") != std::string::npos)
    return fmt::format("[{}] {}", flag, describe_choice(problem, word_of_flag(verb, flag)));
  if (problem.starts_with("At Most 1 required but received "))
    return fmt::format("[{}] expected one value, got {}; is it given twice?", flag,
                       problem.substr(problem.rfind(' ') + 1));
  if (problem.find(" required ") != std::string::npos)
    return fmt::format("[{}] expected a value behind it, got none", flag);
  return fmt::format("[{}] {}", flag, problem);
}

std::string describe_known(const CLI::App& verb, const CLI::ParseError& error) {
  const std::string what = error.what();
  constexpr std::string_view kRequired = " is required", kExcludes = " excludes ",
                             kConvert = "Could not convert: ";
  if (what.ends_with(kRequired))
    return fmt::format("[{}] expected {}, which is required, got none", verb.get_name(),
                       what.substr(0, what.size() - kRequired.size()));
  if (const size_t at = what.find(kExcludes); at != std::string::npos)
    return fmt::format("[{}] expected no {} beside it, got both; leave one of them out", what.substr(0, at),
                       what.substr(at + kExcludes.size()));
  if (what.starts_with(kConvert)) {
    const size_t equals = what.find(" = ");
    return fmt::format("[{}] expected another kind of value, got {}",
                       what.substr(kConvert.size(), equals - kConvert.size()), what.substr(equals + 3));
  }
  const size_t colon = what.find(": ");
  return what.starts_with("--") && colon != std::string::npos
             ? describe_value(verb, what.substr(0, colon), what.substr(colon + 2))
             : what;
}

}  // namespace

std::string missing_verb(const CLI::App& app, const std::vector<std::string>& words) {
  std::vector<std::string> verbs;
  for (const CLI::App* verb : app.get_subcommands(/*filter=*/{})) verbs.push_back(verb->get_name());
  if (words.empty()) return fmt::format("[longlora] expected a verb ({}), got none", fmt::join(verbs, ", "));
  const std::string& word = words.front();
  if (word.starts_with("-") || std::find(verbs.begin(), verbs.end(), word) != verbs.end()) return "";
  const std::string nearest = nearest_word(verbs, word);
  return fmt::format("[longlora] expected a verb ({}), got {}{}", fmt::join(verbs, ", "), word,
                     nearest.empty() ? "" : fmt::format("; did you mean {}?", nearest));
}

std::string describe_usage_error(const CLI::App& app, const CLI::ParseError& error) {
  const CLI::App& verb = active_verb(app);
  // Words that belong to no flag are reported first: a missing flag may be one of them, misspelt.
  const auto extras = app.remaining(/*recurse=*/true);
  const std::string message =
      extras.empty() ? describe_known(verb, error) : describe_unknown(app, verb, extras.front());
  return fmt::format("{}\n  {} --help lists the flags", message,
                     &verb == &app ? "longlora" : "longlora " + verb.get_name());
}

}  // namespace longlora::cli
