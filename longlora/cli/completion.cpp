#include "longlora/cli/completion.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <memory>
#include <string_view>
#include <vector>

#include "longlora/cli/verbs.h"

namespace longlora::cli {
namespace {

// What the generated tables of verbs, flags and values stand between.
constexpr const char* kHead =
    R"(# Completion of longlora's command line for bash, made by: longlora completion bash

)";
constexpr const char* kTail = R"(
_longlora() {
  local word=${COMP_WORDS[COMP_CWORD]} verb=${COMP_WORDS[1]} at=$((COMP_CWORD - 1)) flag='' given=0
  local flags words files most
  COMPREPLY=()
  if ((COMP_CWORD == 1)); then
    _longlora_flags ''
    mapfile -t COMPREPLY < <(compgen -W "$flags" -- "$word")
    return
  fi
  # The flag before the cursor, and how many values it has got. In --flag=value bash takes = for a word.
  if [[ $word == '=' ]]; then word=''; fi
  for (( ; at > 1; --at)); do
    if [[ ${COMP_WORDS[at]} == --* ]]; then
      flag=${COMP_WORDS[at]:2}
      flag=--${flag//-/_}
      break
    fi
    if [[ ${COMP_WORDS[at]} != '=' ]]; then given=$((given + 1)); fi
  done
  _longlora_values "$verb" "$flag"
  # A flag that has all its values leaves the word to those that stand without one.
  if ((given >= most)); then _longlora_values "$verb" ''; fi
  _longlora_flags "$verb"
  if [[ $word == -* || $most == 0 ]]; then
    mapfile -t COMPREPLY < <(compgen -W "$flags" -- "$word")
  elif [[ -n $files ]]; then
    mapfile -t COMPREPLY < <(compgen "$files" -- "$word")
    compopt -o filenames 2>/dev/null || true
  else
    mapfile -t COMPREPLY < <(compgen -W "$words" -- "$word")
  fi
}

complete -F _longlora longlora
)";

// Named choices of an option, of "TEXT:{a,b}" as CLI11 shows a list and of "True|False"; none for other
// types.
std::vector<std::string> choices_of(const std::string& type) {
  std::vector<std::string> words;
  const size_t open = type.find('{'), close = type.rfind('}');
  const bool is_list = open != std::string::npos && close != std::string::npos && open < close;
  if (!is_list && (type.find('|') == std::string::npos || type.find("…") != std::string::npos)) return words;
  std::string_view left(type);
  if (is_list) left = left.substr(open + 1, close - open - 1);
  while (true) {
    const size_t end = left.find_first_of(is_list ? "," : "|");
    words.emplace_back(left.substr(0, end));
    if (end == std::string_view::npos) return words;
    left.remove_prefix(end + 1);
  }
}

// The words of bash that say what the values of an option are.
std::string describe_values(const CLI::Option& option) {
  const int most = option.get_items_expected_max();
  if (most == 0) return "";
  const std::string type = option.get_type_name();
  const std::vector<std::string> choices = choices_of(type);
  std::string kind;
  if (!choices.empty())
    kind = fmt::format("words='{}'", fmt::join(choices, " "));
  else if (type == "DIR")
    kind = "files=-d";
  else if (type.starts_with("TEXT") || type.starts_with("FILE") || type.starts_with("PATH"))
    kind = "files=-f";
  return kind + fmt::format("{}most={}", kind.empty() ? "" : " ", most);
}

std::vector<std::string> flags_of(const CLI::App& app) {
  std::vector<std::string> flags;
  for (const CLI::Option* option : app.get_options()) {
    if (option->get_group().empty()) continue;
    for (const std::string& name : option->get_lnames()) flags.push_back("--" + name);
  }
  return flags;
}

std::vector<const CLI::App*> verbs_of(const CLI::App& app) {
  return app.get_subcommands([](const CLI::App*) { return true; });
}

// The function that sets flags to those of a verb, and to the verbs where none is named.
std::string table_of_flags(const CLI::App& app) {
  std::vector<std::string> first;
  std::string lines;
  for (const CLI::App* verb : verbs_of(app)) {
    first.push_back(verb->get_name());
    lines += fmt::format("    {}) flags='{}' ;;\n", verb->get_name(), fmt::join(flags_of(*verb), " "));
  }
  for (const std::string& flag : flags_of(app)) first.push_back(flag);
  return fmt::format(
      "_longlora_flags() {{  # VERB\n  flags=''\n  case $1 in\n    '') flags='{}' ;;\n{}  esac\n}}\n",
      fmt::join(first, " "), lines);
}

// The function that sets words, files and most to what a flag takes: choices, the option of compgen that
// lists files, and how many values. An empty flag stands for words without one; flags that --help hides take
// a value.
std::string table_of_values(const CLI::App& app) {
  std::string lines;
  for (const CLI::App* verb : verbs_of(app)) {
    for (const CLI::Option* option : verb->get_options()) {
      const std::string values = describe_values(*option);
      std::vector<std::string> names;
      for (const std::string& name : option->get_lnames())
        names.push_back(fmt::format("'{} --{}'", verb->get_name(), name));
      if (option->get_positional()) names.push_back(fmt::format("'{} '", verb->get_name()));
      if (!names.empty() && !option->get_group().empty())
        lines += fmt::format("    {}) {} ;;\n", fmt::join(names, " | "), values);
    }
  }
  return fmt::format(
      "_longlora_values() {{  # VERB FLAG\n  words='' files='' most=0\n  case \"$1 $2\" in\n{}"
      "    *' --'*) files=-f most=1 ;;\n  esac\n}}\n",
      lines);
}

}  // namespace

std::string bash_completion(const CLI::App& app) {
  return kHead + table_of_flags(app) + "\n" + table_of_values(app) + kTail;
}

void add_completion_verb(CLI::App& app) {
  CLI::App& verb =
      *app.add_subcommand("completion", "Print a script that completes verbs, flags and values in a shell");
  auto shell = std::make_shared<std::string>();
  verb.add_option("shell", *shell, "The shell, which reads the script: source <(longlora completion bash)")
      ->check(CLI::IsMember({"bash"}))
      ->required();
  verb.callback([shell, &app] { fmt::print("{}", bash_completion(app)); });
}

}  // namespace longlora::cli
