// The flags --prompt and --prompt_date, which say in which prompt form a model is asked.
#pragma once

#include <CLI/App.hpp>

#include <filesystem>
#include <string>

#include "longlora/tokenizer/prompt.h"
#include "longlora/tokenizer/tokenizer.h"

namespace longlora::cli {

/// What --prompt and --prompt_date say.
struct PromptFlags {
  std::string form = "auto";
  std::string date;  // empty: today
};

/// Declares the two flags.
void add_prompt_flags(CLI::App& verb, PromptFlags& flags);

/// What decides the prompt form.
struct PromptSources {
  PromptFlags flags;
  std::filesystem::path base_model;      // its folder may have a note of the form that `sft` taught it
  std::filesystem::path peft_model;      // a note in its folder is preferred
  std::filesystem::path tokenizer_path;  // its settings name the tokens that a template writes
  std::string chat_template;             // the model's chat template; empty: none
};

/// Returns the form that the flag names. For "auto" it is the form that the model was taught, else the
/// model's chat template, else llama2. Logs which it is. Warns where the model was taught another form or has
/// a chat template of another, and where the form's markers are no tokens of the model. Throws UsageError for
/// an unknown name, for a date that is none and where a template is asked for and the model has none, and
/// InputError for a template that cannot be run.
tokenizer::Prompt choose_prompt(const PromptSources& sources, const tokenizer::Tokenizer& tokenizer);

}  // namespace longlora::cli
