// A weight as the layers read it, dense or in four bits.
#pragma once

#include <ATen/ATen.h>
#include <ATen/core/ivalue.h>

#include <cstdint>
#include <memory>

#include "longlora/ops/nf4.h"

namespace longlora::ops {

/// The values of a parameter: a dense tensor, or a matrix in four bits, which is never trained. Copies share
/// the values. A tensor converts to a weight, so that it can be given wherever a weight is expected.
class Weight {
 public:
  /// Makes an absent weight, for which defined() is false and nothing else may be called.
  Weight() = default;
  Weight(at::Tensor dense);  // NOLINT(google-explicit-constructor)
  /// Makes a weight of a matrix in four bits. Products read its values as if they were of `dtype`.
  Weight(Nf4Matrix matrix, at::ScalarType dtype);

  bool defined() const { return values_.defined(); }
  bool is_nf4() const { return nf4_ != nullptr; }
  /// Returns the tensor of a dense weight, which is undefined for an absent one. Throws Error for a weight in
  /// four bits.
  const at::Tensor& dense() const;
  /// Returns the matrix of a weight in four bits. Throws Error for a dense weight.
  const Nf4Matrix& nf4() const;

  at::IntArrayRef sizes() const { return values_.sizes(); }
  int64_t size(int64_t dimension) const { return values_.size(dimension); }
  int64_t dim() const { return values_.dim(); }
  int64_t numel() const { return values_.numel(); }
  /// Returns the dtype of the values that products read.
  at::ScalarType scalar_type() const { return values_.scalar_type(); }
  at::Device device() const { return is_nf4() ? nf4_->codes.device() : values_.device(); }
  /// Whether there are no values, as in memory plans and for weights that stay in their files.
  bool is_meta() const { return device().is_meta(); }
  bool requires_grad() const { return values_.requires_grad(); }
  /// Returns the bytes that the values take.
  int64_t num_bytes() const;

  /// Returns all values as a dense tensor of scalar_type(): the tensor itself, or the dequantised matrix.
  at::Tensor to_dense() const;
  /// Returns rows [begin, end) of to_dense() without computing the others. It is a view of a dense weight, or
  /// a new tensor for a weight in four bits, which must be on the CPU.
  at::Tensor rows(int64_t begin, int64_t end) const;

 private:
  /// Where the weight is in four bits, a tensor without values that has its shape and dtype.
  at::Tensor values_;
  std::shared_ptr<const Nf4Matrix> nf4_;
};

/// Makes what an autograd node keeps of a weight for its backward, and below, returns the weight from that.
c10::IValue keep_weight(const Weight& weight);
const Weight& kept_weight(const c10::IValue& kept);

}  // namespace longlora::ops
