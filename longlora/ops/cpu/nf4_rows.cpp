#include <algorithm>

#include "longlora/ops/cpu/chunks.h"
#include "longlora/ops/cpu/nf4_products.h"
#include "longlora/ops/cpu/ops.h"
#include "longlora/ops/cpu/tensor_access.h"

namespace longlora::ops {
namespace cpu {
namespace {

// How many elements of a weight a task of the product has.
constexpr int64_t kElementsPerProductTask = int64_t{1} << 17;
// The most rows of x whose product is computed straight from the codes. With more rows it is faster to
// dequantise the weight first.
constexpr int64_t kMostRowsFromCodes = 16, kMostRowsFromCodesBf16 = 64;

// Puts x into the order that the products need (cpu/nf4_products.h).
template <typename T>
at::Tensor in_order_of_codes(const at::Tensor& x) {
  constexpr int64_t kCodes = kNf4CodesPerWord<T>, kWords = kNf4Group / kCodes;
  const at::Tensor source = x.contiguous();
  const int64_t rows = x.size(0), columns = x.size(1);
  const int64_t width = num_tasks(columns, kNf4Group) * kNf4Group;
  at::Tensor ordered = at::empty({rows, width}, x.options());
  parallel_chunks(rows, kNf4LeftRows, [&](int64_t, int64_t begin, int64_t end) {
    const int64_t together = end - begin;
    for (int64_t r = begin; r < end; ++r) {
      const T* const from = element_data<T>(source) + r * columns;
      T* const to = element_data<T>(ordered) + begin * width + (r - begin) * kWords;
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

Nf4Scales scales_of(const Nf4Matrix& matrix) {
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
using MultiplyNf4 = void (*)(int64_t, int64_t, const T*, const Nf4RightRows&, float*, int64_t);

template <typename T>
at::Tensor multiply_rows(const at::Tensor& x, const Nf4Matrix& matrix, MultiplyNf4<T> multiply) {
  const int64_t k = matrix.columns, m = x.size(0);
  const at::Tensor left = in_order_of_codes<T>(x);
  at::Tensor out = at::empty({m, matrix.rows}, x.options().dtype(at::kFloat));
  const int64_t rows_at_once = kNf4Band * std::max<int64_t>(1, kElementsPerProductTask / k / kNf4Band);
  parallel_chunks(matrix.rows, rows_at_once, [&](int64_t, int64_t begin, int64_t end) {
    multiply(m, end - begin, element_data<T>(left),
             {matrix.codes.const_data_ptr<uint8_t>(), scales_of(matrix), k, begin},
             out.mutable_data_ptr<float>() + begin, matrix.rows);
  });
  return out;
}

}  // namespace

bool takes_nf4_rows(const at::Tensor& x, const Nf4Matrix& matrix) {
  const bool in_bf16 = x.scalar_type() == at::kBFloat16 && nf4_products().multiply_bf16 != nullptr;
  return x.size(0) <= (in_bf16 ? kMostRowsFromCodesBf16 : kMostRowsFromCodes) &&
         matrix.columns % kNf4Neighbours == 0;
}

}  // namespace cpu

at::Tensor multiply_nf4_rows(const at::Tensor& x, const Nf4Matrix& matrix) {
  const cpu::Nf4Products& products = cpu::nf4_products();
  if (x.scalar_type() == at::kBFloat16 && products.multiply_bf16 != nullptr)
    return cpu::multiply_rows<cpu::Bf16>(x, matrix, products.multiply_bf16);
  return cpu::multiply_rows<float>(x.to(at::kFloat), matrix, products.multiply_float);
}

}  // namespace longlora::ops
