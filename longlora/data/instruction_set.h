// Questions and answers to train on: files read, tokenized, shortened to the length of a row, and counted.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "longlora/data/instruction_tokens.h"

namespace longlora::data {

struct InstructionOptions {
  /// Required; must have an EOS token; lives until the call returns.
  const tokenizer::Tokenizer* tokenizer = nullptr;
  tokenizer::PromptForm form = tokenizer::PromptForm::kLlama2;
  Truncation truncation = Truncation::kMiddle;
  /// Tokens of the longest sample.
  int64_t max_tokens = 0;
  /// Rows of the model's embedding: every id must be smaller.
  int64_t vocab_size = 0;
  /// Whether broken samples are left out rather than refused.
  bool skip_bad_samples = false;
  /// Whether tokens are kept beside each file, and taken from there.
  bool cache = true;
  int num_threads = 1;
};

/// What became of the samples.
struct InstructionCounts {
  int64_t num_read = 0;
  int64_t num_broken = 0;
  int64_t num_cut = 0;
  int64_t num_tokens_cut = 0;      // off the samples that stay
  int64_t num_too_long = 0;        // left out
  int64_t num_without_target = 0;  // left out: nothing to learn
  int64_t num_uncertain = 0;       // answers found by comparing ids (see tokenize_conversation)
  int64_t num_tokens = 0;          // of the samples that stay
  int64_t num_targets = 0;         // of those, tokens to learn
};

struct InstructionSet {
  std::vector<InstructionTokens> samples;
  /// Place of each sample's file in `files`.
  std::vector<int32_t> file_of;
  std::vector<std::filesystem::path> files;
  InstructionCounts counts;
  /// Equal for equal samples in equal order.
  std::string fingerprint;

  /// "1,000 samples (3 cut, 1 too long), 512,000 tokens, 10,000 to learn".
  std::string describe() const;
};

/// Reads files and folders of them. Throws InputError: a path that does not
/// exist, broken samples (up to ten are named with file, place and fault) unless
/// they are to be skipped, ids beyond the vocabulary, nothing left to learn.
InstructionSet read_instruction_set(const std::vector<std::filesystem::path>& paths,
                                    const InstructionOptions& options);

}  // namespace longlora::data
