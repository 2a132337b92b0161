#include "longlora/ops/few_rows.h"

#include <algorithm>

#include "longlora/ops/cpu/nf4_scales.h"
#include "longlora/ops/cpu/step_kernels.h"

namespace longlora::ops {
namespace {

using cpu::Bf16;

LeftForm form_of(const Weight& weight) {
  const bool is_bf16 = weight.scalar_type() == at::kBFloat16;
  if (!weight.is_nf4()) return is_bf16 ? LeftForm::kBFloat16 : LeftForm::kFloat;
  const bool multiplies_bf16 = cpu::nf4_products().multiply_bf16 != nullptr;
  return is_bf16 && multiplies_bf16 ? LeftForm::kBFloat16ForCodes : LeftForm::kFloatForCodes;
}

}  // namespace

void LeftRows::set(const float* x, int64_t m, int64_t columns, int64_t x_stride) {
  x_ = x;
  rows_ = m;
  columns_ = columns;
  x_stride_ = x_stride;
  std::fill(is_made_, is_made_ + kForms, false);
}

const void* LeftRows::in(LeftForm form) {
  const auto at_form = static_cast<size_t>(form);
  at::Tensor& made = made_[at_form];
  if (is_made_[at_form]) return made.const_data_ptr();
  is_made_[at_form] = true;
  const bool is_for_codes = form == LeftForm::kFloatForCodes || form == LeftForm::kBFloat16ForCodes;
  const bool is_float = form == LeftForm::kFloat || form == LeftForm::kFloatForCodes;
  const int64_t width = is_for_codes ? cpu::nf4_width(columns_) : cpu::step_width(columns_);
  if (!made.defined() || made.numel() < rows_ * width)
    made = at::empty({rows_ * width}, is_float ? at::kFloat : at::kBFloat16);
  float* const floats = is_float ? made.mutable_data_ptr<float>() : nullptr;
  auto* const narrow = static_cast<Bf16*>(is_float ? nullptr : made.mutable_data_ptr());
  if (form == LeftForm::kFloatForCodes) {
    cpu::nf4_products().order_float(rows_, columns_, x_, x_stride_, floats);
  } else if (form == LeftForm::kBFloat16ForCodes) {
    cpu::nf4_products().order_bf16(rows_, columns_, x_, x_stride_, narrow);
  } else {
    for (int64_t r = 0; r < rows_; ++r) {
      const float* const row = x_ + r * x_stride_;
      const int64_t begin = r * width, end = begin + columns_, next = begin + width;
      if (is_float)
        std::fill(std::copy_n(row, columns_, floats + begin), floats + next, 0.0f);
      else
        cpu::step_kernels().round(row, columns_, narrow + begin);
      if (!is_float) std::fill(narrow + end, narrow + next, Bf16{});
    }
  }
  return made.const_data_ptr();
}

bool RightMatrix::takes(const Weight& weight) {
  if (!weight.device().is_cpu()) return false;
  const at::ScalarType dtype = weight.scalar_type();
  if (dtype != at::kFloat && dtype != at::kBFloat16) return false;
  return weight.dim() == 2 && (!weight.is_nf4() || weight.nf4().columns % cpu::kNf4Neighbours == 0);
}

RightMatrix::RightMatrix(const Weight& weight)
    : weight_(weight.is_nf4() ? weight : Weight(weight.dense().detach().contiguous())),
      form_(form_of(weight)),
      rows_(weight.size(0)),
      columns_(weight.size(1)) {
  if (weight_.is_nf4())
    codes_ = {weight_.nf4().codes.const_data_ptr<uint8_t>(), cpu::scales_of(weight_.nf4()), columns_, 0};
  else
    dense_ = weight_.dense().const_data_ptr();
}

void RightMatrix::multiply(LeftRows& x, int64_t begin, int64_t end, float* out, int64_t out_stride) const {
  const int64_t m = x.rows(), n = end - begin;
  const void* const left = x.in(form_);
  cpu::Nf4RightRows codes = codes_;
  codes.first_row = begin;
  switch (form_) {
    case LeftForm::kFloat:
      cpu::step_kernels().multiply_float(m, n, columns_, static_cast<const float*>(left),
                                         static_cast<const float*>(dense_) + begin * columns_, out,
                                         out_stride);
      break;
    case LeftForm::kBFloat16:
      cpu::step_kernels().multiply_bf16(m, n, columns_, static_cast<const Bf16*>(left),
                                        static_cast<const Bf16*>(dense_) + begin * columns_, out, out_stride);
      break;
    case LeftForm::kFloatForCodes:
      cpu::nf4_products().multiply_float(m, n, static_cast<const float*>(left), codes, out, out_stride);
      break;
    default:
      cpu::nf4_products().multiply_bf16(m, n, static_cast<const Bf16*>(left), codes, out, out_stride);
  }
}

}  // namespace longlora::ops
