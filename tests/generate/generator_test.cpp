#include "longlora/generate/generator.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "longlora/core/error.h"
#include "longlora/core/file.h"
#include "longlora/core/json.h"
#include "longlora/tokenizer/tokenizer.h"
#include "tests/generate/test_models.h"
#include "tests/model/tiny_models.h"

namespace longlora::generate {
namespace {

using testing::HasSubstr;
using testing::ThrowsMessage;
using Ids = std::vector<int64_t>;

/// Feeds ids one by one after the first `prompt` and compares with the full forward pass at every place.
void expect_decode_equals_forward(const model::Decoder& decoder, const Ids& ids, size_t prompt,
                                  double tolerance) {
  const at::Tensor expected = full_forward(decoder, ids);
  DecodeSession session(decoder, static_cast<int64_t>(ids.size()));
  at::Tensor logits = session.feed(std::span(ids).first(prompt));
  EXPECT_LT(largest_difference(logits, expected[static_cast<int64_t>(prompt) - 1]), tolerance);
  for (size_t i = prompt; i < ids.size(); ++i) {
    logits = session.feed(std::span(ids).subspan(i, 1));
    ASSERT_LT(largest_difference(logits, expected[static_cast<int64_t>(i)]), tolerance) << "place " << i;
  }
}

TEST(DecodeSession, OneTokenAtATimeEqualsTheFullForwardPass) {
  for (const auto& [heads, kv_heads] : {std::pair(4, 4), std::pair(4, 2), std::pair(6, 3), std::pair(4, 1)})
    expect_decode_equals_forward(small_decoder(heads, kv_heads), walk(40), 1, 2e-4);
}

TEST(DecodeSession, OneTokenAtATimeEqualsTheFullForwardPassInBfloat16) {
  const model::Decoder decoder = small_decoder(4, 2, at::kBFloat16);
  const double scale = full_forward(decoder, walk(30)).abs().max().item<double>();
  expect_decode_equals_forward(decoder, walk(30), 7, 0.03 * scale);
}

TEST(DecodeSession, FollowsRotaryScaling) {
  for (const char* name : {"goldens/tiny_models/yarn_x8", "goldens/tiny_models/linear_x4"})
    expect_decode_equals_forward(model::load_decoder(test_data(name), at::kFloat), walk(50), 20, 1e-4);
}

TEST(DecodeSession, PrefillInChunksEqualsOneShot) {
  for (const int64_t kv_heads : {4, 2, 1}) {
    const model::Decoder decoder = small_decoder(4, kv_heads);
    const Ids ids = walk(61);
    const at::Tensor expected = DecodeSession(decoder).feed(ids);
    for (const int64_t chunk : {1, 7, 30, 60, 61})
      EXPECT_LT(largest_difference(DecodeSession(decoder, 0, chunk).feed(ids), expected), 2e-4)
          << "chunk " << chunk;
  }
}

TEST(DecodeSession, StartsAfreshAfterReset) {
  const model::Decoder decoder = small_decoder(4, 2);
  DecodeSession session(decoder);
  const at::Tensor first = session.feed(walk(20));
  session.feed(walk(30));
  session.reset();
  EXPECT_TRUE(session.feed(walk(20)).equal(first));
}

TEST(DecodeSession, RefusesIdsBeyondTheVocabularyAndStaysAsItWas) {
  const model::Decoder decoder = small_decoder(4, 2);
  DecodeSession session(decoder);
  session.feed(walk(5));
  const std::string expected =
      "[ids] expected ids in [0, 61), the rows of the model's embedding, got 61 at position 2";
  EXPECT_THAT([&] { session.feed(Ids{1, 2, 61}); }, ThrowsMessage<InputError>(HasSubstr(expected)));
  EXPECT_THAT([&] { session.feed(Ids{-1}); }, ThrowsMessage<InputError>(HasSubstr("got -1 at position 0")));
  EXPECT_THAT([&] { session.feed(Ids{}); }, ThrowsMessage<InputError>(HasSubstr("at least one token")));
  EXPECT_EQ(session.cache().num_tokens(), 5);
}

TEST(DecodeSession, EndsWhereLogitsAreNotFinite) {
  model::Decoder decoder = small_decoder(4, 2);
  const at::Tensor embedding = decoder.embed_tokens.value.dense().clone();
  for (const float wrong : {std::nanf(""), HUGE_VALF}) {
    decoder.embed_tokens.value = embedding.clone();
    decoder.embed_tokens.value.dense().select(0, 33)[2].fill_(wrong);
    decoder.lm_head.value = embedding.clone();
    DecodeSession session(decoder);
    session.feed(Ids{1, 2, 3});
    EXPECT_THAT([&] { session.feed(Ids{33}); },
                ThrowsMessage<InputError>(testing::AllOf(
                    HasSubstr("[logits] expected finite numbers after token 4 of the text, got "),
                    HasSubstr("model.embed_tokens.weight holds numbers that are not finite"))));
    DecodeSession whole(decoder);
    EXPECT_THROW(generate(whole, Ids{1, 33, 2}, {}), InputError);
  }
}

TEST(DecodeSession, RefusesAPromptLongerThanTheContext) {
  const model::Decoder decoder = small_decoder(4, 2);
  DecodeSession session(decoder);
  EXPECT_THAT([&] { session.feed(walk(65)); },
              ThrowsMessage<InputError>(HasSubstr("[context] expected at most 64 tokens, got 65; shorten")));
  session.feed(walk(60));
  EXPECT_THAT([&] { session.feed(walk(5)); },
              ThrowsMessage<InputError>(HasSubstr("[context] expected at most 64 tokens, got 65")));
  EXPECT_EQ(session.cache().num_tokens(), 60);
}

/// The likeliest ids by full forward passes over ever longer sequences.
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

TEST(DecodeSession, GoesOverToTheLongFactorsAsIfItHadBegunWithThem) {
  for (const char* name : {"phi3_longrope", "phi3_partial"}) {
    SCOPED_TRACE(name);
    const model::Decoder decoder = model::load_decoder(model::family_model(name), at::kFloat);
    Ids ids = walk(30);
    for (int64_t& id : ids) id %= 48;
    DecodeSession whole(decoder, 64), parts(decoder, 64);
    const at::Tensor expected = whole.feed(ids);
    parts.feed(std::span(ids).first(10));
    parts.feed(std::span(ids).subspan(10, 6));  // 16: the original window is full
    parts.feed(std::span(ids).subspan(16, 1));
    const at::Tensor logits = parts.feed(std::span(ids).subspan(17));
    EXPECT_EQ(parts.cache().num_tokens(), 30);
    EXPECT_LT(largest_difference(logits, expected), 2e-4);
  }
}

class Stories : public testing::Test {
 protected:
  model::Decoder decoder_ = model::load_decoder(test_data("stories260K_hf"), at::kFloat);
  Json golden_ = read_json(test_data("goldens/stories260K/greedy.json"));
};

TEST_F(Stories, GreedyGenerationEqualsTransformersAndLlama2c) {
  const Ids expected = golden_["ids"].get<Ids>();
  DecodeSession session(decoder_);
  const Generation generation = generate(session, std::span(expected).first(1), {.max_new_tokens = 200});
  EXPECT_EQ(generation.ids, Ids(expected.begin() + 1, expected.end()));
  const auto tokenizer = tokenizer::load_tokenizer(test_data("stories260K_hf"));
  const std::string text = tokenizer->decode({generation.ids.begin(), generation.ids.end()});
  EXPECT_EQ(text, read_file(test_data("goldens/stories260K/expected_greedy_200.txt")));
}

TEST_F(Stories, GreedyGenerationAfterAChunkedPromptGoesOnTheSameWay) {
  const Ids expected = golden_["ids"].get<Ids>();
  DecodeSession session(decoder_, 0, /*prefill_chunk_tokens=*/16);
  const Generation generation = generate(session, std::span(expected).first(101), {.max_new_tokens = 100});
  EXPECT_EQ(generation.ids, Ids(expected.begin() + 101, expected.end()));
}

}  // namespace
}  // namespace longlora::generate
