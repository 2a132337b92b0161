// What the verb `inspect` does: files of data are read as training reads them, and what they hold is counted.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "longlora/data/instruction_set.h"
#include "longlora/data/token_data.h"
#include "longlora/results/inspection.h"

namespace longlora::inspect {

struct Options {
  /// Files of questions and answers, text, JSON or token ids, and folders of them.
  std::vector<std::filesystem::path> inputs;
  /// Held-out files, of which it is counted what the inputs hold.
  std::vector<std::filesystem::path> against;
  /// The tokenizer, the prompt form and the truncation of a run. Without a tokenizer lengths are in words.
  data::InstructionOptions instructions;
  /// How texts and .bin files are read. The tokenizer is that of `instructions`.
  data::TokenDataOptions token_data;
  /// Lengths of rows for which it is told what stays. Empty: the powers of 2 from 2048 up to that at which
  /// everything stays, or 131072.
  std::vector<int64_t> max_lengths;
  /// What the inputs are expected to be, one of expectation_names(), or empty.
  std::string expect;
  int num_threads = 1;
};

/// Reads every sample of the inputs once, and those of `against` before; what looks alike is read again. Of a
/// sample some 350 bytes are kept, of held-out data some 30 bytes for each word. The result does not depend
/// on the number of threads. Throws InputError for files that nothing can be read from; broken samples are
/// counted and told.
results::Inspection inspect(const Options& options);

}  // namespace longlora::inspect
