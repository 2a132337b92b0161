#include "longlora/ops/cross_entropy.h"

#include <c10/core/GradMode.h>
#include <fmt/format.h>

#include <algorithm>
#include <vector>

#include "longlora/core/error.h"
#include "longlora/ops/backend.h"
#include "longlora/ops/matrix_product.h"

namespace longlora::ops {
namespace {

// Bytes of logits in a chunk. Every chunk reads and packs the whole weight twice, so that chunks must not be
// small.
constexpr int64_t kLogitsChunkBytes = int64_t{32} << 20;
// Where the weight is trained, every chunk also adds a matrix of the weight's size to its gradient.
constexpr int64_t kTrainedLogitsChunkBytes = int64_t{64} << 20;
// A GPU needs more rows to be busy.
constexpr int64_t kDeviceLogitsChunkBytes = int64_t{256} << 20;

}  // namespace

LinearCrossEntropyResult linear_cross_entropy(const at::Tensor& hidden, const Weight& weight,
                                              const at::Tensor& labels,
                                              const LinearCrossEntropyOptions& options) {
  if (hidden.dim() != 2 || weight.dim() != 2 || hidden.size(1) != weight.size(1) ||
      labels.numel() != hidden.size(0))
    throw Error("[linear_cross_entropy] expected hidden [N, C], weight [V, C], labels [N]");
  const c10::NoGradGuard no_grad;
  const Backend& backend = backend_for(hidden);
  const int64_t vocab_size = weight.size(0);
  const bool want_grad = options.grad_scale != 0.0;

  const at::Tensor rows = labels.ne(kIgnoreLabel).nonzero().squeeze(1);
  LinearCrossEntropyResult result;
  result.num_labels = rows.numel();
  if (want_grad) result.grad_hidden = at::zeros_like(hidden);
  if (options.want_losses) result.losses = at::zeros({hidden.size(0)}, hidden.options().dtype(at::kFloat));
  // They are summed at the end, because reading a number from a GPU waits for it.
  std::vector<at::Tensor> loss_sums, correct_sums;
  if (result.num_labels == 0) return result;

  const at::Tensor kept_labels = labels.index_select(0, rows);
  const int64_t low = kept_labels.min().item<int64_t>(), high = kept_labels.max().item<int64_t>();
  if (low < 0 || high >= vocab_size)
    throw Error(fmt::format("[linear_cross_entropy] expected labels in [0, {}), got {}", vocab_size,
                            low < 0 ? low : high));

  const int64_t row_bytes = vocab_size * hidden.element_size();
  at::Tensor grad_weight = options.grad_weight;
  const bool trains = want_grad && options.grad_weight.defined();
  int64_t chunk_bytes = trains ? kTrainedLogitsChunkBytes : kLogitsChunkBytes;
  if (!hidden.device().is_cpu()) chunk_bytes = kDeviceLogitsChunkBytes;
  // Chunks are as equal as possible.
  const int64_t most = std::max<int64_t>(64, chunk_bytes / row_bytes);
  const int64_t num_chunks = (result.num_labels + most - 1) / most;
  const int64_t chunk =
      options.chunk_rows > 0 ? options.chunk_rows : (result.num_labels + num_chunks - 1) / num_chunks;
  for (int64_t begin = 0; begin < result.num_labels; begin += chunk) {
    const int64_t end = std::min(result.num_labels, begin + chunk);
    const at::Tensor index = rows.slice(0, begin, end);
    const at::Tensor chunk_hidden = hidden.index_select(0, index);
    at::Tensor logits = matrix_product(chunk_hidden, {weight, /*transposed=*/true});
    const RowLosses losses =
        backend.cross_entropy_rows(logits, kept_labels.slice(0, begin, end), options.grad_scale);
    loss_sums.push_back(losses.loss.sum(at::kDouble));
    correct_sums.push_back(losses.correct.sum(at::kLong));
    if (options.want_losses) result.losses.index_copy_(0, index, losses.loss.to(at::kFloat));
    if (!want_grad) continue;
    result.grad_hidden.index_copy_(0, index, matrix_product(logits, {weight}));
    if (trains) add_transposed_product(logits, chunk_hidden, grad_weight);
  }
  const at::Tensor loss_parts = at::stack(loss_sums).cpu();
  for (int64_t i = 0; i < loss_parts.numel(); ++i) result.loss_sum += loss_parts[i].item<double>();
  result.num_correct = at::stack(correct_sums).sum().item<int64_t>();
  return result;
}

}  // namespace longlora::ops
