// Attention of the last tokens alone: of whole rows, and of the tokens after a cache, whose keys lie head by
// head.
#include "longlora/core/error.h"
#include "longlora/ops/attention.h"
#include "longlora/ops/attention_paths.h"
#include "longlora/ops/reference.h"
#include "tests/support/tensors.h"

namespace longlora::ops {
namespace {

using test::random_tensor;
using ::testing::HasSubstr;

struct Sizes {
  int64_t heads, kv_heads, past, count;
};

// [N, K, D] as a cache of [K, N, D] shows them.
at::Tensor as_cached(const at::Tensor& x) {
  return x.transpose(0, 1).contiguous().transpose(0, 1);
}

at::Tensor in_place(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                    const AttentionPlan& plan) {
  return attention_in_place(q, k, v, plan);
}

at::Tensor dispatched(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                      const AttentionPlan& plan) {
  return attention(q, k, v, plan);
}

// Largest difference of attention after a cache from the last rows of dense attention over everything.
template <typename Attend>
double difference_from_dense(const Attend& attend, const Sizes& sizes, at::ScalarType dtype,
                             int64_t window = 0) {
  const int64_t total = sizes.past + sizes.count;
  const at::Tensor q = random_tensor({total, sizes.heads, 16}, 5, dtype),
                   k = random_tensor({total, sizes.kv_heads, 16}, 6, dtype),
                   v = random_tensor({total, sizes.kv_heads, 16}, 7, dtype);
  const AttentionPlan plan = make_segment_plan({.row_tokens = total, .window_tokens = window});
  const at::Tensor expected =
      reference::attention(q.to(at::kDouble), k.to(at::kDouble), v.to(at::kDouble), plan)
          .slice(0, sizes.past);
  const at::Tensor out =
      attend(q.slice(0, sizes.past), as_cached(k), as_cached(v), last_tokens(plan, sizes.count));
  EXPECT_EQ(out.sizes(), expected.sizes());
  EXPECT_TRUE(out.is_contiguous());
  EXPECT_EQ(out.scalar_type(), dtype);
  return (out.to(at::kDouble) - expected).abs().max().item<double>();
}

TEST(AttentionAfterACache, EqualsTheLastRowsOfDenseAttention) {
  for (const Sizes& sizes :
       {Sizes{4, 4, 20, 7}, Sizes{8, 2, 20, 7}, Sizes{6, 3, 5, 33}, Sizes{4, 1, 40, 40}, Sizes{4, 4, 0, 9}})
    EXPECT_LT(difference_from_dense(dispatched, sizes, at::kFloat), 2e-6)
        << sizes.heads << "/" << sizes.kv_heads << " heads, " << sizes.past << " + " << sizes.count;
}

TEST(AttentionAfterACache, TakesOneTokenAtATime) {
  for (const Sizes& sizes : {Sizes{4, 4, 30, 1}, Sizes{8, 2, 30, 1}, Sizes{4, 1, 0, 1}})
    EXPECT_LT(difference_from_dense(dispatched, sizes, at::kFloat), 2e-6)
        << sizes.heads << "/" << sizes.kv_heads;
}

TEST(AttentionAfterACache, GivesTheSameInBlocksOfQueries) {
  // 2 query heads share a key head, 70 keys: 3 queries, then a single one, a block.
  for (const int64_t mask_bytes : {2 * 70 * 4 * 3, 1})
    for (const at::ScalarType dtype : {at::kFloat, at::kDouble}) {
      const auto in_blocks = [&](const auto& q, const auto& k, const auto& v, const auto& plan) {
        return attention_in_place(q, k, v, plan, mask_bytes);
      };
      EXPECT_LT(difference_from_dense(in_blocks, {4, 2, 50, 20}, dtype), 2e-6);
      for (const int64_t window : {1, 5, 20, 51, 70, 1000})
        EXPECT_LT(difference_from_dense(in_blocks, {4, 2, 50, 20}, dtype, window), 2e-6) << window;
    }
}

TEST(AttentionAfterACache, SeesNoFurtherBackThanTheWindow) {
  for (const int64_t window : {1, 5, 20, 51, 70, 1000}) {
    EXPECT_LT(difference_from_dense(dispatched, {4, 2, 50, 20}, at::kFloat, window), 2e-6) << window;
    EXPECT_LT(difference_from_dense(dispatched, {4, 2, 50, 20}, at::kDouble, window), 2e-6) << window;
    EXPECT_LT(difference_from_dense(dispatched, {4, 2, 50, 1}, at::kFloat, window), 2e-6) << window;
    EXPECT_LT(difference_from_dense(dispatched, {4, 4, 0, 33}, at::kFloat, window), 2e-6) << window;
  }
}

TEST(AttentionAfterACache, EqualsDenseAttentionAcrossBlocks) {
  for (const Sizes& sizes :
       {Sizes{4, 2, 100, 200}, Sizes{2, 2, 64, 64}, Sizes{4, 1, 127, 17}, Sizes{2, 1, 300, 65}})
    for (const int64_t window : {0, 1, 63, 130}) {
      EXPECT_LT(difference_from_dense(dispatched, sizes, at::kFloat, window), 4e-6)
          << sizes.past << " + " << sizes.count << ", window " << window;
      EXPECT_LT(difference_from_dense(dispatched, sizes, at::kBFloat16, window), 0.03)
          << sizes.past << " + " << sizes.count << ", window " << window;
    }
}

TEST(AttentionAfterACache, RoundsOnlyTheResultInBfloat16) {
  EXPECT_LT(difference_from_dense(dispatched, {4, 2, 50, 20}, at::kBFloat16), 0.02);
  EXPECT_LT(difference_from_dense(dispatched, {4, 2, 300, 1}, at::kBFloat16), 0.01);
}

TEST(AttentionAfterACache, ReadsFewQueriesKeysInPlace) {
  const AttentionPlan plan = make_segment_plan({.row_tokens = 40});
  const at::Tensor rows = at::zeros({40, 2, 16}), cached = as_cached(rows);
  EXPECT_TRUE(is_best_in_place(cached, last_tokens(plan, 15)));
  EXPECT_FALSE(is_best_in_place(cached, last_tokens(plan, 16)));
  EXPECT_FALSE(is_best_in_place(cached, plan));
  EXPECT_FALSE(is_best_in_place(rows, last_tokens(plan, 1)));
  EXPECT_FALSE(is_best_in_place(at::zeros({40, 1, 16}), last_tokens(plan, 1)));
}

struct TailPath {
  const char* name;
  at::Tensor (*attend)(const at::Tensor&, const at::Tensor&, const at::Tensor&, const AttentionPlan&);
};

std::vector<TailPath> paths(const at::Tensor& q) {
  std::vector<TailPath> all = {
      {"dispatched", dispatched}, {"composed", attention_composed}, {"in place", in_place}};
  all.push_back({"flash, on kernels of fake_flash_attention.cpp",
                 [](const auto& queries, const auto& k, const auto& v, const auto& plan) {
                   return attention_flash(queries, k, v, plan, nullptr);
                 }});
  if (attention_cpu_takes(q))
    all.push_back({"cpu kernel", [](const auto& queries, const auto& k, const auto& v, const auto& plan) {
                     return attention_cpu(queries, k, v, plan, nullptr);
                   }});
  return all;
}

TEST(AttentionOfTheLastTokens, EqualsTheLastQueriesOfEveryRow) {
  const int64_t rows = 3, tokens = 150;
  for (const int64_t kv_heads : {1, 2, 4})
    for (const int64_t window : {0, 20}) {
      const at::Tensor q = random_tensor({rows * tokens, 4, 16}, 1),
                       k = random_tensor({rows * tokens, kv_heads, 16}, 2),
                       v = random_tensor({rows * tokens, kv_heads, 16}, 3);
      const AttentionPlan plan =
          make_segment_plan({.num_rows = rows, .row_tokens = tokens, .window_tokens = window});
      const at::Tensor all = attention(q, k, v, plan).view({rows, tokens, 4, 16});
      for (const int64_t count : {1, 22, 64, 100, 150}) {
        const at::Tensor last = q.view({rows, tokens, 4, 16}).slice(1, tokens - count).reshape({-1, 4, 16});
        const at::Tensor expected = all.slice(1, tokens - count).reshape({-1, 4, 16});
        for (const TailPath& path : paths(q)) {
          SCOPED_TRACE(::testing::Message() << path.name << ", " << kv_heads << " key/value heads, " << count
                                            << " queries, window " << window);
          EXPECT_CLOSE(path.attend(last, k, v, last_tokens(plan, count)), expected, 2e-6);
        }
      }
    }
}

TEST(AttentionOfTheLastTokens, TakesSegmentsThatDifferBetweenTheHalves) {
  AttentionPlan plan;
  plan.num_tokens = 90;
  plan.bounds = {std::vector<int64_t>{0, 90}, std::vector<int64_t>{0, 70, 90}};
  const at::Tensor q = random_tensor({90, 6, 16}, 1), k = random_tensor({90, 3, 16}, 2),
                   v = random_tensor({90, 3, 16}, 3);
  const at::Tensor all = attention(q, k, v, plan);
  // The last 10 tokens: in the second half those of its last segment, the first of which has no query.
  plan.tail_bounds = {std::vector<int64_t>{0, 10}, std::vector<int64_t>{0, 0, 10}};
  for (const TailPath& path : paths(q)) {
    SCOPED_TRACE(path.name);
    EXPECT_CLOSE(path.attend(q.slice(0, 80), k, v, plan), all.slice(0, 80), 2e-6);
  }
}

// What attention() says of operands that do not fit.
std::string refusal(const at::Tensor& q, const at::Tensor& k, const AttentionPlan& plan) {
  try {
    attention(q, k, k, plan);
  } catch (const Error& error) {
    return error.what();
  }
  return "accepted";
}

TEST(AttentionOfTheLastTokens, RefusesShapesThatDoNotFit) {
  const AttentionPlan plan = last_tokens(make_segment_plan({.row_tokens = 5}), 2);
  const at::Tensor k = at::zeros({5, 3, 16});
  EXPECT_EQ(refusal(at::zeros({2, 3, 16}), k, plan), "accepted");
  EXPECT_THAT(refusal(at::zeros({2, 4, 16}), k, plan), HasSubstr("[attention] expected q [M, H, D]"));
  EXPECT_THAT(refusal(at::zeros({6, 3, 16}), k, plan),
              HasSubstr("M = 2 queries and N = 5 tokens of the plan"));
  EXPECT_THAT(refusal(at::zeros({2, 3, 16}), at::zeros({4, 3, 16}), plan), HasSubstr("Float [4, 3, 16]"));
}

TEST(AttentionOfTheLastTokens, RefusesToGiveGradients) {
  const AttentionPlan plan = last_tokens(make_segment_plan({.row_tokens = 5}), 2);
  EXPECT_THAT(refusal(at::zeros({2, 4, 16}).requires_grad_(true), at::zeros({5, 2, 16}), plan),
              HasSubstr("a query of every token where gradients are asked for"));
}

}  // namespace
}  // namespace longlora::ops
