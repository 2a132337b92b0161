#include "longlora/cli/instruction_preview.h"

#include <fmt/format.h>

#include "longlora/core/format.h"
#include "longlora/core/utf8.h"

namespace longlora::cli {
namespace {

constexpr size_t kShownBytes = 600;  // how much is shown at either end of a long stretch

// Returns where the character begins that a byte belongs to.
size_t character_start(const std::string& text, size_t at) {
  while (at > 0 && at < text.size() && (static_cast<unsigned char>(text[at]) & 0xC0) == 0x80) --at;
  return at;
}

std::string shortened(const std::string& text) {
  if (text.size() <= 2 * kShownBytes + 100) return text;
  const size_t first = character_start(text, kShownBytes);
  const size_t last = character_start(text, text.size() - kShownBytes);
  return fmt::format("{} … {} bytes … {}", text.substr(0, first),
                     format_count(static_cast<int64_t>(last - first)), text.substr(last));
}

// Returns the text of tokens, joined from their bytes, so that a character that is divided between two ranges
// shows in both.
std::string text_of(const data::InstructionTokens& sample, const data::TokenRange& range,
                    const tokenizer::Tokenizer& tokenizer) {
  std::string text;
  for (int64_t i = range.begin; i < range.end; ++i)
    text += tokenizer.token_bytes(sample.ids[static_cast<size_t>(i)]);
  return replace_invalid_utf8(text);
}

}  // namespace

std::string describe_sample(const data::InstructionSet& set, size_t index,
                            const tokenizer::Tokenizer& tokenizer, bool colors) {
  const data::InstructionTokens& sample = set.samples[index];
  const std::string file = set.files[static_cast<size_t>(set.file_of[index])].string();
  std::string text =
      fmt::format("--- {}, sample {}: {} tokens, {} to learn ---\n", file, sample.index,
                  format_count(static_cast<int64_t>(sample.ids.size())), format_count(sample.num_targets()));
  const char* begin = colors ? "\033[32m⟦" : "⟦";
  const char* end = colors ? "⟧\033[0m" : "⟧";
  int64_t at = 0;
  for (const data::TokenRange& answer : sample.answers) {
    text += shortened(text_of(sample, {at, answer.begin}, tokenizer));
    text += fmt::format("{}{}{}", begin, text_of(sample, answer, tokenizer), end);
    at = answer.end;
  }
  text += shortened(text_of(sample, {at, static_cast<int64_t>(sample.ids.size())}, tokenizer));
  return text;
}

}  // namespace longlora::cli
