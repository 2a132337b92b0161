#include "longlora/forward/pass_memory.h"

#include <gtest/gtest.h>

#include "longlora/forward/forward.h"
#include "longlora/forward/mapped_files.h"
#include "longlora/forward/rotary_tables.h"
#include "longlora/model/stored_model.h"
#include "tests/model/tiny_models.h"
#include "tests/support/counting_allocator.h"
#include "tests/support/temporary_directory.h"
#include "tests/support/tensors.h"

namespace longlora::forward {
namespace {

constexpr int64_t kPlenty = int64_t{1} << 40;

model::ModelConfig config_of(const char* architecture, int64_t layers) {
  return model::parse_model_config({{"architectures", {architecture}},
                                    {"vocab_size", 512},
                                    {"hidden_size", 128},
                                    {"intermediate_size", 344},
                                    {"num_hidden_layers", layers},
                                    {"num_attention_heads", 4},
                                    {"num_key_value_heads", 2},
                                    {"hidden_act", "silu"},
                                    {"rope_theta", 10000.0},
                                    {"pad_token_id", 0},
                                    {"tie_word_embeddings", false},
                                    {"max_position_embeddings", 16384}},
                                   "test");
}

constexpr int64_t kRowTokens = 512;

/// The most that tensors hold beyond the weights while rows of kRowTokens, `tokens` in all, are scored.
int64_t peak_of(const model::Decoder& decoder, const LayerSource& source, int64_t tokens, int64_t tile_rows) {
  auto& allocator = test::CountingAllocator::instance();
  allocator.reset();
  const at::Tensor ids = test::random_ids({tokens}, decoder.config.vocab_size, 1);
  const int64_t rows = tokens / kRowTokens;
  const ops::SegmentPlan plan = ops::make_segment_plan({.num_rows = rows, .row_tokens = kRowTokens});
  Segments segments(plan, rows);
  RotaryTables rotary(decoder);
  const at::Tensor hidden = forward(decoder, {ids, rotary.rows(rows, kRowTokens), rows}, segments, source,
                                    {.tile_rows = tile_rows});
  cross_entropy(decoder, hidden, ids, source, {.tile_rows = tile_rows, .want_losses = true});
  return allocator.peak_bytes();
}

TEST(PassMemory, IsWhatThePlanPredicts) {
  test::CountingAllocator::instance();
  constexpr int64_t kTokens = 16384;
  for (const char* architecture : {"LlamaForCausalLM", "Qwen3ForCausalLM", "GPTNeoXForCausalLM",
                                   "Phi3ForCausalLM", "StableLmForCausalLM"})
    for (const int64_t tile_rows : {0, 4096, 512}) {
      SCOPED_TRACE(::testing::Message() << architecture << " " << tile_rows);
      const auto decoder = model::random_decoder(config_of(architecture, 3), at::kBFloat16, 1);
      const PassPlan plan = predict_pass(decoder, {.tokens = kTokens, .row_tokens = kRowTokens}, tile_rows);
      const auto held = static_cast<double>(peak_of(decoder, *resident(), kTokens, tile_rows));
      const auto predicted = static_cast<double>(plan.pass_bytes);
      EXPECT_LT(held, 1.05 * predicted) << held / 1e6 << " of " << predicted / 1e6;
      EXPECT_GT(held, 0.75 * predicted) << held / 1e6 << " of " << predicted / 1e6;
    }
}

TEST(PassMemory, LeavesEverythingAsItIsWhereMemoryIsPlentiful) {
  const auto decoder = model::shape_decoder(config_of("LlamaForCausalLM", 3), at::kFloat);
  const PassPlan plan = plan_pass(
      decoder, {.tokens = 8192, .budget_bytes = kPlenty, .streamable = streamable_weights(decoder)});
  EXPECT_TRUE(plan.fits);
  EXPECT_FALSE(plan.weights_streamed);
  EXPECT_EQ(plan.tile_rows, 0);
}

TEST(PassMemory, ScoresAModelThatIsLargerThanWhatItHolds) {
  const test::TemporaryDirectory folder;
  const model::ModelConfig config = config_of("LlamaForCausalLM", 24);
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
  EXPECT_LT(peak_of(decoder, source, kTokens, plan.tile_rows), plan.pass_bytes);
  EXPECT_LT(plan.weights_bytes, all / 10);
}

}  // namespace
}  // namespace longlora::forward
