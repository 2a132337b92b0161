#include "longlora/generate/kv_cache.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "longlora/core/error.h"
#include "tests/generate/test_models.h"

namespace longlora::generate {
namespace {

using testing::HasSubstr;
using testing::ThrowsMessage;

model::ModelConfig two_layer_config() {
  return small_decoder(4, 2).config;
}

// Keys or values [count, 2, 8] that tell layer and place.
at::Tensor marked(size_t layer, int64_t place, int64_t count) {
  return (at::arange(place, place + count, at::kFloat) + 1000.0 * static_cast<double>(layer))
      .reshape({count, 1, 1})
      .expand({count, 2, 8});
}

void append(FullCache& cache, int64_t count) {
  const int64_t place = cache.extend(count);
  for (size_t layer = 0; layer < 2; ++layer)
    cache.store(layer, marked(layer, place, count), -marked(layer, place, count));
}

TEST(FullCache, HoldsEveryTokenInOrderWhileItGrows) {
  FullCache cache(two_layer_config(), 2000, at::kFloat);
  EXPECT_EQ(cache.allocated_bytes(), 0);
  for (const int64_t count : {1, 1, 250, 3, 700, 1, 44}) append(cache, count);
  ASSERT_EQ(cache.num_tokens(), 1000);
  for (size_t layer = 0; layer < 2; ++layer) {
    const KeyValueView view = cache.view(layer);
    const at::Tensor expected = marked(layer, 0, 1000).transpose(0, 1);
    EXPECT_TRUE(view.keys.equal(expected));
    EXPECT_TRUE(view.values.equal(-expected));
  }
}

TEST(FullCache, AllocatesOnceForWhatWasReserved) {
  FullCache cache(two_layer_config(), 2000, at::kFloat);
  cache.reserve(1500);
  const int64_t bytes = cache.allocated_bytes();
  EXPECT_EQ(bytes, 1500 * 2 * 8 * 2 * 2 * 4);  // tokens, heads, head size, layers, keys and values, float32
  append(cache, 1500);
  EXPECT_EQ(cache.allocated_bytes(), bytes);
}

TEST(FullCache, NeverAllocatesMoreThanItsLimit) {
  FullCache cache(two_layer_config(), 300, at::kBFloat16);
  append(cache, 257);
  append(cache, 43);
  EXPECT_EQ(cache.allocated_bytes(), 300 * 2 * 8 * 2 * 2 * 2);
  EXPECT_EQ(cache.remaining_tokens(), 0);
}

TEST(FullCache, RefusesMoreTokensThanItsLimitAndStaysAsItWas) {
  FullCache cache(two_layer_config(), 10, at::kFloat);
  append(cache, 8);
  EXPECT_THAT([&] { cache.extend(3); },
              ThrowsMessage<InputError>(HasSubstr("[context] expected at most 10 tokens, got 11")));
  EXPECT_EQ(cache.num_tokens(), 8);
  EXPECT_EQ(cache.extend(2), 8);
}

TEST(FullCache, RefusesKeysOfAnotherShape) {
  FullCache cache(two_layer_config(), 10, at::kFloat);
  cache.extend(2);
  EXPECT_THAT(
      [&] {
        cache.store(0, at::zeros({3, 2, 8}), at::zeros({3, 2, 8}));
      },
      ThrowsMessage<Error>(HasSubstr("expected keys and values 2 × 2 × 8, got 3 × 2 × 8")));
}

TEST(FullCache, StartsAfreshWhenCleared) {
  FullCache cache(two_layer_config(), 10, at::kFloat);
  append(cache, 10);
  cache.clear();
  EXPECT_EQ(cache.num_tokens(), 0);
  append(cache, 4);
  EXPECT_TRUE(cache.view(1).keys.equal(marked(1, 0, 4).transpose(0, 1)));
}

}  // namespace
}  // namespace longlora::generate
