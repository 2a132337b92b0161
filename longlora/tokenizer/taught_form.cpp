#include "longlora/tokenizer/taught_form.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "longlora/core/error.h"
#include "longlora/core/json.h"

namespace longlora::tokenizer {

std::vector<std::string> answer_ends(PromptForm form) {
  if (form == PromptForm::kChatml) return {kChatmlEnd};
  return {};
}

std::vector<std::string> token_markers(PromptForm form) {
  if (form == PromptForm::kChatml) return {kChatmlStart, kChatmlEnd};
  return {};
}

void write_taught_form(const std::filesystem::path& folder, PromptForm form) {
  write_json(folder / kTaughtFormFile, {{"prompt", prompt_form_name(form)}});
}

std::optional<PromptForm> read_taught_form(const std::filesystem::path& folder) {
  const std::filesystem::path path = folder / kTaughtFormFile;
  std::error_code ignored;
  if (folder.empty() || !std::filesystem::exists(path, ignored)) return std::nullopt;
  const Json json = read_json(path);
  const Json name = json.is_object() ? json.value("prompt", Json()) : Json();
  const auto& names = prompt_form_names();
  const auto found = std::find(names.begin(), names.end(), name);
  if (found == names.end())
    throw InputError(
        fmt::format("[{}] expected \"prompt\" to be one of {}, got {}; correct it or remove the file",
                    path.string(), fmt::join(names, ", "), name.dump()));
  return static_cast<PromptForm>(found - names.begin());
}

}  // namespace longlora::tokenizer
