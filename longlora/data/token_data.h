// Token ids to train and evaluate on: from flat files on disk, or from text that is tokenized when it is
// read.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "longlora/core/file.h"
#include "longlora/data/token_file.h"
#include "longlora/tokenizer/tokenizer.h"

namespace longlora::data {

/// One flat sequence of ids, in which EOS joins documents. A .bin file stays mapped (see TokenFile for the
/// type of its ids); a text is held in memory as ids. Immutable and thread-safe.
class TokenData {
 public:
  virtual ~TokenData() = default;
  virtual int64_t size() const = 0;
  /// Copies ids [start, start + out.size()) to `out`. Requires the range to lie inside.
  virtual void read(int64_t start, std::span<int64_t> out) const = 0;
  /// One line for the log: "3 files, 1,234,567 tokens, uint16".
  virtual std::string describe() const = 0;
};

/// How to open token data.
struct TokenDataOptions {
  /// The number of rows of the model's embedding: every id must be smaller.
  int64_t vocab_size = 0;
  /// Needed for text and JSON; may be null for .bin.
  const tokenizer::Tokenizer* tokenizer = nullptr;
  /// The field of a JSON object that holds the text.
  std::string text_field = "text";
  /// How the ids of a .bin are stored that has no JSON beside it. nullopt: the vocabulary decides.
  std::optional<IdType> bin_type = std::nullopt;
  /// The number of threads on which text is tokenized.
  int num_threads = 1;
};

/// Opens files of ids (.bin), text or JSON, or folders of them (sorted by name), and joins them. Where a
/// tokenizer is given, a .bin that was written with another one (by the fingerprint in the JSON beside it) is
/// refused. Throws InputError for files that are missing, empty or of an odd size, for ids beyond the
/// vocabulary (all ids are checked), and for malformed lines.
std::unique_ptr<TokenData> open_token_data(const std::vector<std::filesystem::path>& paths,
                                           const TokenDataOptions& options);

/// The order in which rows of `row_tokens` consecutive ids are visited, epoch after epoch. With `shuffle`
/// each epoch has an order of its own. The order depends on (seed, position) alone, so that a resumed run
/// needs only its position.
class RowOrder {
 public:
  RowOrder(int64_t num_rows, bool shuffle, uint64_t seed);
  /// Shuffles so that rows of similar length come together: each `rows_per_batch` places are one batch. For
  /// that, 50 batches of random rows are sorted by length, cut into batches, and shuffled again.
  RowOrder(std::vector<int64_t> row_tokens, int64_t rows_per_batch, uint64_t seed);
  int64_t num_rows() const { return num_rows_; }
  /// The row at `position`, which counts from 0 over all epochs.
  int64_t row_at(int64_t position);

 private:
  void group_by_length(uint64_t seed);

  int64_t num_rows_;
  bool shuffle_;
  uint64_t seed_;
  std::vector<int64_t> row_tokens_;  // empty where rows are not grouped by length
  int64_t rows_per_batch_ = 1;
  int64_t cached_epoch_ = -1;
  std::vector<int64_t> cached_order_;
};

}  // namespace longlora::data
