// What a prompt form leaves in a model that was taught it: markers, the ends of answers, and a note in its
// folder.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "longlora/tokenizer/prompt_form.h"

namespace longlora::tokenizer {

/// The markers of chatml.
constexpr const char* kChatmlStart = "<|im_start|>";
constexpr const char* kChatmlEnd = "<|im_end|>";

/// The texts with which the form ends an answer, besides EOS.
std::vector<std::string> answer_ends(PromptForm form);
/// The markers of the form that are single tokens in a model made for it.
std::vector<std::string> token_markers(PromptForm form);

/// The name of the note in the folder of a model or an adapter: it states the form that the model was taught
/// in.
constexpr const char* kTaughtFormFile = "prompt_form.json";
void write_taught_form(const std::filesystem::path& folder, PromptForm form);
/// Reads the note. Returns nullopt for an empty path and for a folder without one. Throws InputError for a
/// note that names no form.
std::optional<PromptForm> read_taught_form(const std::filesystem::path& folder);

}  // namespace longlora::tokenizer
