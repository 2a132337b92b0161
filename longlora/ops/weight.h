// A weight as the layers read it, whatever form its values have.
#pragma once

#include <ATen/ATen.h>
#include <ATen/core/ivalue.h>

#include <cstdint>
#include <memory>

#include "longlora/ops/nf4.h"

namespace longlora::ops {

/// The values of a parameter: a dense tensor, or a matrix in four bits, which never trains. Copies share the
/// values. A dense tensor converts to a weight, so that a plain tensor can be given wherever a weight is
/// asked for.
class Weight {
 public:
  /// An absent weight: defined() is false and nothing else may be asked.
  Weight() = default;
  Weight(at::Tensor dense);  // NOLINT(google-explicit-constructor)
  /// A matrix in four bits whose values count as of `dtype` when products read them.
  Weight(Nf4Matrix matrix, at::ScalarType dtype);

  bool defined() const { return values_.defined(); }
  bool is_nf4() const { return nf4_ != nullptr; }
  /// The tensor of a dense weight (undefined for an absent one). Throws Error for one in four bits.
  const at::Tensor& dense() const;
  /// The matrix of a weight in four bits. Throws Error for a dense one.
  const Nf4Matrix& nf4() const;

  at::IntArrayRef sizes() const { return values_.sizes(); }
  int64_t size(int64_t dimension) const { return values_.size(dimension); }
  int64_t dim() const { return values_.dim(); }
  int64_t numel() const { return values_.numel(); }
  /// The dtype of the values that products read.
  at::ScalarType scalar_type() const { return values_.scalar_type(); }
  at::Device device() const { return is_nf4() ? nf4_->codes.device() : values_.device(); }
  /// Whether there are no values, as in plans and for weights that are still in their files.
  bool is_meta() const { return device().is_meta(); }
  bool requires_grad() const { return values_.requires_grad(); }
  /// Bytes that the values take.
  int64_t num_bytes() const;

  /// All values as a dense tensor in scalar_type(): the tensor itself, or what the four bits stand for.
  at::Tensor to_dense() const;
  /// Rows [begin, end) of to_dense() for a matrix, without the others: a view of a dense weight, a new tensor
  /// of one in four bits, which is to be on the CPU.
  at::Tensor rows(int64_t begin, int64_t end) const;

 private:
  at::Tensor values_;  // of a matrix in four bits: its shape and dtype, on the meta device
  std::shared_ptr<const Nf4Matrix> nf4_;
};

/// What an autograd node keeps of a weight for its backward, and how it gets it back.
c10::IValue keep_weight(const Weight& weight);
const Weight& kept_weight(const c10::IValue& kept);

}  // namespace longlora::ops
