#include "longlora/ops/few_rows.h"

#include "longlora/ops/cpu/step_kernels.h"
#include "tests/support/tensors.h"

namespace longlora::ops {
namespace {

using test::random_tensor;

// x Wᵀ in double, for x that is rounded as the weight's type says.
at::Tensor expected_product(const at::Tensor& x, const Weight& weight) {
  const at::Tensor left = weight.scalar_type() == at::kBFloat16 ? x.to(at::kBFloat16) : x;
  return at::matmul(left.to(at::kDouble), weight.to_dense().to(at::kDouble).t());
}

at::Tensor product(const at::Tensor& x, const RightMatrix& right, int64_t begin, int64_t end) {
  LeftRows left;
  left.set(x.const_data_ptr<float>(), x.size(0), x.size(1), x.size(1));
  at::Tensor out = at::full({x.size(0), end - begin}, NAN, at::kFloat);
  right.multiply(left, begin, end, out.mutable_data_ptr<float>(), end - begin);
  return out;
}

struct Case {
  Weight weight;
  double tolerance;
};

std::vector<Case> cases(int64_t rows, int64_t columns) {
  const at::Tensor weight = random_tensor({rows, columns}, 1);
  std::vector<Case> all = {{weight, 1e-6}, {weight.to(at::kBFloat16), 1e-6}};
  if (columns % 8 != 0) return all;
  for (const bool double_quant : {false, true})
    for (const int64_t block_size : {32, 64, 128}) {
      const Nf4Matrix matrix = quantize_nf4(weight, {.block_size = block_size, .double_quant = double_quant});
      all.push_back({Weight(matrix, at::kFloat), 1e-6});
      all.push_back({Weight(matrix, at::kBFloat16), 6e-3});
    }
  return all;
}

TEST(FewRows, AreMultipliedWithEveryKindOfWeight) {
  for (const int64_t columns : {1, 8, 31, 40, 64, 96, 576, 1000, 9000})
    for (const Case& tried : cases(37, columns)) {
      const RightMatrix right(tried.weight);
      for (const int64_t m : {1, 2, 3, 4, 5, 8, 16}) {
        SCOPED_TRACE(std::to_string(m) + " rows, " + std::to_string(columns) + " columns");
        const at::Tensor x = random_tensor({m, columns}, 2);
        EXPECT_CLOSE(product(x, right, 0, 37), expected_product(x, tried.weight), tried.tolerance);
      }
    }
}

TEST(FewRows, HaveTheSameBitsInEveryPartAndCompany) {
  for (const int64_t columns : {40, 576})
    for (const Case& tried : cases(37, columns)) {
      const RightMatrix right(tried.weight);
      const at::Tensor x = random_tensor({16, columns}, 3);
      const at::Tensor all = product(x, right, 0, 37);
      for (int64_t m = 1; m <= 16; ++m)
        EXPECT_TRUE(at::equal(product(x.slice(0, 16 - m).contiguous(), right, 0, 37), all.slice(0, 16 - m)));
      for (const auto& [begin, end] : {std::pair(0, 16), std::pair(16, 17), std::pair(21, 37)})
        EXPECT_TRUE(at::equal(product(x, right, begin, end), all.slice(1, begin, end)));
    }
}

TEST(FewRows, TakeWhatKernelsCanRead) {
  EXPECT_TRUE(RightMatrix::takes(random_tensor({3, 7}, 1)));
  EXPECT_FALSE(RightMatrix::takes(random_tensor({3, 7}, 1, at::kDouble)));
  EXPECT_FALSE(RightMatrix::takes(random_tensor({3, 7}, 1).to(at::kMeta)));
  EXPECT_FALSE(RightMatrix::takes(Weight(quantize_nf4(random_tensor({8, 12}, 1)), at::kFloat)));
}

template <typename Body>
void for_each_variant(const Body& body) {
  for (const cpu::Isa isa : cpu::kIsas) {
    if (!cpu::is_supported(isa)) continue;
    SCOPED_TRACE(cpu::isa_name(isa));
    body(cpu::step_kernels_of(isa));
  }
}

TEST(StepKernels, MultiplyInEveryVariant) {
  for_each_variant([](const cpu::StepKernels& kernels) {
    for (const int64_t k : {5, 32, 77}) {
      const int64_t m = 6, n = 11, width = cpu::step_width(k);
      at::Tensor x = at::zeros({m, width}, at::kFloat);
      x.slice(1, 0, k).copy_(random_tensor({m, k}, 4).to(at::kBFloat16));
      const at::Tensor w = random_tensor({n, k}, 5).to(at::kBFloat16);
      const at::Tensor expected = at::matmul(x.slice(1, 0, k).to(at::kDouble), w.to(at::kDouble).t());
      at::Tensor out = at::empty({m, n}, at::kFloat);
      const at::Tensor wide = w.to(at::kFloat), narrow = x.to(at::kBFloat16);
      kernels.multiply_float(m, n, k, x.const_data_ptr<float>(), wide.const_data_ptr<float>(),
                             out.mutable_data_ptr<float>(), n);
      EXPECT_CLOSE(out, expected, 1e-6);
      kernels.multiply_bf16(m, n, k, static_cast<const cpu::Bf16*>(narrow.const_data_ptr()),
                            static_cast<const cpu::Bf16*>(w.const_data_ptr()), out.mutable_data_ptr<float>(),
                            n);
      EXPECT_CLOSE(out, expected, 1e-6);
    }
  });
}

TEST(StepKernels, ActivateAsTheFormulasSay) {
  for_each_variant([](const cpu::StepKernels& kernels) {
    const at::Tensor gate =
        at::cat({random_tensor({1000}, 6).mul_(4.0), at::tensor({0.0f, -80.0f, 80.0f, -200.0f})});
    const at::Tensor up = random_tensor({gate.numel()}, 7);
    const at::Tensor wide = gate.to(at::kDouble);
    for (const auto& [activation, expected] :
         {std::pair(cpu::StepActivation::kSilu, at::silu(wide)),
          std::pair(cpu::StepActivation::kGelu, at::gelu(wide)),
          std::pair(cpu::StepActivation::kGeluTanh, at::gelu(wide, "tanh"))}) {
      at::Tensor alone = gate.clone(), gated = gate.clone();
      kernels.activate(activation, alone.mutable_data_ptr<float>(), nullptr, alone.numel());
      kernels.activate(activation, gated.mutable_data_ptr<float>(), up.const_data_ptr<float>(),
                       gated.numel());
      EXPECT_LT((alone - expected).abs().max().item<double>(), 1e-5);
      EXPECT_LT((alone.slice(0, 0, 1000) - expected.slice(0, 0, 1000)).abs().max().item<double>(), 2e-6);
      EXPECT_CLOSE(gated, alone.to(at::kDouble) * up, 1e-6);
    }
  });
}

TEST(StepKernels, RoundToTheNearestBfloat16) {
  for_each_variant([](const cpu::StepKernels& kernels) {
    const at::Tensor x = random_tensor({999}, 8);
    at::Tensor rounded = at::empty({999}, at::kBFloat16);
    kernels.round(x.const_data_ptr<float>(), 999, static_cast<cpu::Bf16*>(rounded.mutable_data_ptr()));
    EXPECT_TRUE(at::equal(rounded, x.to(at::kBFloat16)));
  });
}

}  // namespace
}  // namespace longlora::ops
