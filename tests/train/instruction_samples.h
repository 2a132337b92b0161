// Samples of questions and answers as rows, and the loss of a batch of them.
#pragma once

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "longlora/train/batch.h"
#include "tests/train/support.h"

namespace longlora::train {

inline const GroupRule kFullAttention = [](int64_t) { return int64_t{0}; };

/// A sample as one row: what lies in `answers` is predicted.
inline data::TrainingRow sample_row(const std::vector<int64_t>& ids,
                                    const std::vector<std::pair<int64_t, int64_t>>& answers) {
  data::TrainingRow row;
  row.ids = ids;
  row.labels.assign(ids.size(), data::kNoLabel);
  for (const auto& answer : answers)
    for (int64_t i = answer.first; i < answer.second; ++i) row.labels[i - 1] = ids[i];
  for (size_t i = 0; i < ids.size(); ++i) row.positions.push_back(static_cast<int64_t>(i));
  row.starts = {0};
  return row;
}

/// Several rows in one.
inline data::TrainingRow packed(const std::vector<data::TrainingRow>& rows) {
  data::TrainingRow all;
  for (const data::TrainingRow& row : rows) {
    all.starts.push_back(static_cast<int64_t>(all.ids.size()));
    all.ids.insert(all.ids.end(), row.ids.begin(), row.ids.end());
    all.labels.insert(all.labels.end(), row.labels.begin(), row.labels.end());
    all.positions.insert(all.positions.end(), row.positions.begin(), row.positions.end());
  }
  return all;
}

inline int64_t label_count(const data::TrainingRow& row) {
  return static_cast<int64_t>(row.labels.size()) -
         std::count(row.labels.begin(), row.labels.end(), data::kNoLabel);
}

inline std::vector<data::TrainingRow> golden_rows(const checkpoint::TensorStore& golden) {
  std::vector<data::TrainingRow> rows;
  for (int i = 0; golden.contains("ids." + std::to_string(i)); ++i) {
    const at::Tensor ids = golden.load("ids." + std::to_string(i));
    const at::Tensor ranges = golden.load("answers." + std::to_string(i));
    std::vector<std::pair<int64_t, int64_t>> answers;
    for (int64_t r = 0; r < ranges.size(0); ++r)
      answers.emplace_back(ranges[r][0].item<int64_t>(), ranges[r][1].item<int64_t>());
    rows.push_back(
        sample_row({ids.const_data_ptr<int64_t>(), ids.const_data_ptr<int64_t>() + ids.numel()}, answers));
  }
  return rows;
}

inline LossSums run(TrainedModel& decoder, const std::vector<data::TrainingRow>& rows,
                    const GroupRule& group_for) {
  zero_gradients(decoder);
  Engine engine(decoder, std::vector<Keep>(decoder.blocks.size(), Keep::kInput), 64);
  int64_t num_labels = 0;
  for (const data::TrainingRow& row : rows) num_labels += label_count(row);
  return engine.forward_backward(make_batch(rows, group_for), 1.0 / static_cast<double>(num_labels));
}

/// Rows in memory.
class MemoryRows : public data::TrainingRows {
 public:
  explicit MemoryRows(std::vector<data::TrainingRow> rows, std::string name = "rows")
      : rows_(std::move(rows)), name_(std::move(name)) {}
  int64_t num_rows() const override { return static_cast<int64_t>(rows_.size()); }
  int64_t row_tokens(int64_t row) const override { return static_cast<int64_t>(rows_[row].ids.size()); }
  int64_t num_labels(int64_t row) const override { return label_count(rows_[row]); }
  data::TrainingRow row(int64_t index) const override { return rows_[index]; }
  int64_t num_tokens() const override { return 1000; }
  std::string fingerprint() const override { return name_; }

 private:
  std::vector<data::TrainingRow> rows_;
  std::string name_;
};

/// Samples of different lengths with answers of different lengths.
inline std::vector<data::TrainingRow> uneven_rows() {
  std::vector<data::TrainingRow> rows;
  for (int64_t i = 0; i < 8; ++i) {
    std::vector<int64_t> ids;
    for (int64_t t = 0; t < 4 + i; ++t) ids.push_back(3 + (i * 31 + t * 7) % 90);
    rows.push_back(sample_row(ids, {{4 + i - 1 - i % 4, 4 + i}}));
  }
  return rows;
}

}  // namespace longlora::train
