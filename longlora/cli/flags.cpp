#include "longlora/cli/flags.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cctype>
#include <charconv>
#include <cmath>
#include <cstdlib>
#include <type_traits>

#include "longlora/core/error.h"
#include "longlora/core/text.h"
#include "longlora/data/token_file.h"

namespace longlora::cli {
namespace {

std::string lower(std::string text) {
  for (char& c : text) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return text;
}

// The most GiB that a flag accepts. It is a round number whose bytes can be counted.
constexpr double kMostGib = 1e9;

std::optional<double> finite_number(const std::string& text) {
  char* end = nullptr;
  const double value = std::strtod(text.c_str(), &end);
  const bool is_all = !text.empty() && end == text.c_str() + text.size();
  const bool is_decimal = text.find_first_of("xX") == std::string::npos;
  if (!is_all || !is_decimal || !std::isfinite(value)) return std::nullopt;
  return value;
}

// Returns a whole number in plain digits, or an empty text where the text is no whole number that `Whole` can
// hold.
template <typename Whole>
std::string plain_digits(const std::string& text) {
  const char *begin = text.data() + (text.starts_with("+") ? 1 : 0), *end = text.data() + text.size();
  Whole whole = 0;
  const auto [stop, error] = std::from_chars(begin, end, whole);
  if (error == std::errc() && stop == end) return fmt::format("{}", whole);
  constexpr double kExact = 9007199254740992.0;  // 2^53: a double holds every whole number up to it
  const auto value = finite_number(text);
  const bool is_whole = value && std::floor(*value) == *value && std::abs(*value) <= kExact;
  if (!is_whole || (std::is_unsigned_v<Whole> && *value < 0.0)) return "";
  return fmt::format("{}", static_cast<Whole>(*value));
}

// Writes a whole number in plain digits. Returns what is wrong where the text is none.
std::string as_whole_number(std::string& text) {
  const std::string digits = plain_digits<int64_t>(text);
  if (digits.empty()) return fmt::format("expected a whole number, got {}", text);
  text = digits;
  return "";
}

// As as_whole_number, for numbers that are never negative.
std::string as_count(std::string& text) {
  const std::string digits = plain_digits<uint64_t>(text);
  if (digits.empty()) return fmt::format("expected a whole number of at least 0, got {}", text);
  text = digits;
  return "";
}

bool is_at_least(const std::string& digits, int64_t least) {
  int64_t value = 0;
  std::from_chars(digits.data(), digits.data() + digits.size(), value);
  return value >= least;
}

template <typename Holds>
CLI::Validator number_where(const Holds& holds, const std::string& expected) {
  return {[holds, expected](std::string& text) {
            const auto value = finite_number(text);
            return value && holds(*value) ? "" : fmt::format("expected {}, got {}", expected, text);
          },
          ""};
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
  // The default is a part of the help text, because CLI11 would take a default_str for the value of a flag
  // that is given without one.
  return app
      .add_option_function<std::string>(name, parse,
                                        fmt::format("{} (default: {})", help, value ? "True" : "False"))
      ->expected(0, 1)
      ->type_name("True|False");
}

CLI::Option* add_bin_dtype(CLI::App& app, std::string& value) {
  return app
      .add_option("--bin_dtype", value,
                  "How a .bin without a JSON beside it stores ids: auto (as the vocabulary says), or uint16, "
                  "uint32, int32, int64")
      ->check(CLI::IsMember(data::id_type_choices()))
      ->capture_default_str();
}

CLI::Option* add_list(CLI::App& app, const std::string& name, std::vector<std::string>& values,
                      const std::string& help) {
  return app.add_option(name, values, help)->delimiter(',')->type_name("A,B,…")->capture_default_str();
}

CLI::Option* add_paths(CLI::App& app, const std::string& name, std::vector<std::filesystem::path>& paths,
                       const std::string& help) {
  return app.add_option(name, paths, help)->type_name("PATH…");
}

CLI::Validator at_least(int64_t least) {
  return {[least](std::string& text) {
            std::string problem = as_whole_number(text);
            if (problem.empty() && !is_at_least(text, least))
              problem = fmt::format("expected at least {}, got {}", least, text);
            return problem;
          },
          ""};
}

CLI::Validator size_or_unset() {
  const auto check = [](std::string& text) {
    const std::string problem = as_whole_number(text);
    if (!problem.empty() || text == "-1" || is_at_least(text, 1)) return problem;
    return fmt::format("expected at least 1 token, or -1 for the usual size, got {}", text);
  };
  return {check, ""};
}

CLI::Validator positive_number() {
  return number_where([](double value) { return value > 0.0; }, "a number above 0");
}

CLI::Validator not_negative_number() {
  return number_where([](double value) { return value >= 0.0; }, "a number of at least 0");
}

CLI::Validator share() {
  return number_where([](double value) { return value >= 0.0 && value <= 1.0; }, "a share from 0 to 1");
}

CLI::Validator memory_in_gib() {
  return number_where([](double value) { return value > 0.0 && value <= kMostGib; },
                      fmt::format("GiB of memory, above 0 and at most {}", kMostGib));
}

CLI::Option* add_memory_budget(CLI::App& app, std::optional<double>& gib) {
  return app
      .add_option(
          "--memory_budget", gib,
          "GiB the run may take, of a GPU's memory where it runs on one (default: 80 % of what is free, "
          "container limits included)")
      ->check(memory_in_gib());
}

int64_t memory_budget_bytes(std::optional<double> gib) {
  return std::max<int64_t>(gib ? 1 : 0, static_cast<int64_t>(gib.value_or(0.0) * 1024.0 * 1024.0 * 1024.0));
}

void check_numbers(CLI::App& verb) {
  for (CLI::Option* option : verb.get_options([](const CLI::Option*) { return true; })) {
    const std::string type = option->get_type_name();
    const auto add = [&](auto check) { option->transform(CLI::Validator(check, "")); };
    if (type.starts_with("INT")) add([](std::string& text) { return as_whole_number(text); });
    if (type.starts_with("UINT")) add([](std::string& text) { return as_count(text); });
    if (type.starts_with("FLOAT"))
      option->check(number_where([](double) { return true; }, "a finite number"));
  }
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
    const size_t distance = text_distance(word, unknown);
    if (distance >= best_distance) continue;
    best_distance = distance;
    best = word;
  }
  return best;
}

std::vector<std::string> meant_flags(const CLI::App& verb, const std::string& unknown) {
  std::vector<std::string> flags, begun;
  for (const CLI::Option* option : verb.get_options()) {
    if (option->get_group().empty()) continue;
    for (const std::string& name : option->get_lnames()) flags.push_back("--" + name);
  }
  for (const std::string& flag : flags)
    if (unknown.size() > 3 && flag.starts_with(unknown)) begun.push_back(flag);
  if (!begun.empty()) return begun;
  const std::string nearest = nearest_word(flags, unknown);
  return nearest.empty() ? std::vector<std::string>() : std::vector{nearest};
}

}  // namespace longlora::cli
