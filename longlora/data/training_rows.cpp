#include "longlora/data/training_rows.h"

#include <fmt/core.h>

#include <algorithm>
#include <numeric>
#include <set>
#include <utility>

#include "longlora/core/error.h"
#include "longlora/core/sha256.h"

namespace longlora::data {

namespace {

using Rows = std::vector<std::vector<int64_t>>;

// Puts every sample, from the longest on, into the row with the least room that holds it.
Rows pack_best_fit(const std::vector<int64_t>& lengths, int64_t row_tokens) {
  std::vector<int64_t> order(lengths.size());
  std::iota(order.begin(), order.end(), int64_t{0});
  std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) {
    return lengths[static_cast<size_t>(a)] > lengths[static_cast<size_t>(b)];
  });
  Rows rows;
  std::set<std::pair<int64_t, size_t>> room;  // the room of each row, and the row
  for (const int64_t sample : order) {
    const int64_t length = lengths[static_cast<size_t>(sample)];
    const auto best = room.lower_bound({length, 0});
    std::pair<int64_t, size_t> row = {row_tokens, rows.size()};
    if (best == room.end())
      rows.emplace_back();
    else
      row = room.extract(best).value();
    rows[row.second].push_back(sample);
    room.insert({row.first - length, row.second});
  }
  for (auto& row : rows) std::sort(row.begin(), row.end());
  std::sort(rows.begin(), rows.end());
  return rows;
}

Rows pack_in_order(const std::vector<int64_t>& lengths, int64_t row_tokens) {
  Rows rows;
  int64_t room = 0;
  for (size_t i = 0; i < lengths.size(); ++i) {
    if (rows.empty() || lengths[i] > room) {
      rows.emplace_back();
      room = row_tokens;
    }
    rows.back().push_back(static_cast<int64_t>(i));
    room -= lengths[i];
  }
  return rows;
}

void append_sample(const InstructionTokens& sample, TrainingRow* row) {
  const auto start = static_cast<int64_t>(row->ids.size());
  const auto num_tokens = static_cast<int64_t>(sample.ids.size());
  row->starts.push_back(start);
  row->ids.insert(row->ids.end(), sample.ids.begin(), sample.ids.end());
  row->labels.resize(static_cast<size_t>(start + num_tokens), kNoLabel);
  for (const TokenRange& answer : sample.answers)
    for (int64_t i = std::max<int64_t>(answer.begin, 1); i < answer.end; ++i)
      row->labels[static_cast<size_t>(start + i - 1)] = sample.ids[static_cast<size_t>(i)];
  row->positions.resize(static_cast<size_t>(start + num_tokens));
  std::iota(row->positions.begin() + start, row->positions.end(), int64_t{0});
}

}  // namespace

ConsecutiveRows::ConsecutiveRows(const TokenData& data, int64_t row_tokens)
    : data_(data), row_tokens_(row_tokens) {
  if (num_rows() == 0)
    throw InputError(
        fmt::format("[data] expected at least one row of {} tokens, got {} tokens in all; give more data or "
                    "a smaller --model_max_length",
                    row_tokens, data.size()));
}

std::unique_ptr<const TrainingRows> consecutive_rows(const TokenData* data, int64_t row_tokens) {
  return data ? std::make_unique<const ConsecutiveRows>(*data, row_tokens) : nullptr;
}

std::string ConsecutiveRows::fingerprint() const {
  constexpr int64_t kPieceTokens = int64_t{1} << 20;
  Sha256 hash;
  std::vector<int64_t> ids(static_cast<size_t>(std::min(kPieceTokens, data_.size())));
  std::vector<int32_t> narrow(ids.size());  // a type that every id fits
  for (int64_t start = 0; start < data_.size(); start += kPieceTokens) {
    const auto count = static_cast<size_t>(std::min(kPieceTokens, data_.size() - start));
    data_.read(start, std::span(ids).first(count));
    std::transform(ids.begin(), ids.begin() + static_cast<std::ptrdiff_t>(count), narrow.begin(),
                   [](int64_t id) { return static_cast<int32_t>(id); });
    hash.add(narrow.data(), count * sizeof(int32_t));
  }
  return hash.hex();
}

TrainingRow ConsecutiveRows::row(int64_t index) const {
  TrainingRow row;
  row.ids.resize(static_cast<size_t>(row_tokens_));
  data_.read(index * row_tokens_, row.ids);
  row.labels.assign(row.ids.begin() + 1, row.ids.end());
  row.labels.push_back(kNoLabel);
  row.positions.resize(row.ids.size());
  std::iota(row.positions.begin(), row.positions.end(), int64_t{0});
  row.starts = {0};
  return row;
}

Rows pack(const std::vector<int64_t>& lengths, int64_t row_tokens, Packing packing) {
  for (const int64_t length : lengths)
    if (length < 1 || length > row_tokens)
      throw Error(fmt::format("[packing] expected samples of 1 to {} tokens, got {}", row_tokens, length));
  if (packing == Packing::kBestFit) return pack_best_fit(lengths, row_tokens);
  if (packing == Packing::kInOrder) return pack_in_order(lengths, row_tokens);
  Rows rows(lengths.size());
  for (size_t i = 0; i < rows.size(); ++i) rows[i] = {static_cast<int64_t>(i)};
  return rows;
}

InstructionRows::InstructionRows(InstructionSet set, int64_t row_tokens, Packing packing)
    : set_(std::move(set)) {
  std::vector<int64_t> lengths;
  lengths.reserve(set_.samples.size());
  for (const InstructionTokens& sample : set_.samples)
    lengths.push_back(static_cast<int64_t>(sample.ids.size()));
  rows_ = pack(lengths, row_tokens, packing);
  row_tokens_.reserve(rows_.size());
  for (const auto& row : rows_) {
    int64_t tokens = 0;
    for (const int64_t sample : row) tokens += lengths[static_cast<size_t>(sample)];
    row_tokens_.push_back(tokens);
  }
}

int64_t InstructionRows::num_labels(int64_t row) const {
  int64_t count = 0;
  for (const int64_t sample : rows_[static_cast<size_t>(row)])
    count += set_.samples[static_cast<size_t>(sample)].num_targets();
  return count;
}

TrainingRow InstructionRows::row(int64_t index) const {
  TrainingRow row;
  for (const int64_t sample : rows_[static_cast<size_t>(index)])
    append_sample(set_.samples[static_cast<size_t>(sample)], &row);
  return row;
}

}  // namespace longlora::data
