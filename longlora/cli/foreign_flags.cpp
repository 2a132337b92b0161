#include "longlora/cli/foreign_flags.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cctype>

#include "longlora/core/error.h"
#include "longlora/core/log.h"

namespace longlora::cli {
namespace {

// Calls visit(flag) for every flag that the tables have for a verb.
template <typename Visit>
void visit_flags(std::string_view verb, const Visit& visit) {
  const auto visit_group = [&](const FlagGroup& group) {
    if (std::find(group.verbs.begin(), group.verbs.end(), verb) == group.verbs.end()) return;
    for (const ForeignFlag& flag : group.flags) visit(flag);
  };
  for (const FlagGroup& group : released_flags()) visit_group(group);
  visit_group(trainer_flags());
}

bool is_neutral(const ForeignFlag& flag, std::string value) {
  for (char& c : value) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  for (std::string_view left = flag.neutral;;) {
    const size_t end = left.find('|');
    if (left.substr(0, end) == value) return !flag.neutral.empty();
    if (end == std::string_view::npos) return false;
    left.remove_prefix(end + 1);
  }
}

void refuse(const ForeignFlag& flag, const std::string& value) {
  if (is_neutral(flag, value)) return;
  throw UsageError(fmt::format("[--{}] expected no such flag{}, got {}; {}", flag.name,
                               is_neutral(flag, "false") ? " or False" : "",
                               value.empty() ? "it alone" : value, flag.word));
}

void declare(CLI::App& verb, const ForeignFlag& flag) {
  const auto take = [flag](const std::vector<std::string>& values) {
    if (flag.fate == FlagFate::kRefused) return refuse(flag, values.empty() ? "" : values.back());
    log_info(fmt::format("--{} has no effect: {}", flag.name, flag.word));
  };
  const std::function<void(const std::vector<std::string>&)> callback = take;
  CLI::Option* option =
      verb.add_option_function(fmt::format("--{}", flag.name), callback, std::string(flag.word));
  if (flag.values == FlagValues::kOne) option->expected(1);
  if (flag.values == FlagValues::kMaybeOne) option->expected(0, 1);
  if (flag.values == FlagValues::kSeveral) option->expected(1, CLI::detail::expected_max_vector_size);
  option->allow_extra_args(flag.values == FlagValues::kSeveral);
  option->group("");  // hides it in --help
}

bool takes_a_value(const CLI::Option& option) {
  return option.get_items_expected_min() > 0;
}

bool is_boolean(const CLI::Option& option) {
  return option.get_items_expected_min() == 0 && option.get_items_expected_max() == 1;
}

// Returns the name that a flag has in its verb, or an empty text where the verb does not have it.
std::string declared_name(const CLI::App& verb, std::string name) {
  if (verb.get_option_no_throw(name) != nullptr) return name;
  std::replace(name.begin() + 2, name.end(), '-', '_');
  visit_flags(verb.get_name(), [&](const ForeignFlag& flag) {
    if (flag.fate == FlagFate::kSameAs && name.substr(2) == flag.name) name = fmt::format("--{}", flag.word);
  });
  return verb.get_option_no_throw(name) != nullptr ? name : "";
}

// Returns a word that begins with two dashes in the spelling of the verb.
std::string own_spelling(const CLI::App& verb, const std::string& word) {
  const size_t equals = word.find('=');
  const std::string written = word.substr(0, equals);
  if (const std::string name = declared_name(verb, written); !name.empty())
    return name + word.substr(written.size());
  if (equals != std::string::npos || !(word.starts_with("--no_") || word.starts_with("--no-"))) return word;
  const std::string name = declared_name(verb, "--" + word.substr(5));
  return !name.empty() && is_boolean(*verb.get_option_no_throw(name)) ? name + "=False" : word;
}

}  // namespace

void add_foreign_flags(CLI::App& verb) {
  visit_flags(verb.get_name(), [&](const ForeignFlag& flag) {
    const bool declares = flag.fate == FlagFate::kNoEffect || flag.fate == FlagFate::kRefused;
    if (!declares || verb.get_option_no_throw(fmt::format("--{}", flag.name)) != nullptr) return;
    declare(verb, flag);
    verb.footer(
        "Flags of LongLoRA's released scripts and of Hugging Face's Trainer that are not listed: longlora "
        "--flags_page");
  });
}

std::string word_of_flag(const CLI::App& verb, const std::string& flag) {
  std::string word;
  visit_flags(verb.get_name(), [&](const ForeignFlag& found) {
    if (found.fate == FlagFate::kWorks && "--" + std::string(found.name) == flag) word = found.word;
  });
  return word;
}

std::vector<std::string> with_own_spelling(const CLI::App& app, std::vector<std::string> words) {
  const auto named = [&](const CLI::App* verb) {
    return !words.empty() && verb->get_name() == words.front();
  };
  const auto verbs = app.get_subcommands(named);
  if (verbs.empty()) return words;
  const CLI::App& verb = *verbs.front();
  bool is_value = false;
  for (std::string& word : words) {
    if (!is_value && word.starts_with("--")) word = own_spelling(verb, word);
    const CLI::Option* option = is_value ? nullptr : verb.get_option_no_throw(word);
    is_value = option != nullptr && word.starts_with("--") && takes_a_value(*option);
  }
  return words;
}

}  // namespace longlora::cli
