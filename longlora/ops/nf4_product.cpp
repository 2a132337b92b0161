#include <algorithm>

#include "longlora/ops/cpu/chunks.h"
#include "longlora/ops/cpu/nf4_products.h"
#include "longlora/ops/cpu/tensor_access.h"
#include "longlora/ops/nf4.h"

namespace longlora::ops {
namespace {

using cpu::Bf16;
using cpu::kNf4Group;

/// Of a weight, in a task of the product of few rows.
constexpr int64_t kElementsPerProductTask = int64_t{1} << 17;
/// Rows of a product from which on dequantising the weight first is faster.
constexpr int64_t kFewRows = 16, kFewRowsBf16 = 64;

/// x in the order of the products (cpu/nf4_products.h).
template <typename T>
at::Tensor in_order_of_codes(const at::Tensor& x) {
  constexpr int64_t kCodes = cpu::kNf4CodesPerWord<T>, kWords = kNf4Group / kCodes;
  const at::Tensor source = x.contiguous();
  const int64_t rows = x.size(0), columns = x.size(1);
  const int64_t width = cpu::num_tasks(columns, kNf4Group) * kNf4Group;
  at::Tensor ordered = at::empty({rows, width}, x.options());
  cpu::parallel_chunks(rows, cpu::kNf4LeftRows, [&](int64_t, int64_t begin, int64_t end) {
    const int64_t together = end - begin;
    for (int64_t r = begin; r < end; ++r) {
      const T* const from = cpu::element_data<T>(source) + r * columns;
      T* const to = cpu::element_data<T>(ordered) + begin * width + (r - begin) * kWords;
      for (int64_t i = 0; i < width; i += kNf4Group)
        for (int64_t n = 0; n < kCodes; ++n)
          for (int64_t word = 0; word < kWords; ++word) {
            const int64_t element = i + kCodes * word + (n ^ 1);
            to[(i + n * kWords) * together + word] = element < columns ? from[element] : T{};
          }
    }
  });
  return ordered;
}

cpu::Nf4Scales scales_of(const Nf4Matrix& matrix) {
  if (!matrix.is_nested())
    return {.block_size = matrix.block_size, .absmax = matrix.absmax.const_data_ptr<float>()};
  return {.block_size = matrix.block_size,
          .codes = matrix.absmax.const_data_ptr<uint8_t>(),
          .map = matrix.nested_map.const_data_ptr<float>(),
          .nested = matrix.nested_absmax.const_data_ptr<float>(),
          .nested_block_size = matrix.nested_block_size,
          .offset = matrix.nested_offset};
}

template <typename T>
using MultiplyNf4 = void (*)(int64_t, int64_t, const T*, const cpu::Nf4RightRows&, float*, int64_t);

template <typename T>
at::Tensor multiply_rows(const at::Tensor& x, const Nf4Matrix& matrix, MultiplyNf4<T> multiply) {
  const int64_t k = matrix.columns, m = x.size(0);
  const at::Tensor left = in_order_of_codes<T>(x);
  at::Tensor out = at::empty({m, matrix.rows}, at::kFloat);
  const int64_t rows_at_once =
      cpu::kNf4Band * std::max<int64_t>(1, kElementsPerProductTask / k / cpu::kNf4Band);
  cpu::parallel_chunks(matrix.rows, rows_at_once, [&](int64_t, int64_t begin, int64_t end) {
    multiply(m, end - begin, cpu::element_data<T>(left),
             {matrix.codes.const_data_ptr<uint8_t>(), scales_of(matrix), k, begin},
             out.mutable_data_ptr<float>() + begin, matrix.rows);
  });
  return out;
}

}  // namespace

bool takes_nf4_rows(const at::Tensor& x, const Nf4Matrix& matrix) {
  const bool in_bf16 = x.scalar_type() == at::kBFloat16 && cpu::nf4_products().multiply_bf16 != nullptr;
  return cpu::has_kernels(x) && x.size(0) <= (in_bf16 ? kFewRowsBf16 : kFewRows) &&
         matrix.columns % cpu::kNf4Neighbours == 0;
}

at::Tensor multiply_nf4_rows(const at::Tensor& x, const Nf4Matrix& matrix) {
  const cpu::Nf4Products& products = cpu::nf4_products();
  if (x.scalar_type() == at::kBFloat16 && products.multiply_bf16 != nullptr)
    return multiply_rows<Bf16>(x, matrix, products.multiply_bf16);
  return multiply_rows<float>(x.to(at::kFloat), matrix, products.multiply_float);
}

}  // namespace longlora::ops
