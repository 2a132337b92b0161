#include "longlora/generate/cached_attention.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "longlora/core/error.h"
#include "longlora/ops/reference.h"
#include "tests/generate/test_models.h"

namespace longlora::generate {
namespace {

struct Sizes {
  int64_t heads, kv_heads, past, count;
};

/// Largest difference from the last rows of dense attention over everything.
double difference_from_dense(const Sizes& sizes, at::ScalarType dtype,
                             const CachedAttentionOptions& options = {}) {
  const int64_t total = sizes.past + sizes.count, head_dim = 16;
  at::manual_seed(5);
  const at::Tensor q = at::randn({total, sizes.heads, head_dim}).to(dtype);
  const at::Tensor k = at::randn({total, sizes.kv_heads, head_dim}).to(dtype);
  const at::Tensor v = at::randn({total, sizes.kv_heads, head_dim}).to(dtype);
  const auto plan =
      ops::make_segment_plan({.num_rows = 1, .row_tokens = total, .window_tokens = options.window_tokens});
  const at::Tensor expected =
      ops::reference::segment_attention(q.to(at::kDouble), k.to(at::kDouble), v.to(at::kDouble), plan)
          .slice(0, sizes.past);
  const KeyValueView view = {k.transpose(0, 1).contiguous(), v.transpose(0, 1).contiguous()};
  const at::Tensor out = cached_attention(q.slice(0, sizes.past), view, options);
  EXPECT_EQ(out.sizes(), expected.sizes());
  EXPECT_TRUE(out.is_contiguous());
  EXPECT_EQ(out.scalar_type(), dtype);
  return largest_difference(out, expected);
}

TEST(CachedAttention, EqualsTheLastRowsOfDenseAttention) {
  for (const Sizes& sizes :
       {Sizes{4, 4, 20, 7}, Sizes{8, 2, 20, 7}, Sizes{6, 3, 5, 33}, Sizes{4, 1, 40, 40}, Sizes{4, 4, 0, 9}})
    EXPECT_LT(difference_from_dense(sizes, at::kFloat), 2e-6)
        << sizes.heads << "/" << sizes.kv_heads << " heads, " << sizes.past << " + " << sizes.count;
}

TEST(CachedAttention, TakesOneTokenAtATime) {
  for (const Sizes& sizes : {Sizes{4, 4, 30, 1}, Sizes{8, 2, 30, 1}, Sizes{4, 1, 0, 1}})
    EXPECT_LT(difference_from_dense(sizes, at::kFloat), 2e-6) << sizes.heads << "/" << sizes.kv_heads;
}

TEST(CachedAttention, GivesTheSameInBlocksOfQueries) {
  // 2 query heads share a key head, 70 keys: 3 queries, then a single one, a block.
  // In double there is no kernel that needs no mask.
  EXPECT_LT(difference_from_dense({4, 2, 50, 20}, at::kDouble, {.mask_bytes = 2 * 70 * 4 * 3}), 2e-6);
  EXPECT_LT(difference_from_dense({4, 2, 50, 20}, at::kDouble, {.mask_bytes = 1}), 2e-6);
}

TEST(CachedAttention, SeesNoFurtherBackThanTheWindow) {
  for (const int64_t window : {1, 5, 20, 51, 70, 1000})
    for (const int64_t mask_bytes : {int64_t{1}, int64_t{2 * 70 * 4 * 3}, int64_t{1} << 20}) {
      EXPECT_LT(difference_from_dense({4, 2, 50, 20}, at::kFloat, {window, mask_bytes}), 2e-6) << window;
      EXPECT_LT(difference_from_dense({4, 2, 50, 20}, at::kDouble, {window, mask_bytes}), 2e-6) << window;
      EXPECT_LT(difference_from_dense({4, 2, 50, 1}, at::kFloat, {window, mask_bytes}), 2e-6) << window;
      EXPECT_LT(difference_from_dense({4, 4, 0, 33}, at::kFloat, {window, mask_bytes}), 2e-6) << window;
    }
}

TEST(CachedAttention, EqualsDenseAttentionAcrossBlocks) {
  for (const Sizes& sizes :
       {Sizes{4, 2, 100, 200}, Sizes{2, 2, 64, 64}, Sizes{4, 1, 127, 17}, Sizes{2, 1, 300, 65}})
    for (const int64_t window : {0, 1, 63, 130}) {
      EXPECT_LT(difference_from_dense(sizes, at::kFloat, {.window_tokens = window}), 4e-6)
          << sizes.past << " + " << sizes.count << ", window " << window;
      EXPECT_LT(difference_from_dense(sizes, at::kBFloat16, {.window_tokens = window}), 0.03)
          << sizes.past << " + " << sizes.count << ", window " << window;
    }
}

TEST(CachedAttention, RoundsOnlyTheResultInBfloat16) {
  EXPECT_LT(difference_from_dense({4, 2, 50, 20}, at::kBFloat16), 0.02);
  EXPECT_LT(difference_from_dense({4, 2, 300, 1}, at::kBFloat16), 0.01);
}

TEST(CachedAttention, RefusesShapesThatDoNotFit) {
  const KeyValueView view = {at::zeros({3, 5, 16}), at::zeros({3, 5, 16})};
  EXPECT_THAT(
      [&] {
        cached_attention(at::zeros({2, 4, 16}), view);
      },
      testing::ThrowsMessage<Error>(testing::HasSubstr("[cached attention] expected q [N, H, D]")));
  EXPECT_THROW(cached_attention(at::zeros({6, 3, 16}), view), Error);
}

}  // namespace
}  // namespace longlora::generate
