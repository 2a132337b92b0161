#include "longlora/ops/attention.h"

#include <ATen/Parallel.h>
#include <fmt/core.h>

#include "longlora/checkpoint/tensor_store.h"
#include "longlora/core/error.h"
#include "longlora/core/json.h"
#include "longlora/ops/reference.h"
#include "tests/ops/attention_cases.h"

namespace longlora::ops {
namespace {

using test::random_tensor;
using ::testing::HasSubstr;

const std::vector<Case>& cases() {
  static const std::vector<Case> all = {
      {1, 64, 0, 4, 4, 16},                   // full
      {1, 1, 4, 2, 2, 16},                    // one token
      {1, 2, 1, 2, 1, 32},                    // groups of one
      {1, 97, 32, 4, 2, 16},                  // odd T
      {1, 131, 33, 4, 4, 32},                 // odd T and group
      {1, 20, 64, 4, 2, 64},                  // T < G / 2 … and G
      {1, 50, 64, 4, 2, 64},                  // G / 2 < T < G
      {3, 45, 16, 4, 2, 24},                  // several rows
      {1, 90, 16, 6, 3, 16},                  // odd number of key/value heads
      {1, 90, 16, 10, 5, 16},                 // the shared one serves both halves
      {2, 37, 12, 4, 1, 80},                  // one key/value head
      {1, 120, 40, 8, 2, 128},                // large heads
      {1, 300, 128, 2, 2, 96},                // longer than a block
      {1, 700, 0, 2, 1, 64},                  // many blocks
      {1, 110, 16, 4, 2, 48, {0, 7, 8, 60}},  // packed documents, one of a single token
      {2, 61, 16, 6, 3, 16, {0, 30}},         // rows and documents
      {1, 33, 8, 1, 1, 16},                   // a single head is shifted
      {1, 300, 0, 4, 2, 16, {}, 1},           // windows: of the token alone
      {1, 300, 0, 4, 2, 16, {}, 5},           // … inside a block
      {1, 300, 0, 4, 2, 16, {}, 63},
      {1, 300, 0, 4, 2, 16, {}, 64},  // … of a block
      {1, 300, 0, 4, 2, 16, {}, 65},
      {1, 390, 0, 2, 1, 32, {}, 150},                // … of several
      {1, 390, 0, 2, 1, 32, {}, 389},                // … that hides one key
      {1, 90, 0, 2, 1, 32, {}, 90},                  // … as long as the row
      {2, 200, 150, 6, 3, 16, {}, 70},               // … inside the segments of both halves
      {1, 230, 0, 4, 2, 16, {0, 7, 8, 120}, 30},     // … and documents
      {1, 100, 16, 4, 2, 16, {}, int64_t{1} << 62},  // … beyond everything
  };
  return all;
}

TEST(Attention, EveryPathEqualsTheDenseReference) {
  for (const Case& sizes : cases())
    for (const at::ScalarType dtype : {at::kDouble, at::kFloat, at::kBFloat16}) {
      SCOPED_TRACE(sizes.describe() + " " + c10::toString(dtype));
      const Inputs inputs = Inputs::random(sizes, 10, dtype);
      const Result expected = run(reference::attention, inputs.to(at::kDouble), sizes.plan());
      for_each_path(
          [&](const Path& path) {
            const Result actual = run(path.attend, inputs, sizes.plan());
            EXPECT_EQ(actual.out.scalar_type(), dtype);
            EXPECT_TRUE(actual.out.is_contiguous());
            expect_close(actual, expected, tolerance_of(dtype));
          },
          inputs.q);
    }
}

TEST(Attention, TheReferenceItselfWorksInEveryDtype) {
  const Case sizes = {1, 40, 16, 4, 2, 16};
  for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16}) {
    const Inputs inputs = Inputs::random(sizes, 20, dtype);
    const Result expected = run(reference::attention, inputs.to(at::kDouble), sizes.plan());
    expect_close(run(reference::attention, inputs, sizes.plan()), expected, tolerance_of(dtype));
  }
}

TEST(Attention, EqualsTheFloat64Goldens) {
  const Json described = read_json(test::data_path("goldens/s2_attention/cases.json"));
  const auto store =
      checkpoint::TensorStore::open_file(test::data_path("goldens/s2_attention/golden.safetensors"));
  ASSERT_FALSE(described.empty());
  for (const auto& item : described.items()) {
    const std::string& name = item.key();
    const Json& sizes = item.value();
    SCOPED_TRACE(name);
    const Case golden = {sizes["rows"],     sizes["tokens"],   sizes["group"],          sizes["heads"],
                         sizes["kv_heads"], sizes["head_dim"], sizes["document_starts"]};
    const auto load = [&](const std::string& part) {  // rows are laid end to end
      const at::Tensor x = store.load(fmt::format("{}.{}", name, part));
      EXPECT_EQ(x.scalar_type(), at::kDouble);
      return x.flatten(0, 1);
    };
    const Inputs inputs = {load("q"), load("k"), load("v"), load("grad_out")};
    const Result expected = {load("out"), load("grad_q"), load("grad_k"), load("grad_v")};
    expect_close(run(reference::attention, inputs, golden.plan()), expected, 1e-12);
    for (const at::ScalarType dtype : {at::kDouble, at::kFloat}) {
      const Inputs typed = inputs.to(dtype);
      for_each_path(
          [&](const Path& path) {
            expect_close(run(path.attend, typed, golden.plan()), expected, tolerance_of(dtype));
          },
          typed.q);
    }
  }
}

TEST(Attention, TheReferenceHasTheGradientOfFiniteDifferences) {
  const Case sizes = {2, 7, 4, 4, 2, 3, {0, 4}};
  const Inputs inputs = Inputs::random(sizes, 30, at::kDouble);
  const AttentionPlan plan = sizes.plan();
  const Result result = run(reference::attention, inputs, plan);
  const auto value = [&] {
    return (reference::attention(inputs.q, inputs.k, inputs.v, plan) * inputs.grad_out).sum().item<double>();
  };
  EXPECT_CLOSE(result.grad_q, test::finite_difference_gradient(inputs.q, value), 1e-8);
  EXPECT_CLOSE(result.grad_k, test::finite_difference_gradient(inputs.k, value), 1e-8);
  EXPECT_CLOSE(result.grad_v, test::finite_difference_gradient(inputs.v, value), 1e-8);
}

TEST(Attention, TakesHeadsThatLieInOneWiderTensor) {
  const Case sizes = {1, 75, 32, 4, 2, 32};
  const AttentionPlan plan = sizes.plan();
  const int64_t heads = sizes.heads, kv_heads = sizes.kv_heads;
  for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16}) {
    SCOPED_TRACE(c10::toString(dtype));
    // q, k and v side by side, each head in the first part of a wider one: only the last dimension is dense.
    const at::Tensor fused = random_tensor({75, heads + 2 * kv_heads, 40}, 40, dtype);
    const auto part = [&](const at::Tensor& x, int64_t first, int64_t count) {
      return x.narrow(1, first, count).narrow(2, 0, 32);
    };
    const Inputs dense = {part(fused, 0, heads).contiguous(), part(fused, heads, kv_heads).contiguous(),
                          part(fused, heads + kv_heads, kv_heads).contiguous(),
                          random_tensor({75, heads, 32}, 41, dtype)};
    for_each_path(
        [&](const Path& path) {
          const Result expected = run(path.attend, dense, plan);
          const at::Tensor x = test::leaf(fused, dtype);
          const at::Tensor out = path.attend(part(x, 0, heads), part(x, heads, kv_heads),
                                             part(x, heads + kv_heads, kv_heads), plan);
          const at::Tensor grad = test::gradients(out, {x}, dense.grad_out)[0];
          const double tolerance = dtype == at::kFloat ? 1e-6 : 1e-2;
          expect_close({out.detach(), part(grad, 0, heads), part(grad, heads, kv_heads),
                        part(grad, heads + kv_heads, kv_heads)},
                       expected, tolerance);
        },
        dense.q);
  }
}

TEST(Attention, TakesAGradientThatIsNotContiguous) {
  const Case sizes = {1, 40, 16, 4, 2, 16};
  const Inputs inputs = Inputs::random(sizes, 45, at::kFloat);
  Inputs strided = inputs;
  strided.grad_out = inputs.grad_out.transpose(0, 1).contiguous().transpose(0, 1);
  for_each_path(
      [&](const Path& path) {
        expect_close(run(path.attend, strided, sizes.plan()), run(path.attend, inputs, sizes.plan()), 1e-6);
      },
      inputs.q);
}

TEST(Attention, StaysFiniteWhereScoresAreLarge) {
  const Case sizes = {1, 48, 16, 4, 2, 16};
  for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16}) {
    Inputs inputs = Inputs::random(sizes, 65, dtype);
    inputs.q = inputs.q * 40.0;
    inputs.k = inputs.k * 40.0;
    const Result expected = run(reference::attention, inputs.to(at::kDouble), sizes.plan());
    for_each_path(
        [&](const Path& path) {
          const Result actual = run(path.attend, inputs, sizes.plan());
          EXPECT_CLOSE(actual.out, expected.out, tolerance_of(dtype) * 10);
          for (const at::Tensor& grad : {actual.grad_q, actual.grad_k, actual.grad_v})
            EXPECT_TRUE(at::isfinite(grad).all().item<bool>());
        },
        inputs.q);
  }
}

TEST(Attention, DoesNotDependOnTheNumberOfThreads) {
  const int threads = at::get_num_threads();
  const Case sizes = {2, 150, 64, 6, 3, 32};
  for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16}) {
    const Inputs inputs = Inputs::random(sizes, 70, dtype);
    for_each_path(
        [&](const Path& path) {
          at::set_num_threads(1);
          const Result one = run(path.attend, inputs, sizes.plan());
          at::set_num_threads(3);
          const Result three = run(path.attend, inputs, sizes.plan());
          EXPECT_TRUE(at::equal(one.out, three.out));
          EXPECT_TRUE(at::equal(one.grad_q, three.grad_q));
          EXPECT_TRUE(at::equal(one.grad_k, three.grad_k));
          EXPECT_TRUE(at::equal(one.grad_v, three.grad_v));
        },
        inputs.q);
  }
  at::set_num_threads(threads);
}

TEST(Attention, GoesOnFromWhatAnEarlierCallKept) {
  const Case sizes = {2, 90, 32, 6, 3, 32};
  for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16, at::kDouble}) {
    const Inputs inputs = Inputs::random(sizes, 85, dtype);
    const AttentionPlan plan = sizes.plan();
    const Result expected = run(keeping_nothing<attention>, inputs, plan);
    KeptAttention kept;
    const at::Tensor out = attention(inputs.q, inputs.k, inputs.v, plan, &kept);
    EXPECT_TRUE(at::equal(out, expected.out));
    EXPECT_EQ(kept.out.defined(), attention_cpu_takes(inputs.q));
    const Result again = run([&](const auto& q, const auto& k, const auto& v,
                                 const auto& p) { return attention(q, k, v, p, &kept); },
                             inputs, plan);
    EXPECT_TRUE(at::equal(again.out, expected.out));
    EXPECT_TRUE(at::equal(again.grad_q, expected.grad_q));
    EXPECT_TRUE(at::equal(again.grad_k, expected.grad_k));
    EXPECT_TRUE(at::equal(again.grad_v, expected.grad_v));
    EXPECT_FALSE(kept.out.defined() && kept.out.requires_grad());
  }
}

TEST(Attention, FlashGoesOnFromWhatAnEarlierCallKept) {
  for (const Case& sizes :
       {Case{2, 90, 32, 6, 3, 32}, Case{1, 90, 0, 4, 2, 16}, Case{1, 70, 16, 4, 1, 16, {}, 9}}) {
    const Inputs inputs = Inputs::random(sizes, 85, at::kBFloat16);
    const AttentionPlan plan = sizes.plan();
    const Result expected = run(keeping_nothing<attention_flash>, inputs, plan);
    KeptAttention kept;
    attention_flash(inputs.q, inputs.k, inputs.v, plan, &kept);
    EXPECT_EQ(kept.log_sum_exp.sizes(), (std::vector<int64_t>{sizes.heads, sizes.rows * sizes.tokens}));
    const Result again = run([&](const auto& q, const auto& k, const auto& v,
                                 const auto& p) { return attention_flash(q, k, v, p, &kept); },
                             inputs, plan);
    EXPECT_TRUE(at::equal(again.out, expected.out));
    EXPECT_TRUE(at::equal(again.grad_q, expected.grad_q));
    EXPECT_TRUE(at::equal(again.grad_k, expected.grad_k));
    EXPECT_TRUE(at::equal(again.grad_v, expected.grad_v));
  }
}

TEST(Attention, GivesGradientsOnlyForWhatAsks) {
  const Case sizes = {1, 30, 8, 4, 2, 16};
  const Inputs inputs = Inputs::random(sizes, 80, at::kFloat);
  for_each_path(
      [&](const Path& path) {
        const Result all = run(path.attend, inputs, sizes.plan());
        const at::Tensor k = test::leaf(inputs.k, at::kFloat);
        const at::Tensor out = path.attend(inputs.q, k, inputs.v, sizes.plan());
        EXPECT_CLOSE(test::gradients(out, {k}, inputs.grad_out)[0], all.grad_k, 1e-6);
        EXPECT_FALSE(path.attend(inputs.q, inputs.k, inputs.v, sizes.plan()).requires_grad());
      },
      inputs.q);
}

TEST(Attention, RefusesShapesThatDoNotFit) {
  const AttentionPlan plan = make_segment_plan({.num_rows = 1, .row_tokens = 8});
  const at::Tensor q = random_tensor({8, 4, 16}, 1), k = random_tensor({8, 2, 16}, 2);
  const auto refusal = [&](const at::Tensor& queries, const at::Tensor& keys, const at::Tensor& values) {
    try {
      attention(queries, keys, values, plan);
    } catch (const Error& error) {
      return std::string(error.what());
    }
    return std::string("accepted");
  };
  EXPECT_EQ(refusal(q, k, k), "accepted");
  EXPECT_THAT(refusal(random_tensor({8, 3, 16}, 1), k, k), HasSubstr("K dividing H"));
  EXPECT_THAT(refusal(random_tensor({7, 4, 16}, 1), k, k), HasSubstr("N = 8 tokens of the plan"));
  EXPECT_THAT(refusal(q.flatten(1), k, k), HasSubstr("Float [8, 64]"));
  EXPECT_THAT(refusal(q, k, k.to(at::kBFloat16)), HasSubstr("BFloat16 [8, 2, 16]"));
  EXPECT_THAT(refusal(q, k, random_tensor({8, 2, 8}, 3)), HasSubstr("[8, 2, 8]"));
}

}  // namespace
}  // namespace longlora::ops
