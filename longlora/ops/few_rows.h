// Products of a few rows with weights that are read once, in parts that the caller divides among threads.
#pragma once

#include <ATen/ATen.h>

#include <cstdint>

#include "longlora/ops/cpu/bf16.h"
#include "longlora/ops/cpu/nf4_products.h"
#include "longlora/ops/weight.h"

namespace longlora::ops {

/// In which type and order a weight reads the rows that it is multiplied with.
enum class LeftForm { kFloat, kBFloat16, kFloatForCodes, kBFloat16ForCodes };

/// Rows in all forms that some weights read. Not thread-safe; every thread has its own.
class LeftRows {
 public:
  /// Takes m rows x [m, columns], which are x_stride apart. They exist in no form yet.
  void set(const float* x, int64_t m, int64_t columns, int64_t x_stride);
  /// Returns the rows in a form, which is made where it is not there yet.
  const void* in(LeftForm form);

  int64_t rows() const { return rows_; }
  int64_t columns() const { return columns_; }

 private:
  static constexpr int kForms = 4;

  const float* x_ = nullptr;
  int64_t rows_ = 0, columns_ = 0, x_stride_ = 0;
  at::Tensor made_[kForms];  // their memory begins where a line of a cache does
  bool is_made_[kForms] = {};
};

/// A weight [rows, columns] as the right operand: float32, bfloat16 or 4-bit NormalFloat, on the CPU.
class RightMatrix {
 public:
  RightMatrix() = default;
  /// Shares the values of the weight, which has to be one that takes() accepts.
  explicit RightMatrix(const Weight& weight);
  static bool takes(const Weight& weight);

  int64_t rows() const { return rows_; }
  int64_t columns() const { return columns_; }
  /// Returns the bytes of all values.
  int64_t num_bytes() const { return weight_.num_bytes(); }

  /// Computes out[i · out_stride + j − begin] = Σ x[i] w[j] for all rows of x and rows [begin, end) of the
  /// weight, in the calling thread. For a bfloat16 weight, x is rounded to bfloat16. Each element is one
  /// float32 sum, in an order that does not depend on the number of rows.
  void multiply(LeftRows& x, int64_t begin, int64_t end, float* out, int64_t out_stride) const;

 private:
  Weight weight_;
  LeftForm form_ = LeftForm::kFloat;
  int64_t rows_ = 0, columns_ = 0;
  const void* dense_ = nullptr;
  cpu::Nf4RightRows codes_ = {};
};

}  // namespace longlora::ops
