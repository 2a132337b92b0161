#include "longlora/forward/pass_memory.h"

#include <gtest/gtest.h>

#include "longlora/forward/forward.h"
#include "longlora/forward/mapped_files.h"
#include "longlora/forward/rotary_tables.h"
#include "longlora/model/stored_model.h"
#include "tests/model/block_forms.h"
#include "tests/support/counting_allocator.h"
#include "tests/support/temporary_directory.h"
#include "tests/support/tensors.h"

namespace longlora::forward {
namespace {

constexpr int64_t kPlenty = int64_t{1} << 40;

constexpr int64_t kRowTokens = 512;

// Rows of kRowTokens that are scored, of each its last `wanted` tokens.
struct Scored {
  int64_t tokens, tile_tokens, wanted = kRowTokens;
};

// The most that tensors hold beyond the weights meanwhile.
int64_t peak_of(const model::Decoder& decoder, const LayerSource& source, const Scored& scored) {
  auto& allocator = test::CountingAllocator::instance();
  allocator.reset();
  const at::Tensor ids = test::random_ids({scored.tokens}, decoder.config.vocab_size, 1);
  const int64_t rows = scored.tokens / kRowTokens;
  const ops::AttentionPlan plan = ops::make_segment_plan({.num_rows = rows, .row_tokens = kRowTokens});
  Segments segments(plan);
  RotaryTables rotary(decoder);
  const at::Tensor hidden = forward(decoder, {ids, rotary.rows(rows, kRowTokens), rows}, segments, source,
                                    {.tile_tokens = scored.tile_tokens, .wanted_tokens = scored.wanted});
  cross_entropy(decoder, hidden, ids.slice(0, 0, hidden.size(0)), source,
                {.tile_tokens = scored.tile_tokens, .want_losses = true});
  return allocator.peak_bytes();
}

void expect_predicted(const model::Decoder& decoder, const Scored& scored) {
  const PassPlan plan = predict_pass(decoder,
                                     {.tokens = scored.tokens,
                                      .row_tokens = kRowTokens,
                                      .wanted_tokens = scored.tokens / kRowTokens * scored.wanted},
                                     scored.tile_tokens);
  const auto held = static_cast<double>(peak_of(decoder, *resident(), scored));
  const auto predicted = static_cast<double>(plan.pass_bytes);
  EXPECT_NEAR(held / predicted, 1.0, 0.03) << held / 1e6 << " of " << predicted / 1e6 << ", tiles of "
                                           << scored.tile_tokens << ", wanted " << scored.wanted;
}

TEST(PassMemory, IsWhatThePlanPredictsForEveryBlockForm) {
  test::CountingAllocator::instance();
  for (const model::FormOfBlock& form : model::kBlockForms)
    for (const at::ScalarType dtype : {at::kBFloat16, at::kFloat})
      for (const bool quantized : {false, true}) {
        SCOPED_TRACE(::testing::Message() << form.architecture << " " << form.activation << " "
                                          << c10::toString(dtype) << " " << quantized);
        auto decoder = model::random_decoder(model::small_config(form, 3), dtype, 1);
        if (quantized) model::quantize_layers(decoder);
        for (const int64_t tile_tokens : {0, 1024, 128}) expect_predicted(decoder, {4096, tile_tokens});
        expect_predicted(decoder, {4096, 0, /*wanted=*/64});
      }
}

TEST(PassMemory, CountsKeysAndValuesThatAreKept) {
  const auto decoder = model::shape_decoder(model::small_config(model::kBlockForms[0], 3), at::kBFloat16);
  const PassPlan without = predict_pass(decoder, {.tokens = 512}, 0);
  const PassPlan with = predict_pass(decoder, {.tokens = 512, .cache_tokens = 10000}, 0);
  EXPECT_EQ(with.total_bytes() - without.total_bytes(), 10000 * 3 * 2 * 2 * 32 * 2);
}

TEST(PassMemory, LeavesEverythingAsItIsWhereMemoryIsPlentiful) {
  const auto decoder = model::shape_decoder(model::small_config(model::kBlockForms[0], 3), at::kFloat);
  const PassPlan plan = plan_pass(
      decoder, {.tokens = 8192, .budget_bytes = kPlenty, .streamable = streamable_weights(decoder)});
  EXPECT_TRUE(plan.fits);
  EXPECT_FALSE(plan.weights_streamed);
  EXPECT_EQ(plan.tile_tokens, 0);
}

TEST(PassMemory, ScoresAModelThatIsLargerThanWhatItHolds) {
  const test::TemporaryDirectory folder;
  const model::ModelConfig config = model::small_config(model::kBlockForms[0], 24);
  {
    const auto whole = model::random_decoder(config, at::kBFloat16, 1);
    model::save_decoder(whole, folder.path(), at::kBFloat16);
  }
  auto& allocator = test::CountingAllocator::instance();
  constexpr int64_t kTokens = 1024;
  const auto shape = model::shape_decoder(config, at::kBFloat16);
  const int64_t all = model::count_parameters(shape).total * 2;
  PassRequest request = {.tokens = kTokens, .streamable = streamable_weights(shape)};
  const int64_t least = plan_pass(shape, request).total_bytes();
  request.budget_bytes = least;
  const PassPlan plan = plan_pass(shape, request);
  EXPECT_TRUE(plan.fits);
  ASSERT_TRUE(plan.weights_streamed);
  EXPECT_EQ(plan.weights_bytes + plan.streamed_bytes, all);

  allocator.reset();
  const auto decoder =
      model::load_decoder(folder.path(), at::kBFloat16, {.left_in_files = request.streamable});
  EXPECT_LE(allocator.held_bytes(), plan.weights_bytes + 4096);
  const MappedFiles source(model::open_stored_model(folder.path()).weights, request.streamable,
                           at::kBFloat16);
  EXPECT_FALSE(source.copies());
  // What is mapped is not of the allocator's.
  EXPECT_LT(peak_of(decoder, source, {kTokens, plan.tile_tokens}), plan.pass_bytes);
  EXPECT_LT(plan.weights_bytes, all / 10);
}

}  // namespace
}  // namespace longlora::forward
