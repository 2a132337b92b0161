// Rows to train on: ids, what is to be predicted from them, and where documents begin.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "longlora/data/instruction_set.h"
#include "longlora/data/token_data.h"

namespace longlora::data {

/// The label of a token after which nothing is to be predicted (ops::kIgnoreLabel).
inline constexpr int64_t kNoLabel = -100;

/// One row of T tokens.
struct TrainingRow {
  std::vector<int64_t> ids;        // [T]
  std::vector<int64_t> labels;     // [T] the id to predict behind each token, or kNoLabel
  std::vector<int64_t> positions;  // [T] the place of each token in its document
  std::vector<int64_t> starts;     // where each document of the row begins, ascending from 0
};

/// Rows by their number. Immutable and thread-safe.
class TrainingRows {
 public:
  virtual ~TrainingRows() = default;
  virtual int64_t num_rows() const = 0;
  /// The number of tokens T of a row.
  virtual int64_t row_tokens(int64_t row) const = 0;
  /// How many labels of a row are not kNoLabel.
  virtual int64_t num_labels(int64_t row) const = 0;
  virtual TrainingRow row(int64_t index) const = 0;
  /// The number of ids in all data, including those that are in no row.
  virtual int64_t num_tokens() const = 0;
  /// A hash that is equal for equal rows; empty where num_tokens() has to be enough.
  virtual std::string fingerprint() const { return ""; }
};

/// Rows of `row_tokens` consecutive ids, in which every token predicts the next one. A rest that fills no row
/// is left out.
class ConsecutiveRows : public TrainingRows {
 public:
  /// `data` must outlive this object. Throws InputError when it has no whole row.
  ConsecutiveRows(const TokenData& data, int64_t row_tokens);

  int64_t num_rows() const override { return data_.size() / row_tokens_; }
  int64_t row_tokens(int64_t) const override { return row_tokens_; }
  int64_t num_labels(int64_t) const override { return row_tokens_ - 1; }
  TrainingRow row(int64_t index) const override;
  int64_t num_tokens() const override { return data_.size(); }
  /// The SHA-256 of all ids, wherever they came from.
  std::string fingerprint() const override;

 private:
  const TokenData& data_;
  int64_t row_tokens_;
};

/// ConsecutiveRows of `data`; null for null. Throws as ConsecutiveRows does.
std::unique_ptr<const TrainingRows> consecutive_rows(const TokenData* data, int64_t row_tokens);

/// Which samples share a row.
enum class Packing {
  kNone,     // every sample has a row of its own
  kBestFit,  // the longest first, each into the row that it fills best
  kInOrder,  // as they come, until the next does not fit
};

/// Distributes samples of `lengths` tokens over rows of at most `row_tokens`, and returns the numbers of the
/// samples in each row. No length may be larger. Rows come in the order of their first samples, and the
/// samples of a row ascend.
std::vector<std::vector<int64_t>> pack(const std::vector<int64_t>& lengths, int64_t row_tokens,
                                       Packing packing);

/// Rows of whole samples. A token predicts the next one where that is part of an answer of the same sample.
class InstructionRows : public TrainingRows {
 public:
  InstructionRows(InstructionSet set, int64_t row_tokens, Packing packing);

  int64_t num_rows() const override { return static_cast<int64_t>(rows_.size()); }
  int64_t row_tokens(int64_t row) const override { return row_tokens_[static_cast<size_t>(row)]; }
  int64_t num_labels(int64_t row) const override;
  TrainingRow row(int64_t index) const override;
  int64_t num_tokens() const override { return set_.counts.num_tokens; }
  std::string fingerprint() const override { return set_.fingerprint; }

  const InstructionSet& set() const { return set_; }

 private:
  InstructionSet set_;
  std::vector<std::vector<int64_t>> rows_;  // the numbers of the samples in each row
  std::vector<int64_t> row_tokens_;
};

}  // namespace longlora::data
