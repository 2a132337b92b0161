#include <algorithm>

#include "longlora/ops/cpu/chunks.h"
#include "longlora/ops/cpu/nf4_products.h"
#include "longlora/ops/cpu/nf4_scales.h"
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

// The functions of Nf4Products for one type of x.
template <typename T>
struct ProductOf {
  void (*multiply)(int64_t, int64_t, const T*, const Nf4RightRows&, float*, int64_t);
  void (*order)(int64_t, int64_t, const float*, int64_t, T*);
};

template <typename T>
at::Tensor multiply_rows(const at::Tensor& x, const Nf4Matrix& matrix, const ProductOf<T>& product) {
  const int64_t k = matrix.columns, m = x.size(0), width = nf4_width(k);
  const at::Tensor source = x.to(at::kFloat).contiguous();
  // Where T is Bf16, so is x.
  at::Tensor left = at::empty({m, width}, std::is_same_v<T, float> ? source.options() : x.options());
  parallel_chunks(m, kNf4LeftRows, [&](int64_t, int64_t begin, int64_t end) {
    product.order(end - begin, k, source.const_data_ptr<float>() + begin * k, k,
                  element_data<T>(left) + begin * width);
  });
  at::Tensor out = at::empty({m, matrix.rows}, x.options().dtype(at::kFloat));
  const int64_t rows_at_once = kNf4Band * std::max<int64_t>(1, kElementsPerProductTask / k / kNf4Band);
  parallel_chunks(matrix.rows, rows_at_once, [&](int64_t, int64_t begin, int64_t end) {
    product.multiply(m, end - begin, element_data<T>(left),
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
    return cpu::multiply_rows<cpu::Bf16>(x, matrix, {products.multiply_bf16, products.order_bf16});
  return cpu::multiply_rows<float>(x, matrix, {products.multiply_float, products.order_float});
}

}  // namespace longlora::ops
