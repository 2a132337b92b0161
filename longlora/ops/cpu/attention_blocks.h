// Blocked causal attention: the blocks, their products, and the pieces of work. A task is one key/value head
// in one segment; it packs keys and values once for all query heads that share them.
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

/// c [m, n] (+)= a [m, k] · b [k, n], b packed as AttentionKernels says.
void block_product(int64_t m, int64_t n, int64_t k, bool add, const float* a, const float* b, float* c);
void block_product(int64_t m, int64_t n, int64_t k, bool add, const Bf16* a, const Bf16* b, float* c);
/// Whether block products of this dtype run here, found out by one.
bool block_products_run(at::ScalarType dtype);

/// Where a sliding window cuts through the blocks of a segment; blocks and tokens count from its start.
struct Window {
  int64_t tokens = 0;  // 0: none

  /// The first key block that query block i sees anything of.
  int64_t first_key_block(int64_t i) const {
    return tokens == 0 ? 0 : std::max<int64_t>(0, i * kBlock - tokens + 1) / kBlock;
  }
  /// One past the last query block that sees anything of key block j.
  int64_t last_query_block(int64_t j, int64_t blocks) const {
    if (tokens == 0) return blocks;
    // Not by an addition, which a huge window would overflow.
    const int64_t ahead = (std::min(tokens, blocks * kBlock) + kBlock - 2) / kBlock;
    return std::min(blocks, j + ahead + 1);
  }
  /// first_key of AttentionKernels for query block i and key block j.
  int64_t first_key(int64_t i, int64_t j) const {
    return tokens == 0 ? kNoWindow : std::max(kNoWindow, (i - j) * kBlock - tokens + 1);
  }
};

/// The query heads of one key/value head that attend in one segment.
struct Task {
  int64_t kv_head;
  int64_t first_head, last_head;
  int64_t start, end;  // tokens
  /// The queries are those of the tokens [first_query, end), token t in row t − query_shift. Backward takes
  /// all tokens.
  int64_t first_query, query_shift;

  /// The work, in pairs of a query and a key.
  int64_t pairs() const { return (last_head - first_head) * (end - start) * (end - first_query); }
};

/// All tasks of one call. Those of a key/value head whose query heads lie in
/// both halves come in two groups, which write the same gradients.
struct Tasks {
  std::vector<Task> tasks;
  bool any_shared = false;
};

Tasks list_tasks(const AttentionPlan& plan, int64_t heads, int64_t kv_heads);

/// A [N, heads, D] tensor as rows of one head.
template <typename T>
struct HeadView {
  T* data;
  int64_t token_stride, head_stride;

  explicit HeadView(const at::Tensor& x)
      : data(element_data<T>(x)), token_stride(x.stride(0)), head_stride(x.stride(1)) {}
  T* at(int64_t token, int64_t head) const { return data + token * token_stride + head * head_stride; }
};

}  // namespace longlora::ops::cpu
