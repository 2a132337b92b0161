// Passkey retrieval: a model is asked for a number that is hidden in a long text of no interest.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "longlora/generate/generator.h"
#include "longlora/results/passkey.h"
#include "longlora/tokenizer/tokenizer.h"

namespace longlora::eval {

/// One question.
struct PasskeyPrompt {
  std::string text;
  int64_t pass_key = 0;
  int64_t num_garbage = 0;  // how many characters of filler it has
  int64_t num_prefix = 0;   // how many of them stand before the key

  /// Where the key stands: 0 is the start of the filler, and towards 1 its end.
  double depth() const { return static_cast<double>(num_prefix) / static_cast<double>(num_garbage); }
};

/// The number of characters of filler for a prompt of about `target_tokens` Llama tokens: int(3.75 ·
/// target_tokens // 1024 · 1024), which is 0 for fewer than 274.
int64_t passkey_garbage_chars(int64_t target_tokens);

/// The prompt that the released script makes for NumPy's seed(`seed`), with as many repeats of the filler as
/// are needed. Throws UsageError unless num_garbage > 0.
PasskeyPrompt make_passkey_prompt(int64_t num_garbage, uint32_t seed);

struct PasskeyOptions {
  /// The lengths that prompts aim at, in tokens; there is one result for each.
  std::vector<int64_t> target_tokens;
  /// The number of trials for each length, with seeds 0, 1, …
  int64_t num_tests = 10;
  /// Prompts that do not fit into this many tokens together with their answer are left out.
  int64_t context_size = 0;
  /// The ids that end an answer, besides the tokenizer's EOS.
  std::vector<int64_t> stop_ids = {};
};

/// The prompt lengths to ask at: interval, 2 · interval, …, as the released script steps up to max_tokens.
/// Throws UsageError unless 0 < interval <= max_tokens.
std::vector<int64_t> passkey_lengths_up_to(int64_t max_tokens, int64_t interval);

/// Asks every question with greedy decoding. An answer is correct when its ids are
/// those of the key and nothing more is generated. A length whose prompts all exceed the context comes back
/// without trials. Throws UsageError for options out of range.
std::vector<results::PasskeyLength> run_passkey(generate::Generator& generator,
                                                const tokenizer::Tokenizer& tokenizer,
                                                const PasskeyOptions& options);

}  // namespace longlora::eval
