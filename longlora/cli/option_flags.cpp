#include "longlora/cli/option_flags.h"

#include <CLI/CLI.hpp>
#include <utility>

#include "longlora/cli/flags.h"

namespace longlora::cli {

OptionFlags& OptionFlags::behind(const std::string& flag, std::function<void()> declare) {
  behind_[flag] = std::move(declare);
  return *this;
}

void OptionFlags::add(const std::string& flag, bool& value, const std::string& help,
                      const train::FieldRule& rule) {
  finish(flag, *add_bool(verb_, flag, value, help), rule);
}

void OptionFlags::add(const std::string& flag, std::vector<std::string>& values, const std::string& help,
                      const train::FieldRule& rule) {
  finish(flag, *add_list(verb_, flag, values, help), rule);
}

void OptionFlags::add(const std::string& flag, std::vector<std::filesystem::path>& paths,
                      const std::string& help, const train::FieldRule& rule) {
  finish(flag, *add_paths(verb_, flag, paths, help), rule);
}

void OptionFlags::declare_choice(const std::string& flag, const std::function<void(const std::string&)>& take,
                                 const std::vector<std::string>& names, const std::string& standard,
                                 const std::string& help, const train::FieldRule& rule) {
  const std::string alone = rule.alone == nullptr ? "" : rule.alone;
  CLI::Option* option = verb_.add_option_function<std::string>(
      flag, [take, alone](const std::string& word) { take(word.empty() ? alone : word); }, help);
  if (rule.alone == nullptr)
    option->check(CLI::IsMember(names));
  else
    option->expected(0, 1)->transform(CLI::IsMember(names, CLI::ignore_case));
  if (rule.shows_default) option->default_str(standard);
  finish(flag, *option, rule);
}

void OptionFlags::finish(const std::string& flag, CLI::Option& option, const train::FieldRule& rule) {
  if (rule.is_required) option.required();
  if (rule.type_name != nullptr) option.type_name(rule.type_name);
  if (const auto found = behind_.find(flag); found != behind_.end()) found->second();
}

}  // namespace longlora::cli
