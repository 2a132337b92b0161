#include "longlora/ops/backend.h"

#include "longlora/ops/attention_paths.h"
#include "longlora/ops/cpu/ops.h"

namespace longlora::ops {
namespace cpu {
namespace {

at::Tensor attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, const AttentionPlan& plan,
                     KeptAttention* kept) {
  if (!is_best_in_place(k, plan) && attention_cpu_takes(q)) return attention_cpu(q, k, v, plan, kept);
  return attention_composed(q, k, v, plan);
}

constexpr Backend kTable = {
    .rms_norm = rms_norm,
    .layer_norm = layer_norm,
    .rotate = rotate,
    .silu_mul = silu_mul,
    .attention = attention,
    .matrix_product = matrix_product,
    .add_transposed_product = add_transposed_product,
    .dequantize_nf4 = dequantize_nf4,
    .dropout = dropout,
    .add_embedding_gradient = add_embedding_gradient,
    .cross_entropy_rows = cross_entropy_rows,
    .adamw = adamw,
    .sum_of_squares = sum_of_squares,
};

}  // namespace
}  // namespace cpu

const Backend& cpu_backend() {
  return cpu::kTable;
}

}  // namespace longlora::ops
