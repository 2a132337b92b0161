// Questions and answers to train on: files are read, tokenized, shortened to the length of a row, and
// counted.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "longlora/data/instruction_tokens.h"

namespace longlora::data {

struct InstructionOptions {
  /// Required. It must have an EOS token and live until the call returns.
  const tokenizer::Tokenizer* tokenizer = nullptr;
  tokenizer::Prompt prompt = tokenizer::PromptForm::kLlama2;
  Truncation truncation = Truncation::kMiddle;
  /// The largest number of tokens that a sample may have.
  int64_t max_tokens = 0;
  /// The number of rows of the model's embedding: every id must be smaller.
  int64_t vocab_size = 0;
  /// Whether broken samples are left out rather than refused.
  bool skip_bad_samples = false;
  /// Whether the tokens of each file are kept beside it, and taken from there the next time.
  bool cache = true;
  int num_threads = 1;
};

/// What became of the samples.
struct InstructionCounts {
  int64_t num_read = 0;
  int64_t num_broken = 0;
  int64_t num_cut = 0;
  int64_t num_tokens_cut = 0;      // taken off the samples that stay
  int64_t num_too_long = 0;        // left out
  int64_t num_without_target = 0;  // left out, because nothing is to be learned
  int64_t num_uncertain = 0;       // answers that were found by comparing ids (see tokenize_conversation)
  int64_t num_tokens = 0;          // in the samples that stay
  int64_t num_targets = 0;         // those of them that are to be learned
};

struct InstructionSet {
  std::vector<InstructionTokens> samples;
  /// The index in `files` of each sample's file.
  std::vector<int32_t> file_of;
  std::vector<std::filesystem::path> files;
  InstructionCounts counts;
  /// A hash that is equal for equal samples in equal order.
  std::string fingerprint;

  /// "1,000 samples (3 cut, 1 too long), 512,000 tokens, 10,000 to learn".
  std::string describe() const;
};

/// Reads files, and folders of them. Throws InputError for a path that does not exist, for broken samples
/// unless they are to be skipped (up to ten are named with file, place and fault), for ids beyond the
/// vocabulary, and where nothing is left to learn.
InstructionSet read_instruction_set(const std::vector<std::filesystem::path>& paths,
                                    const InstructionOptions& options);

}  // namespace longlora::data
