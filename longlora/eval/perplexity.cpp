#include "longlora/eval/perplexity.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "longlora/core/error.h"
#include "longlora/core/format.h"
#include "longlora/core/progress.h"
#include "longlora/eval/row_scorer.h"

namespace longlora::eval {
namespace {

constexpr int64_t kBatchTokens = 8192;

// Sums over the windows of one length.
struct Sums {
  double loss = 0.0;
  int64_t num_losses = 0;
  int64_t num_correct = 0;
  int64_t num_predictions = 0;
  std::vector<double> window_losses;

  double mean_loss() const { return loss / static_cast<double>(std::max<int64_t>(1, num_losses)); }
};

// Scores the windows [first, last) together.
void score_batch(const RowScorer& scorer, const data::TokenData& data, std::span<const Window> windows,
                 int64_t seq_len, WindowMode mode, Sums& sums) {
  const auto rows = static_cast<int64_t>(windows.size());
  // In the released evaluation the accuracy has one place more than the loss: that of the token after the
  // window.
  const int64_t num_predicted = mode == WindowMode::kAll ? seq_len : seq_len - 1;
  const at::Tensor ids = at::empty({rows, seq_len}, at::kLong);
  const at::Tensor labels = at::full({rows, seq_len}, ops::kIgnoreLabel, at::kLong);
  std::vector<int64_t> stretch(static_cast<size_t>(num_predicted + 1));
  for (int64_t row = 0; row < rows; ++row) {
    const Window& window = windows[static_cast<size_t>(row)];
    data.read(window.start, stretch);
    std::copy_n(stretch.begin(), seq_len, ids.mutable_data_ptr<int64_t>() + row * seq_len);
    std::copy(stretch.begin() + window.first_scored + 1, stretch.end(),
              labels.mutable_data_ptr<int64_t>() + row * seq_len + window.first_scored);
    sums.num_losses += seq_len - 1 - window.first_scored;
    sums.num_predictions += num_predicted - window.first_scored;
  }
  const auto result = scorer.score(ids, labels);
  require_finite(result, scorer.decoder(), seq_len, [&](int64_t row, int64_t token) {
    const int64_t start = windows[static_cast<size_t>(row)].start;
    return fmt::format("token {} of the data, in the window from {} on", start + token + 1, start);
  });
  const at::Tensor row_sums =
      result.losses.view({rows, seq_len}).slice(1, 0, seq_len - 1).sum({1}, false, at::kDouble).cpu();
  for (int64_t row = 0; row < rows; ++row) {
    const double loss = row_sums.const_data_ptr<double>()[row];
    sums.loss += loss;
    sums.window_losses.push_back(
        loss / static_cast<double>(seq_len - 1 - windows[static_cast<size_t>(row)].first_scored));
  }
  sums.num_correct += result.num_correct;
}

results::PerplexityPoint evaluate_length(const RowScorer& scorer, const data::TokenData& data,
                                         int64_t seq_len, std::span<const Window> windows,
                                         const PerplexityOptions& options) {
  const auto count = static_cast<int64_t>(windows.size());
  const int64_t batch = windows_at_once(options, seq_len);
  Progress progress(fmt::format("evaluating {} tokens", format_count(seq_len)), count, "windows");
  Sums sums;
  for (int64_t begin = 0; begin < count; begin += batch) {
    const int64_t end = std::min(count, begin + batch);
    score_batch(scorer, data, windows.subspan(static_cast<size_t>(begin), static_cast<size_t>(end - begin)),
                seq_len, options.windows.mode, sums);
    progress.update(end, fmt::format("perplexity {:.3f}", std::exp(sums.mean_loss())));
  }
  progress.finish();
  results::PerplexityPoint result;
  result.seq_len = seq_len;
  result.num_windows = count;
  result.num_tokens = sums.num_losses;
  // Windows of kAll have equally many losses, so that the mean of their means is the mean over all losses.
  result.loss = sums.mean_loss();
  result.perplexity = std::exp(result.loss);
  result.accuracy = static_cast<double>(sums.num_correct) / static_cast<double>(sums.num_predictions);
  result.window_losses = std::move(sums.window_losses);
  return result;
}

}  // namespace

int64_t windows_at_once(const PerplexityOptions& options, int64_t seq_len) {
  return options.batch_size > 0 ? options.batch_size : std::max<int64_t>(1, kBatchTokens / seq_len);
}

std::vector<results::PerplexityPoint> evaluate_perplexity(const forward::ReadyDecoder& ready,
                                                          const data::TokenData& data,
                                                          const PerplexityOptions& options) {
  if (options.seq_lens.empty()) throw UsageError("[--seq_len] expected at least one length, got none");
  if (options.batch_size < 0)
    throw UsageError(
        fmt::format("[--batch_size] expected 0 (automatic) or more, got {}", options.batch_size));
  const int64_t longest = *std::max_element(options.seq_lens.begin(), options.seq_lens.end());
  // All lengths are checked before the first is computed.
  std::vector<std::vector<Window>> windows;
  for (const int64_t seq_len : options.seq_lens)
    windows.push_back(make_windows(data.size(), seq_len, std::max(longest, options.windows.longest_seq_len),
                                   options.windows));
  const RowScorer scorer(ready, longest);
  std::vector<results::PerplexityPoint> results;
  for (size_t i = 0; i < windows.size(); ++i)
    results.push_back(evaluate_length(scorer, data, options.seq_lens[i], windows[i], options));
  return results;
}

}  // namespace longlora::eval
