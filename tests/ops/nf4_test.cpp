#include "longlora/ops/nf4.h"

#include <ATen/Parallel.h>

#include <limits>

#include "longlora/checkpoint/tensor_store.h"
#include "longlora/core/error.h"
#include "longlora/core/json.h"
#include "longlora/ops/cpu/nf4_kernels.h"
#include "longlora/ops/cpu/tensor_access.h"
#include "longlora/ops/functional.h"
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
  for (const Nf4Options options : {Nf4Options{64, true}, Nf4Options{256, true}, Nf4Options{64, false}}) {
    const Nf4Matrix matrix = quantize_nf4(weight, options);
    EXPECT_EQ(matrix.num_bytes(), nf4_bytes(256, 512, options));
  }
  EXPECT_LT(8.0 * static_cast<double>(nf4_bytes(4096, 4096, {})) / (4096.0 * 4096.0), 4.13);
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
                            {5, 45, 70, 64},   {200, 320, 256, 64}, {3, 96, 80, 32},    {100, 96, 20, 64}};

/// A product with a matrix in four bits in both directions, and its terms.
void expect_products(const Sizes& sizes, at::ScalarType dtype) {
  const auto quantized = std::make_shared<const Nf4Matrix>(
      quantize_nf4(random_tensor({sizes.columns, sizes.depth}, 3), {.block_size = sizes.block}));
  const at::Tensor dense = dequantize_nf4(*quantized, at::kFloat);
  // The few rows see the weights as they are, others those that were rounded to the dtype.
  const double tolerance = dtype == at::kFloat ? 3e-6 : 8e-3;
  const at::Tensor a = random_tensor({sizes.rows, sizes.depth}, 4, dtype);
  const at::Tensor b = random_tensor({sizes.rows, sizes.columns}, 5, dtype);
  const at::Tensor low = random_tensor({sizes.rows, 8}, 6, dtype),
                   up = random_tensor({sizes.columns, 8}, 7, dtype);
  const at::Tensor bias = random_tensor({sizes.columns}, 8, dtype);
  const RightOperand transposed = {{}, /*transposed=*/true, quantized}, plain = {{}, false, quantized};
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
  const auto quantized = std::make_shared<const Nf4Matrix>(quantize_nf4(random_tensor({700, 1024}, 3)));
  const int threads = at::get_num_threads();
  for (const int64_t rows : {1, 4, 100}) {
    const at::Tensor a = random_tensor({rows, 1024}, 4, at::kBFloat16),
                     b = random_tensor({rows, 700}, 5, at::kBFloat16);
    at::set_num_threads(1);
    const at::Tensor one = matrix_product(a, {{}, true, quantized}),
                     one_back = matrix_product(b, {{}, false, quantized});
    at::set_num_threads(3);
    EXPECT_TRUE(at::equal(matrix_product(a, {{}, true, quantized}), one));
    EXPECT_TRUE(at::equal(matrix_product(b, {{}, false, quantized}), one_back));
  }
  at::set_num_threads(threads);
}

/// Every variant that this machine runs gives the same values, and sums that differ by rounding alone.
TEST(Nf4Kernels, AgreeForEveryInstructionSet) {
  const Nf4Matrix matrix = quantize_nf4(random_tensor({24, 448}, 9), {.double_quant = false});
  const at::Tensor weight = random_tensor({24, 448}, 9), dense = dequantize_nf4(matrix, at::kFloat);
  const at::Tensor x = at::randn({5, 512}, at::kFloat);
  const auto* codes = matrix.codes.const_data_ptr<uint8_t>();
  const auto* scales = matrix.absmax.const_data_ptr<float>();
  at::Tensor first_sums;
  for (const cpu::InstructionSet set : cpu::kInstructionSets) {
    if (!cpu::is_supported(set)) continue;
    SCOPED_TRACE(cpu::instruction_set_name(set));
    const cpu::Nf4Kernels& kernels = cpu::nf4_kernels_of(set);
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
    at::Tensor sums = at::empty({5, 24}, at::kFloat);
    kernels.multiply_rows(5, 24, 448, {x.const_data_ptr<float>(), 512}, codes, scales, 64,
                          sums.mutable_data_ptr<float>(), 24);
    if (!first_sums.defined()) first_sums = sums;
    EXPECT_CLOSE(sums, first_sums, 1e-6);
  }
}

TEST(Linear, HasTheGradientsOfTheDequantisedWeight) {
  for (const at::ScalarType dtype : kDtypes)
    for (const auto& [rows, in, out] : {std::tuple<int64_t, int64_t, int64_t>{3, 128, 70}, {90, 192, 128}}) {
      SCOPED_TRACE(::testing::Message() << c10::toString(dtype) << " " << rows);
      const auto quantized = std::make_shared<const Nf4Matrix>(quantize_nf4(random_tensor({out, in}, 1)));
      const at::Tensor shape = at::empty({out, in}, at::TensorOptions(dtype).device(at::kMeta));
      const at::Tensor x = leaf(random_tensor({rows, in}, 2), dtype);
      const at::Tensor a = leaf(random_tensor({4, in}, 3), dtype),
                       b = leaf(random_tensor({out, 4}, 4), dtype);
      const at::Tensor grad = random_tensor({rows, out}, 5, dtype);
      const at::Tensor y = linear(x, {shape, {}, a, b, 0.5, quantized});
      const auto grads = test::gradients(y, {x, a, b}, grad);
      const at::Tensor weight = wide(dequantize_nf4(*quantized, at::kFloat));
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
  const auto quantized = std::make_shared<const Nf4Matrix>(quantize_nf4(random_tensor({10, 64}, 1)));
  const at::Tensor shape = at::empty({10, 64}, at::TensorOptions(at::kFloat).device(at::kMeta));
  const at::Tensor plain = random_tensor({2, 64}, 2, at::kDouble), grad = random_tensor({2, 10}, 3);
  const at::Tensor x = leaf(plain, at::kFloat);
  const auto grads = test::gradients(linear(x, {.weight = shape, .quantized = quantized}), {x}, grad);
  const at::Tensor differences = test::finite_difference_gradient(
      plain,
      [&] {
        const at::Tensor y = linear(plain.to(at::kFloat), {.weight = shape, .quantized = quantized});
        return (wide(y) * wide(grad)).sum().item<double>();
      },
      /*step=*/0.1);
  EXPECT_CLOSE(grads[0], differences, 1e-4);
}

}  // namespace
}  // namespace longlora::ops
