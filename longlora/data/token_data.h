// Token ids to train and evaluate on: flat files on disk, or text tokenized on the way in.
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

/// One flat sequence of ids, documents joined by EOS. A .bin file stays mapped
/// (see TokenFile for the type of its ids); text is held in memory as ids.
/// Immutable and thread-safe.
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
  /// Number of rows of the model's embedding: every id must be smaller.
  int64_t vocab_size = 0;
  /// Needed for text and JSON; may be null for .bin.
  const tokenizer::Tokenizer* tokenizer = nullptr;
  /// The field of a JSON object that holds the text.
  std::string text_field = "text";
  /// How ids of a .bin without a JSON beside it are stored; nothing: as the vocabulary says.
  std::optional<IdType> bin_type = std::nullopt;
  /// On which text is tokenized.
  int num_threads = 1;
};

/// Opens files of ids (.bin), text or JSON, or folders of them (sorted by name), and
/// joins them. A .bin written with another tokenizer (fingerprint in the JSON
/// beside it) is refused when a tokenizer is given. Throws InputError: missing,
/// empty, odd-sized, ids beyond the vocabulary (all ids are checked), malformed lines.
std::unique_ptr<TokenData> open_token_data(const std::vector<std::filesystem::path>& paths,
                                           const TokenDataOptions& options);

/// The order in which rows of `row_tokens` consecutive ids are visited: epoch
/// after epoch, shuffled anew in each when `shuffle`, a pure function of
/// (seed, position), so that a resumed run needs only the position.
class RowOrder {
 public:
  RowOrder(int64_t num_rows, bool shuffle, uint64_t seed);
  /// Shuffled so that rows of like length come together: each `rows_per_batch` places are one batch, and 50
  /// batches of random rows are sorted by length before they are cut and shuffled again.
  RowOrder(std::vector<int64_t> row_tokens, int64_t rows_per_batch, uint64_t seed);
  int64_t num_rows() const { return num_rows_; }
  /// The row at `position` (0-based over all epochs).
  int64_t row_at(int64_t position);

 private:
  void group_by_length(uint64_t seed);

  int64_t num_rows_;
  bool shuffle_;
  uint64_t seed_;
  std::vector<int64_t> row_tokens_;  // empty: rows are not grouped
  int64_t rows_per_batch_ = 1;
  int64_t cached_epoch_ = -1;
  std::vector<int64_t> cached_order_;
};

}  // namespace longlora::data
