#include "longlora/forward/forward.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "longlora/forward/rotary_tables.h"
#include "tests/model/tiny_models.h"
#include "tests/support/plain_forward.h"
#include "tests/support/tensors.h"

namespace longlora::forward {
namespace {

using ::testing::ElementsAre;

// A pass over whole rows, with the last norm.
at::Tensor run(const model::Decoder& decoder, const at::Tensor& ids, const ForwardOptions& options = {}) {
  const int64_t rows = ids.size(0), tokens = ids.size(1);
  const ops::AttentionPlan plan = ops::make_segment_plan({.num_rows = rows, .row_tokens = tokens});
  Segments segments(plan);
  RotaryTables rotary(decoder);
  return model::final_norm(
      decoder, forward(decoder, {ids, rotary.rows(rows, tokens), rows}, segments, *resident(), options));
}

TEST(Forward, EqualsAPlainWalkOverTheLayersToTheBit) {
  for (const char* name : model::kFamilyModels) {
    SCOPED_TRACE(name);
    const auto decoder = model::load_decoder(model::family_model(name), at::kFloat);
    const at::Tensor ids = test::random_ids({2, 23}, 40, 1);
    EXPECT_TRUE(at::equal(run(decoder, ids), test::hidden_states(decoder, ids)));
  }
}

TEST(Forward, ComputesTheSameInTilesOfRows) {
  for (const char* name : {"mistral", "qwen3", "neox", "neox_sequential", "phi3", "stablelm_parallel"})
    for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16}) {
      SCOPED_TRACE(name);
      const auto decoder = model::load_decoder(model::family_model(name), dtype);
      const at::Tensor ids = test::random_ids({2, 23}, 40, 2);
      const at::Tensor whole = run(decoder, ids);
      for (const int64_t tile_tokens : {1, 7, 23, 45, 46, 100})
        EXPECT_CLOSE(run(decoder, ids, {.tile_tokens = tile_tokens}), whole,
                     dtype == at::kFloat ? 1e-5 : 3e-2);
    }
}

TEST(Forward, MakesTheWantedTokensOfEachRowAlone) {
  for (const char* name : {"mistral", "neox", "phi3"})
    for (const at::ScalarType dtype : {at::kFloat, at::kDouble}) {  // no kernel takes queries in double alone
      SCOPED_TRACE(name);
      auto decoder = model::load_decoder(model::family_model(name), at::kFloat);
      model::visit_parameters(decoder, [&](const std::string&, model::Parameter& parameter) {
        parameter.value = parameter.value.dense().to(dtype);
      });
      const at::Tensor ids = test::random_ids({3, 19}, 40, 3);
      const at::Tensor all = run(decoder, ids).view({3, 19, -1});
      for (const int64_t wanted : {1, 5, 19})
        for (const int64_t tile_tokens : {0, 4}) {
          const at::Tensor some = run(decoder, ids, {.tile_tokens = tile_tokens, .wanted_tokens = wanted});
          EXPECT_CLOSE(some.view({3, wanted, -1}), all.slice(1, 19 - wanted), 1e-5);
        }
    }
}

TEST(Forward, WantsNothingOfAPassThatOnlyTellsItsAttention) {
  // Notes what it is called with.
  struct Listener : Attend {
    std::vector<size_t> layers;
    std::vector<int64_t> queries, keys, windows;
    at::Tensor attend(size_t layer, int64_t window_tokens, const model::QueryKeyValue& qkv,
                      ops::KeptAttention* /*kept*/) override {
      layers.push_back(layer);
      queries.push_back(qkv.q.size(0));
      keys.push_back(qkv.k.size(0));
      windows.push_back(window_tokens);
      return at::zeros_like(qkv.q);
    }
  } listener;
  const auto decoder = model::load_decoder(model::family_model("mistral"), at::kFloat);
  RotaryTables rotary(decoder);
  const at::Tensor hidden = forward(decoder, {test::random_ids({11}, 40, 4), rotary.rows(1, 11)}, listener,
                                    *resident(), {.wanted_tokens = 0});
  EXPECT_EQ(hidden.size(0), 0);
  ASSERT_EQ(decoder.blocks.size(), 2u);
  EXPECT_THAT(listener.layers, ElementsAre(0, 1));
  EXPECT_THAT(listener.queries, ElementsAre(11, 0));
  EXPECT_THAT(listener.keys, ElementsAre(11, 11));
  EXPECT_THAT(listener.windows,
              ElementsAre(decoder.blocks[0].window_tokens, decoder.blocks[1].window_tokens));
}

TEST(Forward, LossesOfTilesAreThoseOfAll) {
  const auto decoder = model::load_decoder(model::tiny_model("gqa_untied"), at::kFloat);
  const at::Tensor hidden = test::random_tensor({37, decoder.config.hidden_size}, 5);
  at::Tensor labels = test::random_ids({37}, 96, 6);
  labels.slice(0, 9, 12).fill_(ops::kIgnoreLabel);
  const auto whole = cross_entropy(decoder, hidden, labels, *resident(), {.want_losses = true});
  const auto tiled = cross_entropy(decoder, hidden, labels, *resident(),
                                   {.tile_tokens = 10, .loss_chunk_rows = 3, .want_losses = true});
  EXPECT_EQ(tiled.num_labels, 34);
  EXPECT_EQ(tiled.num_correct, whole.num_correct);
  EXPECT_NEAR(tiled.loss_sum, whole.loss_sum, 1e-6 * whole.loss_sum);
  EXPECT_CLOSE(tiled.losses, whole.losses, 1e-6);
}

}  // namespace
}  // namespace longlora::forward
