#include <fmt/format.h>

#include "longlora/core/error.h"
#include "longlora/core/random.h"
#include "longlora/eval/passkey.h"

namespace longlora::eval {
namespace {

constexpr const char* kTask =
    "There is an important info hidden inside a lot of irrelevant text. Find it and memorize them. I will "
    "quiz you "
    "about the important information there.";
constexpr const char* kGarbage =
    "The grass is green. The sky is blue. The sun is yellow. Here we go. There and back again.";
constexpr const char* kQuestion = "What is the pass key? The pass key is";
constexpr int64_t kPassKeyBound = 50000;

// The first `length` characters of the filler, which is repeated with spaces between.
std::string garbage_text(int64_t length) {
  const std::string unit = std::string(kGarbage) + " ";
  const auto size = static_cast<size_t>(length);
  std::string text;
  text.reserve(size + unit.size());
  while (text.size() < size) text += unit;
  text.resize(size);
  return text;
}

}  // namespace

int64_t passkey_garbage_chars(int64_t target_tokens) {
  // 3.75 = 15/4, in whole numbers: floor(3.75 · tokens / 1024) · 1024.
  return target_tokens * 15 / 4096 * 1024;
}

PasskeyPrompt make_passkey_prompt(int64_t num_garbage, uint32_t seed) {
  if (num_garbage < 1)
    throw UsageError(fmt::format("[passkey] expected at least one character of filler, got {}", num_garbage));
  NumpyRandom random(seed);
  PasskeyPrompt prompt;
  prompt.num_garbage = num_garbage;
  prompt.num_prefix = random.randint(0, num_garbage);
  prompt.pass_key = random.randint(1, kPassKeyBound);
  prompt.text = fmt::format("{}\n{}\nThe pass key is {}. Remember it. {} is the pass key.\n{}\n{}", kTask,
                            garbage_text(prompt.num_prefix), prompt.pass_key, prompt.pass_key,
                            garbage_text(num_garbage - prompt.num_prefix), kQuestion);
  return prompt;
}

std::vector<int64_t> passkey_lengths_up_to(int64_t max_tokens, int64_t interval) {
  if (interval < 1 || interval > max_tokens)
    throw UsageError(
        fmt::format("[--interval] expected 1 to --max_tokens ({}), got {}", max_tokens, interval));
  std::vector<int64_t> lengths;
  for (int64_t i = 1; i <= max_tokens / interval; ++i) lengths.push_back(i * interval);
  return lengths;
}

}  // namespace longlora::eval
