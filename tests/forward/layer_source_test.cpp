#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "longlora/forward/forward.h"
#include "longlora/forward/mapped_files.h"
#include "longlora/forward/rotary_tables.h"
#include "longlora/model/stored_model.h"
#include "tests/model/tiny_models.h"
#include "tests/support/tensors.h"

namespace longlora::forward {
namespace {

using ::testing::Contains;
using ::testing::Not;

// A model of which the large weights are in its files.
struct Streamed {
  model::Decoder decoder;
  std::shared_ptr<const MappedFiles> source;

  Streamed(const std::filesystem::path& folder, at::ScalarType dtype) {
    auto stored = model::open_stored_model(folder);
    const auto names = streamable_weights(model::shape_decoder(stored.config, dtype));
    decoder = model::load_decoder(folder, dtype, {.left_in_files = names});
    source = std::make_shared<const MappedFiles>(stored.weights, names, dtype);
  }
};

at::Tensor logits_with(const model::Decoder& decoder, const LayerSource& source) {
  const at::Tensor ids = test::random_ids({1, 21}, 40, 1);
  const ops::AttentionPlan plan = ops::make_segment_plan({.num_rows = 1, .row_tokens = 21});
  Segments segments(plan);
  RotaryTables rotary(decoder);
  return logits(decoder, forward(decoder, {ids, rotary.rows(1, 21)}, segments, source), source);
}

TEST(MappedFiles, GivesTheLogitsOfWeightsInMemoryToTheBit) {
  for (const char* name : {"mistral", "qwen3", "neox", "phi3", "stablelm"})
    for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16}) {  // mapped, and copied a layer at a time
      SCOPED_TRACE(name);
      const Streamed streamed(model::family_model(name), dtype);
      const auto in_memory = model::load_decoder(model::family_model(name), dtype);
      EXPECT_TRUE(streamed.decoder.blocks[0].down_proj.weight.value.is_meta());
      EXPECT_EQ(streamed.source->copies(),
                !are_stored_as(model::open_stored_model(model::family_model(name)).weights,
                               streamable_weights(in_memory), dtype));
      EXPECT_TRUE(
          at::equal(logits_with(streamed.decoder, *streamed.source), logits_with(in_memory, *resident())));
      EXPECT_TRUE(streamed.decoder.blocks[0].down_proj.weight.value.is_meta());
    }
}

TEST(MappedFiles, LeasesAreWholeLayersThatOutliveTheSource) {
  Streamed streamed(model::tiny_model("gqa_untied"), at::kFloat);
  const auto in_memory = model::load_decoder(model::tiny_model("gqa_untied"), at::kFloat);
  const Lease<model::Block> block = streamed.source->layer(streamed.decoder, 1);
  const Lease<model::Parameter> head = streamed.source->head(streamed.decoder);
  streamed.source.reset();
  EXPECT_TRUE(
      at::equal(block->up_proj.weight.value.dense(), in_memory.blocks[1].up_proj.weight.value.dense()));
  EXPECT_TRUE(at::equal(head->value.dense(), in_memory.lm_head.value.dense()));
  // What is in memory is the decoder's own.
  EXPECT_TRUE(block->input_layernorm.weight.value.dense().is_same(
      streamed.decoder.blocks[1].input_layernorm.weight.value.dense()));
}

TEST(MappedFiles, GivesTheEmbeddingWhereTheHeadIsTied) {
  const Streamed streamed(model::tiny_model("mha_tied"), at::kFloat);
  const auto head = streamed.source->head(streamed.decoder);
  EXPECT_TRUE(head->value.dense().is_same(streamed.decoder.embed_tokens.value.dense()));
}

TEST(MappedFiles, TakesTheLargeFrozenWeightsAlone) {
  auto decoder = model::load_decoder(model::family_model("neox"), at::kFloat);
  decoder.blocks[0].down_proj.weight.make_trainable();
  const auto names = streamable_weights(decoder);
  EXPECT_THAT(names, Contains("gpt_neox.layers.0.attention.dense.weight"));
  EXPECT_THAT(names, Contains("embed_out.weight"));
  EXPECT_THAT(names, Not(Contains("gpt_neox.layers.0.mlp.dense_4h_to_h.weight")));
  EXPECT_THAT(names, Not(Contains("gpt_neox.layers.0.attention.dense.bias")));
  EXPECT_THAT(names, Not(Contains("gpt_neox.embed_in.weight")));
}

TEST(Resident, HandsOutTheDecodersOwnWeights) {
  const auto decoder = model::load_decoder(model::tiny_model("gqa_untied"), at::kFloat);
  EXPECT_EQ(resident()->layer(decoder, 2).get(), &decoder.blocks[2]);
  EXPECT_EQ(resident()->head(decoder).get(), &decoder.lm_head);
}

}  // namespace
}  // namespace longlora::forward
