#include "longlora/cli/prompt_flag.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <CLI/CLI.hpp>
#include <optional>

#include "longlora/core/log.h"
#include "longlora/tokenizer/chat_template.h"
#include "longlora/tokenizer/taught_form.h"

namespace longlora::cli {
namespace {

using tokenizer::prompt_form_name;
using tokenizer::PromptForm;

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
  log_warning(fmt::format(
      "the model carries a chat template of another form{}, and may not know {} unless it was taught it{}",
      own ? fmt::format(" ({})", prompt_form_name(*own)) : " (none of those of --prompt)",
      prompt_form_name(form),
      own ? fmt::format("; --prompt {} asks as the template does", prompt_form_name(*own))
          : std::string("; write the template's markers into the question and take --prompt none")));
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

}  // namespace

void add_prompt_flag(CLI::App& verb, std::string& name) {
  verb.add_option(
          "--prompt", name,
          "Form in which the model is asked: llama2, alpaca, chatml, none (default: the form that sft "
          "taught the model, else llama2)")
      ->check(CLI::IsMember(tokenizer::prompt_form_names()));
}

PromptForm choose_prompt_form(const PromptSources& sources, const tokenizer::Tokenizer& tokenizer) {
  const std::optional<PromptForm> taught = taught_form(sources);
  PromptForm form = taught.value_or(PromptForm::kLlama2);
  if (!sources.flag.empty()) form = tokenizer::prompt_form_from_name(sources.flag);
  const char* origin = taught == form ? "as the model was taught" : "";
  if (!taught && sources.flag.empty()) origin = "the default";
  log_info(fmt::format("prompt form: {}{}", prompt_form_name(form),
                       *origin != '\0' ? fmt::format(" ({})", origin) : ""));
  if (taught && *taught != form)
    log_warning(fmt::format("--prompt {}: the model was taught {}", prompt_form_name(form),
                            prompt_form_name(*taught)));
  if (taught != form) warn_about_template(sources, form);
  warn_about_markers(form, tokenizer);
  return form;
}

}  // namespace longlora::cli
