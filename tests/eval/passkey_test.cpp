#include "longlora/eval/passkey.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "longlora/core/error.h"
#include "longlora/generate/engine.h"
#include "longlora/generate/runtime.h"
#include "longlora/model/load.h"
#include "tests/support/data_path.h"

namespace longlora::eval {
namespace {

using testing::HasSubstr;
using testing::ThrowsMessage;

// Every character is one id, and BOS (0) comes first: prompts have known lengths.
class CharacterTokenizer : public tokenizer::Tokenizer {
 public:
  tokenizer::Ids encode(std::string_view text, bool add_special_tokens) const override {
    tokenizer::Ids ids;
    if (add_special_tokens) ids.push_back(0);
    for (const char c : text) ids.push_back(static_cast<unsigned char>(c));
    return ids;
  }
  tokenizer::Ids encode_around(std::string_view text, std::span<const tokenizer::TextRange>) const override {
    return encode(text, false);
  }
  std::string decode(const tokenizer::Ids& ids) const override { return {ids.begin(), ids.end()}; }
  std::string token_bytes(int32_t id) const override { return {static_cast<char>(id)}; }
  int64_t vocab_size() const override { return 128; }
  std::optional<int32_t> bos_id() const override { return 0; }
  std::optional<int32_t> eos_id() const override { return 1; }
  const std::string& fingerprint() const override { return fingerprint_; }

 private:
  std::string fingerprint_ = "characters";
};

// A decoder without layers that follows each character of `cycle` with the
// next one: embedding and head alone decide.
model::Decoder successor_decoder(const std::string& cycle) {
  model::ModelConfig config;
  config.vocab_size = 128;
  config.hidden_size = 128;
  config.num_attention_heads = 2;
  config.num_key_value_heads = 2;
  config.head_dim = 64;
  config.max_position_embeddings = 4096;
  model::Decoder decoder;
  decoder.config = config;
  decoder.embed_tokens.value = at::eye(128, at::kFloat);
  decoder.norm.weight.value = at::ones({128}, at::kFloat);
  const at::Tensor head = at::zeros({128, 128}, at::kFloat);
  decoder.lm_head.value = head;
  for (size_t i = 0; i + 1 < cycle.size(); ++i)
    head[static_cast<unsigned char>(cycle[i + 1])][static_cast<unsigned char>(cycle[i])] = 1.0;
  return decoder;
}

std::unique_ptr<generate::Generator> engine_of(const model::Decoder& decoder) {
  return std::make_unique<generate::Engine>(decoder, 4096);
}

TEST(Passkey, CountsExactlyTheAnswersThatEqualTheKey) {
  // Seed 0 asks for 43568 and seed 1 for 33004; the text ends in "is".
  const model::Decoder decoder = successor_decoder("s43568");
  const CharacterTokenizer tokenizer;
  const auto results = run_passkey(*engine_of(decoder), tokenizer,
                                   {.target_tokens = {300}, .num_tests = 2, .context_size = 4096});
  ASSERT_EQ(results.size(), 1u);
  const results::PasskeyLength& result = results[0];
  ASSERT_EQ(result.trials.size(), 2u);
  EXPECT_TRUE(result.trials[0].correct);
  EXPECT_EQ(result.trials[0].answer, "43568");
  EXPECT_EQ(result.trials[0].pass_key, 43568);
  EXPECT_FALSE(result.trials[1].correct);
  EXPECT_EQ(result.trials[1].answer, "43568");
  EXPECT_EQ(result.trials[1].pass_key, 33004);
  EXPECT_DOUBLE_EQ(result.accuracy, 0.5);
  EXPECT_EQ(result.garbage_chars, 1024);
  EXPECT_EQ(result.trials[0].tokens, 1272);  // 1271 characters and BOS
  EXPECT_DOUBLE_EQ(result.mean_tokens, 1272.0);
  EXPECT_DOUBLE_EQ(result.trials[0].depth, 684.0 / 1024.0);
}

TEST(Passkey, AnAnswerThatEndsTooEarlyIsWrong) {
  const auto results = run_passkey(*engine_of(successor_decoder("s4356\x01")), CharacterTokenizer(),
                                   {.target_tokens = {300}, .num_tests = 1, .context_size = 4096});
  EXPECT_FALSE(results[0].trials[0].correct);
  EXPECT_EQ(results[0].trials[0].answer, "4356");
}

TEST(Passkey, LeavesOutPromptsThatDoNotFitWithTheirAnswer) {
  const model::Decoder decoder = successor_decoder("s43568");
  const CharacterTokenizer tokenizer;
  const auto run = [&](int64_t context_size) {
    return run_passkey(*engine_of(decoder), tokenizer,
                       {.target_tokens = {300, 600}, .num_tests = 2, .context_size = context_size});
  };
  const auto fits = run(1277);  // 1272 and five digits
  EXPECT_EQ(fits[0].num_skipped, 0);
  EXPECT_EQ(fits[1].num_skipped, 2);
  EXPECT_TRUE(fits[1].trials.empty());
  EXPECT_EQ(run(1276)[0].num_skipped, 2);
}

TEST(Passkey, RunsARealModelAndTokenizer) {
  const generate::Runtime model = generate::open_runtime({.base_model = test::data_path("stories260K_hf"),
                                                          .peft_model = {},
                                                          .context_size = 1024,
                                                          .rope_scaling = {}});
  const auto tokenizer = tokenizer::load_tokenizer(test::data_path("stories260K_hf"));
  const auto results = run_passkey(*engine_of(*model.decoder), *tokenizer,
                                   {.target_tokens = {300}, .num_tests = 2, .context_size = 1024});
  ASSERT_EQ(results[0].trials.size(), 2u);
  for (const results::PasskeyTrial& trial : results[0].trials) {
    EXPECT_FALSE(trial.correct);  // it only knows stories
    EXPECT_GT(trial.tokens, 300);
  }
}

TEST(Passkey, RefusesOptionsOutOfRange) {
  const model::Decoder decoder = successor_decoder("s1");
  const auto run = [&](const PasskeyOptions& options) {
    run_passkey(*engine_of(decoder), CharacterTokenizer(), options);
  };
  EXPECT_THAT([&] { run({.target_tokens = {}, .context_size = 512}); },
              ThrowsMessage<UsageError>(HasSubstr("[--lengths] expected at least one length")));
  EXPECT_THAT(
      [&] {
        run({.target_tokens = {512, 200}, .context_size = 512});
      },
      ThrowsMessage<UsageError>(HasSubstr("expected at least 274 tokens")));
  EXPECT_THAT([&] { run({.target_tokens = {512}, .num_tests = 0, .context_size = 512}); },
              ThrowsMessage<UsageError>(HasSubstr("[--num_tests]")));
  EXPECT_THAT([&] { run({.target_tokens = {512}}); },
              ThrowsMessage<UsageError>(HasSubstr("[--context_size]")));
}

}  // namespace
}  // namespace longlora::eval
