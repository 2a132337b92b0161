// --prompt: the form in which a model is asked.
#pragma once

#include <CLI/App.hpp>

#include <filesystem>
#include <string>

#include "longlora/tokenizer/prompt_form.h"
#include "longlora/tokenizer/tokenizer.h"

namespace longlora::cli {

/// Declares the flag; `name` stays empty where it is not given.
void add_prompt_flag(CLI::App& verb, std::string& name);

/// What decides the form.
struct PromptSources {
  std::string flag;                  // --prompt, or empty
  std::filesystem::path base_model;  // folders that `sft` may have left a note of its form in: the adapter's
  std::filesystem::path peft_model;  // goes first
  std::string chat_template;         // the model's own; empty: none
};

/// The form that the flag names, else the one that the model was taught, else llama2. Says which it is, and
/// warns where the model was taught or carries another, and where the form's markers are no tokens of the
/// model. Throws UsageError for an unknown name.
tokenizer::PromptForm choose_prompt_form(const PromptSources& sources, const tokenizer::Tokenizer& tokenizer);

}  // namespace longlora::cli
