// The tables of implementations of the ops, and the one place where a table is chosen.
//
// An op is a contract file of this folder (norms.h, rotate.h, linear.h …), whose .cpp checks the arguments
// and calls the table of the tensor's backend. A new kind of device is another table.
#pragma once

#include <ATen/ATen.h>

#include "longlora/ops/adamw_step.h"
#include "longlora/ops/attention.h"
#include "longlora/ops/dropout.h"
#include "longlora/ops/matrix_product.h"
#include "longlora/ops/nf4.h"

namespace longlora::ops {

/// What the loss computes for each row of logits.
struct RowLosses {
  at::Tensor loss;     // [rows] float32 (float64 for float64 logits)
  at::Tensor correct;  // [rows] uint8
};

/// The implementations of the ops for one kind of tensors. Arguments are those of the op of the same name,
/// are checked already, and have one dtype. The first two groups are differentiable, the others work outside
/// autograd.
struct Backend {
  at::Tensor (*rms_norm)(const at::Tensor& x, const at::Tensor& weight, double epsilon);
  at::Tensor (*layer_norm)(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias,
                           double epsilon);
  at::Tensor (*rotate)(const at::Tensor& x, const at::Tensor& positions, const at::Tensor& cos,
                       const at::Tensor& sin);
  at::Tensor (*silu_mul)(const at::Tensor& gate, const at::Tensor& up);

  at::Tensor (*attention)(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                          const AttentionPlan& plan, KeptAttention* kept);

  at::Tensor (*matrix_product)(const at::Tensor& a, const RightOperand& right, const ProductTerms& terms);
  void (*add_transposed_product)(const at::Tensor& a, const at::Tensor& b, at::Tensor& sum);
  at::Tensor (*dequantize_nf4)(const Nf4Matrix& matrix, at::ScalarType dtype);
  at::Tensor (*dropout)(const at::Tensor& x, const Dropout& dropout);
  void (*add_embedding_gradient)(const at::Tensor& grad_hidden, const at::Tensor& ids,
                                 at::Tensor& grad_weight);

  /// Computes the losses of logits [rows, V], which are overwritten by their gradient where grad_scale is not
  /// 0.
  RowLosses (*cross_entropy_rows)(at::Tensor& logits, const at::Tensor& labels, double grad_scale);

  void (*adamw)(const at::Tensor& parameter, const at::Tensor& grad, const at::Tensor& exp_avg,
                const at::Tensor& exp_avg_sq, const AdamWStep& step);
  at::Tensor (*sum_of_squares)(const at::Tensor& x, int64_t run_elements);
};

/// The table of this program's own kernels (cpu/), for float32 and bfloat16 on the CPU. It also serves
/// tensors without values while a tensors::MetaMemory counts them: then the tensors that the kernels need are
/// made, but no kernel runs (cpu/chunks.h).
const Backend& cpu_backend();
/// The table of implementations by libtorch's operators (composed.cpp), for every device and floating dtype.
const Backend& composed_backend();

/// Returns the table for tensors of this device and dtype.
const Backend& backend_for(at::Device device, at::ScalarType dtype);
inline const Backend& backend_for(const at::Tensor& x) {
  return backend_for(x.device(), x.scalar_type());
}

/// While such an object lives, all ops of the process run by libtorch's operators, as they do on a GPU. So
/// these can be tested where there is no GPU. None may be made or destroyed while ops run.
class LibtorchOperatorsOnly {
 public:
  LibtorchOperatorsOnly();
  ~LibtorchOperatorsOnly();
  LibtorchOperatorsOnly(const LibtorchOperatorsOnly&) = delete;
  LibtorchOperatorsOnly& operator=(const LibtorchOperatorsOnly&) = delete;
};

}  // namespace longlora::ops
