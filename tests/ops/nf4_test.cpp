#include "longlora/ops/nf4.h"

#include <ATen/Parallel.h>

#include <limits>

#include "longlora/checkpoint/tensor_store.h"
#include "longlora/core/error.h"
#include "longlora/core/json.h"
#include "longlora/ops/cpu/nf4_kernels.h"
#include "longlora/ops/cpu/nf4_products.h"
#include "longlora/ops/cpu/tensor_access.h"
#include "longlora/ops/linear.h"
#include "longlora/ops/matrix_product.h"
#include "tests/support/tensors.h"

namespace longlora::ops {
namespace {

using test::is_identical;
using test::leaf;
using test::random_tensor;

constexpr at::ScalarType kDtypes[] = {at::kFloat, at::kBFloat16};

checkpoint::TensorStore golden_values() {
  return checkpoint::TensorStore::open_file(test::data_path("goldens/nf4/values.safetensors"));
}

at::Tensor wide(const at::Tensor& x) {
  return x.to(at::kDouble);
}

TEST(QuantizeNf4, HasTheCodesAndScalesOfBitsandbytes) {
  const auto golden = golden_values();
  EXPECT_TRUE(is_identical(dynamic_map(), golden.load("dynamic_map")));
  for (const auto& [name, text] : golden.metadata()) {
    if (name == "format") continue;
    SCOPED_TRACE(name);
    const Json settings = parse_json(text, "metadata");
    const bool nested = settings["double_quant"].get<bool>();
    const at::Tensor weight = golden.load(name + ".weight");
    const Nf4Matrix matrix =
        quantize_nf4(weight, {.block_size = settings["block_size"].get<int64_t>(), .double_quant = nested});
    EXPECT_EQ(matrix.source_dtype, weight.scalar_type());
    EXPECT_TRUE(is_identical(matrix.codes, golden.load(name + ".codes")));
    EXPECT_TRUE(is_identical(matrix.absmax, golden.load(name + ".absmax")));
    EXPECT_EQ(matrix.is_nested(), nested);
    if (nested) {
      EXPECT_TRUE(is_identical(matrix.nested_absmax, golden.load(name + ".nested_absmax")));
      EXPECT_EQ(matrix.nested_offset, golden.load(name + ".nested_offset").item<float>());
    }
    if (!golden.contains(name + ".values")) continue;
    const at::Tensor values = golden.load(name + ".values");
    for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16, at::kHalf})
      EXPECT_TRUE(is_identical(dequantize_nf4(matrix, dtype), values.to(dtype))) << c10::toString(dtype);
  }
}

TEST(QuantizeNf4, DoesNotDependOnTheNumberOfThreads) {
  const at::Tensor weight = random_tensor({1500, 3000}, 1);
  const int threads = at::get_num_threads();
  at::set_num_threads(1);
  const Nf4Matrix one = quantize_nf4(weight);
  at::set_num_threads(3);
  const Nf4Matrix three = quantize_nf4(weight);
  at::set_num_threads(threads);
  EXPECT_TRUE(is_identical(one.codes, three.codes));
  EXPECT_TRUE(is_identical(one.absmax, three.absmax));
  EXPECT_TRUE(is_identical(one.nested_absmax, three.nested_absmax));
  EXPECT_EQ(one.nested_offset, three.nested_offset);
}

TEST(QuantizeNf4, TakesABitMoreThanFourBitsAnElement) {
  const at::Tensor weight = random_tensor({256, 512}, 1);
  constexpr int64_t kCodes = 256 * 512 / 2;
  EXPECT_EQ(quantize_nf4(weight, {64, true}).num_bytes(), kCodes + 2048 + 4 * 8);
  EXPECT_EQ(quantize_nf4(weight, {256, true}).num_bytes(), kCodes + 512 + 4 * 2);
  EXPECT_EQ(quantize_nf4(weight, {64, false}).num_bytes(), kCodes + 4 * 2048);
  EXPECT_LT(8.0 * static_cast<double>(quantize_nf4(weight).num_bytes()) / (256.0 * 512.0), 4.13);
}

TEST(QuantizeNf4, RefusesWhatItCannotHold) {
  EXPECT_THROW(quantize_nf4(random_tensor({64}, 1)), Error);
  EXPECT_THROW(quantize_nf4(at::ones({2, 64}, at::kLong)), Error);
  EXPECT_THROW(quantize_nf4(random_tensor({2, 64}, 1), {.block_size = 48}), Error);
  for (const double bad : {std::numeric_limits<double>::infinity(), std::numeric_limits<double>::quiet_NaN()})
    for (const int64_t place : {3, 130}) {  // in a whole block and in the last one
      at::Tensor weight = random_tensor({2, 70}, 1);
      weight.view({-1})[place] = bad;
      EXPECT_THROW(quantize_nf4(weight), Error);
    }
}

TEST(DequantizeNf4, GivesAnyPart) {
  for (const auto& [rows, columns] : {std::pair<int64_t, int64_t>{9, 200}, {5, 33}, {20, 256}}) {
    const Nf4Matrix matrix = quantize_nf4(random_tensor({rows, columns}, 2));
    for (const at::ScalarType dtype : kDtypes) {
      const at::Tensor whole = dequantize_nf4(matrix, dtype);
      const at::Tensor part = at::empty({3, 31}, dtype);
      dequantize_nf4_part(matrix, 1, 1, part);
      EXPECT_TRUE(is_identical(part, whole.slice(0, 1, 4).slice(1, 1, 32)));
      at::Tensor apart = at::zeros({2, columns + 5}, dtype);
      dequantize_nf4_part(matrix, 2, 0, apart.slice(1, 5));
      EXPECT_TRUE(is_identical(apart.slice(1, 5), whole.slice(0, 2, 4)));
    }
  }
}

struct Sizes {
  int64_t rows, depth, columns, block;
};
// Few and many rows, whole and partial groups, blocks that end within rows, rows of an odd length.
constexpr Sizes kSizes[] = {{1, 64, 70, 64},   {2, 192, 65, 64},    {3, 256, 130, 256}, {4, 1088, 33, 64},
                            {7, 512, 40, 512}, {16, 128, 90, 64},   {17, 128, 64, 64},  {60, 2050, 100, 64},
                            {5, 45, 70, 64},   {200, 320, 256, 64}, {3, 96, 80, 32},    {100, 96, 20, 64},
                            {1, 688, 70, 64},  {2, 2056, 40, 256},  {7, 4104, 5, 4096}, {65, 688, 64, 64}};

// A product with a matrix in four bits in both directions, and its terms.
void expect_products(const Sizes& sizes, at::ScalarType dtype) {
  const Weight quantized(
      quantize_nf4(random_tensor({sizes.columns, sizes.depth}, 3), {.block_size = sizes.block}), dtype);
  const at::Tensor dense = dequantize_nf4(quantized.nf4(), at::kFloat);
  // The few rows see the weights as they are, others those that were rounded to the dtype.
  const double tolerance = dtype == at::kFloat ? 3e-6 : 8e-3;
  const at::Tensor a = random_tensor({sizes.rows, sizes.depth}, 4, dtype);
  const at::Tensor b = random_tensor({sizes.rows, sizes.columns}, 5, dtype);
  const at::Tensor low = random_tensor({sizes.rows, 8}, 6, dtype),
                   up = random_tensor({sizes.columns, 8}, 7, dtype);
  const at::Tensor bias = random_tensor({sizes.columns}, 8, dtype);
  const RightOperand transposed = {quantized, /*transposed=*/true}, plain = {quantized};
  const at::Tensor product = at::mm(wide(a), wide(dense).t());
  const at::Tensor y = matrix_product(a, transposed);
  EXPECT_EQ(y.scalar_type(), dtype);
  EXPECT_CLOSE(y, product, tolerance);
  EXPECT_CLOSE(matrix_product(b, plain), at::mm(wide(b), wide(dense)), tolerance);
  EXPECT_CLOSE(matrix_product(a, transposed, {.bias = bias, .low_rank = low, .low_rank_right = {up, true}}),
               product + wide(bias) + at::mm(wide(low), wide(up).t()), tolerance * 2);
}

TEST(Nf4Product, EqualsTheProductWithTheDequantisedMatrix) {
  for (const at::ScalarType dtype : kDtypes)
    for (const Sizes& sizes : kSizes) {
      SCOPED_TRACE(::testing::Message() << c10::toString(dtype) << " " << sizes.rows << " × " << sizes.depth
                                        << " × " << sizes.columns << ", blocks of " << sizes.block);
      expect_products(sizes, dtype);
    }
}

TEST(Nf4Product, DoesNotDependOnTheNumberOfThreads) {
  const Weight quantized(quantize_nf4(random_tensor({700, 1024}, 3)), at::kBFloat16);
  const int threads = at::get_num_threads();
  for (const int64_t rows : {1, 4, 33, 100}) {
    const at::Tensor a = random_tensor({rows, 1024}, 4, at::kBFloat16),
                     b = random_tensor({rows, 700}, 5, at::kBFloat16);
    at::set_num_threads(1);
    const at::Tensor one = matrix_product(a, {quantized, /*transposed=*/true}),
                     one_back = matrix_product(b, {quantized});
    at::set_num_threads(3);
    EXPECT_TRUE(at::equal(matrix_product(a, {quantized, /*transposed=*/true}), one));
    EXPECT_TRUE(at::equal(matrix_product(b, {quantized}), one_back));
  }
  at::set_num_threads(threads);
}

// Every variant that this machine runs gives the same values.
TEST(Nf4Kernels, AgreeForEveryInstructionSet) {
  const Nf4Matrix matrix = quantize_nf4(random_tensor({24, 448}, 9), {.double_quant = false});
  const at::Tensor weight = random_tensor({24, 448}, 9), dense = dequantize_nf4(matrix, at::kFloat);
  const auto* codes = matrix.codes.const_data_ptr<uint8_t>();
  const auto* scales = matrix.absmax.const_data_ptr<float>();
  for (const cpu::Isa isa : cpu::kIsas) {
    if (!cpu::is_supported(isa)) continue;
    SCOPED_TRACE(cpu::isa_name(isa));
    const cpu::Nf4Kernels& kernels = cpu::nf4_kernels_of(isa);
    at::Tensor absmax = at::empty_like(matrix.absmax), found = at::empty_like(matrix.codes);
    ASSERT_TRUE(kernels.quantize(weight.const_data_ptr<float>(), matrix.num_blocks(), 64,
                                 absmax.mutable_data_ptr<float>(), found.mutable_data_ptr<uint8_t>()));
    EXPECT_TRUE(at::equal(found, matrix.codes));
    EXPECT_TRUE(at::equal(absmax, matrix.absmax));
    at::Tensor row = at::empty({448}, at::kFloat), narrow = at::empty({448}, at::kBFloat16);
    for (int64_t block = 0; block < 7; ++block) {
      const int64_t first = 3 * 448 + 64 * block;
      kernels.dequantize_float(codes, first, 64, scales[first / 64],
                               row.mutable_data_ptr<float>() + 64 * block);
      kernels.dequantize_bf16(codes, first, 64, scales[first / 64],
                              cpu::element_data<cpu::Bf16>(narrow) + 64 * block);
    }
    EXPECT_TRUE(at::equal(row, dense[3]));
    EXPECT_TRUE(at::equal(narrow, dense[3].to(at::kBFloat16)));
  }
}

// x in the order of cpu/nf4_products.h: four rows and then one.
template <typename T>
at::Tensor in_order_of_products(const at::Tensor& x) {
  constexpr int64_t kCodes = cpu::kNf4CodesPerWord<T>;
  const auto together = [&](const at::Tensor& rows) {
    return rows.view({rows.size(0), -1, cpu::kNf4Group / kCodes, kCodes / 2, 2})
        .flip({4})
        .permute({1, 3, 4, 0, 2})
        .reshape({-1});
  };
  return at::cat({together(x.slice(0, 0, 4)), together(x.slice(0, 4))});
}

TEST(Nf4Products, AgreeForEveryInstructionSet) {
  constexpr int64_t kRows = 21, kColumns = 448;
  Nf4Matrix matrix = quantize_nf4(random_tensor({kRows, kColumns}, 9), {.block_size = 32});
  matrix.nested_block_size = 100;  // 294 blocks
  matrix.nested_absmax = at::tensor({0.5, 1.0, 0.25}, at::kFloat);
  const at::Tensor x = at::constant_pad_nd(random_tensor({5, kColumns}, 10, at::kBFloat16), {0, 64});
  const at::Tensor left = in_order_of_products<float>(x.to(at::kFloat)),
                   narrow = in_order_of_products<cpu::Bf16>(x);
  const cpu::Nf4RightRows right = {matrix.codes.const_data_ptr<uint8_t>(),
                                   {.block_size = 32,
                                    .absmax = nullptr,
                                    .codes = matrix.absmax.const_data_ptr<uint8_t>(),
                                    .map = matrix.nested_map.const_data_ptr<float>(),
                                    .nested = matrix.nested_absmax.const_data_ptr<float>(),
                                    .nested_block_size = 100,
                                    .offset = matrix.nested_offset},
                                   kColumns,
                                   /*first_row=*/2};
  const at::Tensor weight = wide(dequantize_nf4(matrix, at::kFloat)).slice(0, 2);
  const at::Tensor expected = at::mm(wide(x).slice(1, 0, kColumns), weight.t());
  for (const cpu::Isa isa : cpu::kIsas) {
    if (!cpu::is_supported(isa)) continue;
    SCOPED_TRACE(cpu::isa_name(isa));
    const cpu::Nf4Products& products = cpu::nf4_products_of(isa);
    at::Tensor sums = at::empty({5, kRows - 2}, at::kFloat);
    auto* const out = sums.mutable_data_ptr<float>();
    products.multiply_float(5, kRows - 2, left.const_data_ptr<float>(), right, out, kRows - 2);
    EXPECT_CLOSE(sums, expected, 1e-6);
    EXPECT_EQ(products.multiply_bf16 != nullptr, isa == cpu::Isa::kAvx512Bf16);
    if (products.multiply_bf16 == nullptr) continue;
    products.multiply_bf16(5, kRows - 2, cpu::element_data<cpu::Bf16>(narrow), right, out, kRows - 2);
    EXPECT_CLOSE(sums, expected, 2e-3);
  }
}

TEST(Nf4Product, OfFewRowsIsCloserThanThatOfRoundedWeights) {
  const Nf4Matrix matrix = quantize_nf4(random_tensor({512, 1024}, 3));
  const at::Tensor x = random_tensor({4, 1024}, 4, at::kBFloat16);
  const auto product = [&](at::ScalarType dtype) {
    return at::mm(wide(x), wide(dequantize_nf4(matrix, dtype)).t());
  };
  const at::Tensor exact = product(at::kFloat);
  const auto error = [&](const at::Tensor& y) {
    return ((wide(y) - exact).norm() / exact.norm()).item<double>();
  };
  const double found = error(multiply_nf4_rows(x, matrix));
  EXPECT_LT(found, 9e-4);
  EXPECT_LT(found, 0.6 * error(product(at::kBFloat16)));
  EXPECT_LT(error(multiply_nf4_rows(x.to(at::kFloat), matrix)), 1e-6);
}

TEST(Nf4Product, OfARowIsTheSameAmongOthers) {
  const Nf4Matrix matrix = quantize_nf4(random_tensor({70, 4104}, 3));
  const at::Tensor x = random_tensor({11, 4104}, 4, at::kBFloat16);
  const at::Tensor all = multiply_nf4_rows(x, matrix);
  for (int64_t i = 0; i < 11; ++i)
    EXPECT_TRUE(at::equal(multiply_nf4_rows(x.slice(0, i, i + 1), matrix)[0], all[i]));
}

TEST(Linear, HasTheGradientsOfTheDequantisedWeight) {
  for (const at::ScalarType dtype : kDtypes)
    for (const auto& [rows, in, out] : {std::tuple<int64_t, int64_t, int64_t>{3, 128, 70}, {90, 192, 128}}) {
      SCOPED_TRACE(::testing::Message() << c10::toString(dtype) << " " << rows);
      const Weight quantized(quantize_nf4(random_tensor({out, in}, 1)), dtype);
      const at::Tensor x = leaf(random_tensor({rows, in}, 2), dtype);
      const at::Tensor a = leaf(random_tensor({4, in}, 3), dtype),
                       b = leaf(random_tensor({out, 4}, 4), dtype);
      const at::Tensor grad = random_tensor({rows, out}, 5, dtype);
      const at::Tensor y = linear(x, {quantized, {}, a, b, 0.5});
      const auto grads = test::gradients(y, {x, a, b}, grad);
      const at::Tensor weight = wide(dequantize_nf4(quantized.nf4(), at::kFloat));
      const at::Tensor wide_x = leaf(x, at::kDouble), wide_a = leaf(a, at::kDouble),
                       wide_b = leaf(b, at::kDouble);
      const at::Tensor expected =
          at::mm(wide_x, weight.t()) + at::mm(at::mm(wide_x, wide_a.t()), wide_b.t()) * 0.5;
      const auto expected_grads = test::gradients(expected, {wide_x, wide_a, wide_b}, grad);
      const double tolerance = dtype == at::kFloat ? 3e-6 : 1.5e-2;
      EXPECT_CLOSE(y, expected, tolerance);
      for (size_t i = 0; i < 3; ++i) EXPECT_CLOSE(grads[i], expected_grads[i], tolerance);
    }
}

TEST(Linear, HasTheGradientOfItsInputByFiniteDifferences) {
  const Weight quantized(quantize_nf4(random_tensor({10, 64}, 1)), at::kFloat);
  const at::Tensor plain = random_tensor({2, 64}, 2, at::kDouble), grad = random_tensor({2, 10}, 3);
  const at::Tensor x = leaf(plain, at::kFloat);
  const auto grads = test::gradients(linear(x, {.weight = quantized}), {x}, grad);
  const at::Tensor differences = test::finite_difference_gradient(
      plain,
      [&] {
        const at::Tensor y = linear(plain.to(at::kFloat), {.weight = quantized});
        return (wide(y) * wide(grad)).sum().item<double>();
      },
      /*step=*/0.1);
  EXPECT_CLOSE(grads[0], differences, 1e-4);
}

}  // namespace
}  // namespace longlora::ops
