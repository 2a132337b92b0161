// Flags that are declared from a list of options (train/option_fields.h).
#pragma once

#include <CLI/App.hpp>

#include <filesystem>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <type_traits>
#include <vector>

#include "longlora/train/option_fields.h"

namespace longlora::cli {

/// Declares a flag of a verb for each field in a list of options. The options must live as long as the verb.
class OptionFlags {
 public:
  explicit OptionFlags(CLI::App& verb) : verb_(verb) {}

  /// Has `declare` called when that flag of the list has been declared. It declares flags that follow it in
  /// --help and state options in other words.
  OptionFlags& behind(const std::string& flag, std::function<void()> declare);

  template <typename Value>
  void add(const std::string& flag, Value& value, const std::string& help,
           const train::FieldRule& rule = {}) {
    CLI::Option* option = verb_.add_option(flag, value, help);
    if constexpr (std::is_arithmetic_v<Value> || std::is_same_v<Value, std::string>)
      if (rule.shows_default) option->capture_default_str();
    finish(flag, *option, rule);
  }
  void add(const std::string& flag, bool& value, const std::string& help, const train::FieldRule& rule = {});
  void add(const std::string& flag, std::vector<std::string>& values, const std::string& help,
           const train::FieldRule& rule = {});
  void add(const std::string& flag, std::vector<std::filesystem::path>& paths, const std::string& help,
           const train::FieldRule& rule = {});

  template <typename Value>
  void choice(const std::string& flag, Value& value, const train::Choices<Value>& choices,
              const std::string& help, const train::FieldRule& rule = {}) {
    std::vector<std::string> names;
    std::string standard;
    for (const auto& [name, choice] : choices) {
      if (standard.empty() && choice == value) standard = name;
      names.push_back(name);
    }
    const auto take = [&value, choices](const std::string& word) {
      for (const auto& [name, choice] : choices)
        if (name == word) value = choice;
    };
    declare_choice(flag, take, names, standard, help, rule);
  }

  template <typename Value>
  void record(const char* /*key*/, const Value& /*value*/, train::Kept /*kept*/) {}
  template <typename... Got>
  void check(bool /*holds*/, const char* /*problem*/, const Got&... /*got*/) {}

 private:
  void finish(const std::string& flag, CLI::Option& option, const train::FieldRule& rule);
  void declare_choice(const std::string& flag, const std::function<void(const std::string&)>& take,
                      const std::vector<std::string>& names, const std::string& standard,
                      const std::string& help, const train::FieldRule& rule);

  CLI::App& verb_;
  std::map<std::string, std::function<void()>> behind_;
};

}  // namespace longlora::cli
