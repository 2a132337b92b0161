// The blocks of blocked causal attention, their products, and the tasks that threads work on. A task is one
// key/value head in one segment. It packs keys and values once for all query heads that share them.
#pragma once

#include <ATen/ATen.h>

#include <algorithm>
#include <vector>

#include "longlora/ops/attention_plan.h"
#include "longlora/ops/cpu/attention_kernels.h"
#include "longlora/ops/cpu/tensor_access.h"

namespace longlora::ops::cpu {

inline constexpr int64_t kBlock = kAttentionBlock;

inline int64_t num_blocks(int64_t length) {
  return (length + kBlock - 1) / kBlock;
}

/// Computes c [m, n] = a [m, k] · b [k, n], or with `add` adds that to c. b is packed as AttentionKernels
/// says.
void block_product(int64_t m, int64_t n, int64_t k, bool add, const float* a, const float* b, float* c);
void block_product(int64_t m, int64_t n, int64_t k, bool add, const Bf16* a, const Bf16* b, float* c);
/// Whether block products of this dtype run on this machine, which is tried with one.
bool block_products_run(at::ScalarType dtype);

/// Where a sliding window cuts through the blocks of a segment. Blocks and tokens are counted from the start
/// of the segment.
struct Window {
  int64_t tokens = 0;  // 0: no window

  /// Returns the first key block of which query block i sees a key.
  int64_t first_key_block(int64_t i) const {
    return tokens == 0 ? 0 : std::max<int64_t>(0, i * kBlock - tokens + 1) / kBlock;
  }
  /// Returns one past the last query block that sees a key of key block j.
  int64_t last_query_block(int64_t j, int64_t blocks) const {
    if (tokens == 0) return blocks;
    // The window is limited before the addition, which a huge one would overflow.
    const int64_t ahead = (std::min(tokens, blocks * kBlock) + kBlock - 2) / kBlock;
    return std::min(blocks, j + ahead + 1);
  }
  /// Returns what AttentionKernels takes as first_key for query block i and key block j.
  int64_t first_key(int64_t i, int64_t j) const {
    return tokens == 0 ? kNoWindow : std::max(kNoWindow, (i - j) * kBlock - tokens + 1);
  }
};

/// The query heads of one key/value head that attend in one segment.
struct Task {
  int64_t kv_head;
  int64_t first_head, last_head;
  int64_t start, end;  // the tokens of the segment
  /// The tokens [first_query, end) have queries. The query of token t is in row t − query_shift. In the
  /// backward pass all tokens have queries.
  int64_t first_query, query_shift;

  /// Returns the amount of work in pairs of a query and a key.
  int64_t pairs() const { return (last_head - first_head) * (end - start) * (end - first_query); }
};

/// All tasks of a call. A key/value head whose query heads lie in both halves has tasks for each half, which
/// add to the same gradients.
struct Tasks {
  std::vector<Task> tasks;
  bool any_shared = false;
};

Tasks list_tasks(const AttentionPlan& plan, int64_t heads, int64_t kv_heads);

/// Divides large tasks of the forward pass by ranges of queries, so that `threads` threads finish at about
/// the same time; the results do not change. A task has no keys behind its last query.
std::vector<Task> split_tasks(const std::vector<Task>& tasks, int64_t threads);

/// A tensor [N, heads, D] as the kernels read it, head by head.
template <typename T>
struct HeadView {
  T* data;
  int64_t token_stride, head_stride;

  explicit HeadView(const at::Tensor& x)
      : data(element_data<T>(x)), token_stride(x.stride(0)), head_stride(x.stride(1)) {}
  T* at(int64_t token, int64_t head) const { return data + token * token_stride + head * head_stride; }
};

}  // namespace longlora::ops::cpu
