// What a prompt form leaves in a model that was taught it: markers, the end of an answer, and a note.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "longlora/tokenizer/prompt_form.h"

namespace longlora::tokenizer {

/// Chatml's markers.
constexpr const char* kChatmlStart = "<|im_start|>";
constexpr const char* kChatmlEnd = "<|im_end|>";

/// Texts behind an answer's last words with which the form ends it, beside EOS.
std::vector<std::string> answer_ends(PromptForm form);
/// Markers of the form that a model made for it has as single tokens.
std::vector<std::string> token_markers(PromptForm form);

/// The note beside a model or an adapter of the form that it was taught in.
constexpr const char* kTaughtFormFile = "prompt_form.json";
void write_taught_form(const std::filesystem::path& folder, PromptForm form);
/// Nothing for an empty path and where `folder` has no note. Throws InputError for one that names no form.
std::optional<PromptForm> read_taught_form(const std::filesystem::path& folder);

}  // namespace longlora::tokenizer
