#include "longlora/generate/generate.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "longlora/core/file.h"
#include "longlora/core/json.h"
#include "longlora/tokenizer/tokenizer.h"
#include "tests/generate/test_models.h"
#include "tests/model/tiny_models.h"
#include "tests/support/data_path.h"

namespace longlora::generate {
namespace {

using Ids = std::vector<int64_t>;

// The likeliest ids by full forward passes over ever longer sequences.
Ids greedy_without_cache(const model::Decoder& decoder, Ids ids, size_t count) {
  Ids result;
  for (; result.size() < count; ids.push_back(result.back()))
    result.push_back(full_forward(decoder, ids)[-1].argmax().item<int64_t>());
  return result;
}

TEST(Generate, EqualsGreedyDecodingWithoutACache) {
  const model::Decoder decoder = small_decoder(4, 2);
  DecodeSession session(decoder);
  const Generation generation = generate(session, walk(9), {.max_new_tokens = 30});
  EXPECT_EQ(generation.ids, greedy_without_cache(decoder, walk(9), 30));
  EXPECT_EQ(generation.reason, StopReason::kMaxTokens);
}

TEST(Generate, StopsAtAStopIdWithoutReturningIt) {
  const model::Decoder decoder = small_decoder(4, 2);
  const Ids free_run = greedy_without_cache(decoder, walk(9), 12);
  const int64_t stop = free_run.back();
  const auto first = std::find(free_run.begin(), free_run.end(), stop);
  DecodeSession session(decoder);
  const Generation generation = generate(session, walk(9), {.stop_ids = {stop}, .max_new_tokens = 30});
  EXPECT_EQ(generation.ids, Ids(free_run.begin(), first));
  EXPECT_EQ(generation.reason, StopReason::kStopId);
}

TEST(Generate, StopsWhenTheContextIsFull) {
  const model::Decoder decoder = small_decoder(4, 2);
  DecodeSession session(decoder);
  const Generation generation = generate(session, walk(60), {.max_new_tokens = 30});
  EXPECT_EQ(generation.reason, StopReason::kContextFull);
  EXPECT_EQ(generation.ids, greedy_without_cache(decoder, walk(60), 5));  // one more than there are places
}

TEST(Generate, StopsWhenTheCallerSaysSo) {
  const model::Decoder decoder = small_decoder(4, 2);
  DecodeSession session(decoder);
  Ids heard;
  const Generation generation =
      generate(session, walk(9), {.max_new_tokens = 30}, pick_greedy, [&](int64_t id) {
        heard.push_back(id);
        return heard.size() < 3;
      });
  EXPECT_EQ(generation.reason, StopReason::kCaller);
  EXPECT_EQ(heard.size(), 3u);
  EXPECT_EQ(generation.ids, heard);
}

TEST(Generate, EqualsTheGreedyGenerationOfTransformersForEveryFamily) {
  for (const char* name : model::kFamilyModels) {
    SCOPED_TRACE(name);
    const model::Decoder decoder = model::load_decoder(model::family_model(name), at::kFloat);
    const auto golden = checkpoint::TensorStore::open_file(model::family_model(name) / "golden.safetensors")
                            .load("generated");
    const Ids expected(golden.const_data_ptr<int64_t>(), golden.const_data_ptr<int64_t>() + golden.numel());
    for (const int64_t chunk : {4, 64}) {
      DecodeSession session(decoder, 64, chunk);
      for (int round = 0; round < 2; ++round) {  // a second sequence starts with the angles of a short one
        const Generation generation = generate(session, std::span(expected).first(9), {.max_new_tokens = 14});
        EXPECT_EQ(generation.ids, Ids(expected.begin() + 9, expected.end()));
        session.reset();
      }
    }
  }
}

class Stories : public testing::Test {
 protected:
  model::Decoder decoder_ = model::load_decoder(test::data_path("stories260K_hf"), at::kFloat);
  Json golden_ = read_json(test::data_path("goldens/stories260K/greedy.json"));
};

TEST_F(Stories, GreedyGenerationEqualsTransformersAndLlama2c) {
  const Ids expected = golden_["ids"].get<Ids>();
  DecodeSession session(decoder_);
  const Generation generation = generate(session, std::span(expected).first(1), {.max_new_tokens = 200});
  EXPECT_EQ(generation.ids, Ids(expected.begin() + 1, expected.end()));
  const auto tokenizer = tokenizer::load_tokenizer(test::data_path("stories260K_hf"));
  const std::string text = tokenizer->decode({generation.ids.begin(), generation.ids.end()});
  EXPECT_EQ(text, read_file(test::data_path("goldens/stories260K/expected_greedy_200.txt")));
}

TEST_F(Stories, GreedyGenerationAfterAChunkedPromptGoesOnTheSameWay) {
  const Ids expected = golden_["ids"].get<Ids>();
  DecodeSession session(decoder_, 0, /*prefill_chunk_tokens=*/16);
  const Generation generation = generate(session, std::span(expected).first(101), {.max_new_tokens = 100});
  EXPECT_EQ(generation.ids, Ids(expected.begin() + 101, expected.end()));
}

}  // namespace
}  // namespace longlora::generate
