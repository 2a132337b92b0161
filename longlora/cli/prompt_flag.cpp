#include "longlora/cli/prompt_flag.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <CLI/CLI.hpp>
#include <chrono>
#include <ctime>
#include <memory>
#include <optional>
#include <vector>

#include "longlora/core/error.h"
#include "longlora/core/log.h"
#include "longlora/jinja/template.h"
#include "longlora/tokenizer/chat_template.h"
#include "longlora/tokenizer/taught_form.h"

namespace longlora::cli {
namespace {

using tokenizer::prompt_form_name;
using tokenizer::PromptForm;

constexpr const char* kAuto = "auto";
constexpr const char* kDateForm = "%Y-%m-%d";

std::optional<PromptForm> taught_form(const PromptSources& sources) {
  for (const std::filesystem::path& folder : {sources.peft_model, sources.base_model}) {
    if (folder.empty()) continue;
    if (const auto form = tokenizer::read_taught_form(folder)) return form;
  }
  return std::nullopt;
}

void warn_about_template(const PromptSources& sources, PromptForm form) {
  if (sources.chat_template.empty() || form == PromptForm::kNone) return;
  const auto own = tokenizer::form_of_template(sources.chat_template);
  if (own == form) return;
  log_warning(
      fmt::format("the model carries a chat template of another form{}, and may not know {} unless it was "
                  "taught it; --prompt template asks by the template",
                  own ? fmt::format(" ({})", prompt_form_name(*own)) : "", prompt_form_name(form)));
}

void warn_about_markers(PromptForm form, const tokenizer::Tokenizer& tokenizer) {
  std::vector<std::string> spelled;
  for (const std::string& marker : tokenizer::token_markers(form)) {
    const size_t count = tokenizer.encode(marker, false).size();
    if (count != 1) spelled.push_back(fmt::format("{} ({} tokens)", marker, count));
  }
  if (!spelled.empty())
    log_warning(
        fmt::format("--prompt {}: the model has no token for {}; the markers are spelled in pieces, and an "
                    "answer ends where this text comes",
                    prompt_form_name(form), fmt::join(spelled, " and ")));
}

// The date of --prompt_date, else today.
std::tm prompt_date(const std::string& flag) {
  if (flag.empty()) return jinja::local_time_now();
  std::tm date = {};
  const char* end = ::strptime(flag.c_str(), kDateForm, &date);
  const std::chrono::year_month_day day(std::chrono::year(date.tm_year + 1900),
                                        std::chrono::month(static_cast<unsigned>(date.tm_mon) + 1),
                                        std::chrono::day(static_cast<unsigned>(date.tm_mday)));
  if (end == nullptr || *end != '\0' || !day.ok())
    throw UsageError(fmt::format("[--prompt_date] expected a date such as 2026-01-31, got \"{}\"", flag));
  return date;
}

void describe_template(const PromptSources& sources, const tokenizer::ChatTemplate& chat_template,
                       const tokenizer::Tokenizer& tokenizer) {
  if (chat_template.writes_date())
    log_info(fmt::format("the chat template may write the date, which is {}{}", chat_template.date(),
                         sources.flags.date.empty() ? " (today; --prompt_date fixes it)" : ""));
  else if (!sources.flags.date.empty())
    log_warning("--prompt_date changes nothing: the chat template writes no date");
  const tokenizer::TurnEnd end = chat_template.turn_end(tokenizer);
  if (!end.id && !end.text.empty())
    log_warning(
        fmt::format("the model has no token for \"{}\", with which the chat template ends an answer; "
                    "it is spelled in pieces, and an answer ends where this text comes",
                    end.text));
}

tokenizer::Prompt open_template(const PromptSources& sources, const tokenizer::Tokenizer& tokenizer) {
  if (sources.chat_template.empty())
    throw UsageError(
        "[--prompt] expected a model with a chat template (chat_template.jinja, or chat_template in "
        "tokenizer_config.json) to ask by it, got one without; take one of the named forms");
  const std::tm date = prompt_date(sources.flags.date);
  try {
    auto opened = std::make_shared<const tokenizer::ChatTemplate>(sources.chat_template,
                                                                  sources.tokenizer_path, tokenizer, date);
    describe_template(sources, *opened, tokenizer);
    return tokenizer::Prompt(std::move(opened));
  } catch (const InputError& error) {
    throw InputError(
        fmt::format("{}; --prompt llama2, alpaca, chatml or none asks without the template", error.what()));
  }
}

}  // namespace

void add_prompt_flags(CLI::App& verb, PromptFlags& flags) {
  std::vector<std::string> names = tokenizer::prompt_form_names();
  names.insert(names.begin(), kAuto);
  verb.add_option("--prompt", flags.form,
                  "Form in which the model is asked: auto: the form that sft taught the model, else its own "
                  "chat template, else llama2; template: its own chat template; llama2, alpaca, chatml, none")
      ->check(CLI::IsMember(names))
      ->capture_default_str();
  verb.add_option("--prompt_date", flags.date,
                  "Date that a chat template may write, such as 2026-01-31 (default: today)");
}

tokenizer::Prompt choose_prompt(const PromptSources& sources, const tokenizer::Tokenizer& tokenizer) {
  const std::optional<PromptForm> taught = taught_form(sources);
  const bool is_auto = sources.flags.form == kAuto;
  const PromptForm otherwise = sources.chat_template.empty() ? PromptForm::kLlama2 : PromptForm::kTemplate;
  const PromptForm form =
      is_auto ? taught.value_or(otherwise) : tokenizer::prompt_form_from_name(sources.flags.form);
  std::string origin;
  if (taught == form)
    origin = " (as the model was taught)";
  else if (is_auto && form == PromptForm::kTemplate)
    origin =
        " (the model's own; one that another program taught llama2 or alpaca is asked by --prompt llama2 or "
        "alpaca)";
  else if (is_auto)
    origin = " (the default)";
  log_info(fmt::format("prompt form: {}{}", prompt_form_name(form), origin));
  if (taught && *taught != form)
    log_warning(fmt::format("--prompt {}: the model was taught {}", prompt_form_name(form),
                            prompt_form_name(*taught)));
  if (form == PromptForm::kTemplate) return open_template(sources, tokenizer);
  if (!sources.flags.date.empty())
    log_warning(fmt::format("--prompt_date changes nothing: the prompt form {} writes no date",
                            prompt_form_name(form)));
  if (taught != form) warn_about_template(sources, form);
  warn_about_markers(form, tokenizer);
  return form;
}

}  // namespace longlora::cli
