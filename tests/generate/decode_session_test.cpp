#include "longlora/generate/decode_session.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "longlora/core/error.h"
#include "longlora/generate/generate.h"
#include "tests/generate/test_models.h"
#include "tests/model/tiny_models.h"

namespace longlora::generate {
namespace {

using testing::HasSubstr;
using testing::ThrowsMessage;
using Ids = std::vector<int64_t>;

// Feeds ids one by one after the first `prompt` and compares with the full forward pass at every place.
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
    expect_decode_equals_forward(model::load_decoder(test::data_path(name), at::kFloat), walk(50), 20, 1e-4);
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

}  // namespace
}  // namespace longlora::generate
