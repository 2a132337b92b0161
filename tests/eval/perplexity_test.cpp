#include "longlora/eval/perplexity.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "longlora/core/error.h"
#include "longlora/core/json.h"
#include "longlora/eval/score.h"
#include "longlora/generate/runtime.h"
#include "longlora/model/decoder.h"
#include "tests/support/data_path.h"

namespace longlora::eval {
namespace {

using testing::HasSubstr;
using testing::ThrowsMessage;

generate::Runtime open(const std::string& name, int64_t context_size) {
  return generate::open_runtime({.base_model = test::data_path(name),
                                 .peft_model = {},
                                 .context_size = context_size,
                                 .rope_scaling = {}});
}

std::unique_ptr<data::TokenData> open_ids(const std::string& name, const generate::Runtime& model) {
  return data::open_token_data({test::data_path(name)}, {.vocab_size = model.vocab_size});
}

results::PerplexityPoint evaluate(const generate::Runtime& model, const data::TokenData& data,
                                  int64_t seq_len, const WindowOptions& windows, int64_t batch_size = 0) {
  return evaluate_perplexity(*model.decoder, data,
                             {.seq_lens = {seq_len}, .windows = windows, .batch_size = batch_size})
      .at(0);
}

class EvaluationGolden : public testing::TestWithParam<const char*> {
 protected:
  Json golden_ = read_json(test::data_path("goldens/evaluation/eval.json"))[GetParam()];
  generate::Runtime model_ = open(golden_["model"], golden_["context_size"]);
  std::unique_ptr<data::TokenData> data_ = open_ids(golden_["data"], model_);
  int64_t seq_len_ = golden_["seq_len"];
};

TEST_P(EvaluationGolden, AllWindowsEqualTheReleasedDefinition) {
  const results::PerplexityPoint result = evaluate(model_, *data_, seq_len_, {});
  const Json& whole = golden_["whole"];
  EXPECT_EQ(result.num_windows, golden_["windows"]);
  EXPECT_NEAR(result.loss / whole["val_loss"].get<double>(), 1.0, 1e-5);
  EXPECT_NEAR(result.perplexity / whole["val_perplexity"].get<double>(), 1.0, 1e-5);
  EXPECT_NEAR(result.accuracy, whole["val_acc"].get<double>(), 1e-9);
  ASSERT_EQ(result.window_losses.size(), whole["window_losses"].size());
  for (size_t i = 0; i < result.window_losses.size(); ++i)
    EXPECT_NEAR(result.window_losses[i] / whole["window_losses"][i].get<double>(), 1.0, 1e-5)
        << "window " << i;
}

TEST_P(EvaluationGolden, LastTokensEqualTheSlidingWindow) {
  const results::PerplexityPoint result = evaluate(model_, *data_, seq_len_, {.mode = WindowMode::kLast});
  const Json& last = golden_["last"];
  EXPECT_EQ(result.num_windows, golden_["windows"]);
  EXPECT_EQ(result.num_tokens, last["tokens"]);
  EXPECT_NEAR(result.loss / last["val_loss"].get<double>(), 1.0, 1e-5);
  EXPECT_NEAR(result.perplexity / last["val_perplexity"].get<double>(), 1.0, 1e-5);
  EXPECT_NEAR(result.accuracy, last["val_acc"].get<double>(), 1e-9);
}

TEST_P(EvaluationGolden, DoesNotDependOnTheBatchSize) {
  const results::PerplexityPoint one = evaluate(model_, *data_, seq_len_, {}, 1);
  for (const int64_t batch_size : {2, 3, 100}) {
    const results::PerplexityPoint result = evaluate(model_, *data_, seq_len_, {}, batch_size);
    EXPECT_NEAR(result.loss, one.loss, 1e-6 * one.loss) << batch_size;
    EXPECT_EQ(result.num_windows, one.num_windows);
  }
}

INSTANTIATE_TEST_SUITE_P(Transformers, EvaluationGolden,
                         testing::Values("inside_the_window", "scaled_by_five", "carries_rope_scaling",
                                         "trained_model", "trained_model_long_windows"),
                         [](const auto& test) { return std::string(test.param); });

TEST(Perplexity, SameTargetsScoresTheSpanGivenWhatIsBeforeIt) {
  const generate::Runtime model = open("stories260K_hf", 512);
  const auto data = open_ids("goldens/evaluation/stories.bin", model);
  const WindowOptions options = {.mode = WindowMode::kSameTargets, .max_windows = 3, .target_tokens = 40};
  const auto results =
      evaluate_perplexity(*model.decoder, *data, {.seq_lens = {60, 300}, .windows = options});
  ASSERT_EQ(results.size(), 2u);
  for (const results::PerplexityPoint& result : results) {
    double sum = 0.0;
    for (const int64_t end : {int64_t{300}, (300 + data->size()) / 2, data->size()}) {
      std::vector<int64_t> ids(static_cast<size_t>(result.seq_len));
      data->read(end - result.seq_len, ids);
      const auto logprobs = token_logprobs(*model.decoder, ids, 512);
      for (size_t i = logprobs.size() - 40; i < logprobs.size(); ++i) sum -= logprobs[i];
    }
    EXPECT_EQ(result.num_windows, 3);
    EXPECT_EQ(result.num_tokens, 120);
    EXPECT_NEAR(result.loss, sum / 120.0, 1e-5);
    EXPECT_NEAR(result.perplexity, std::exp(result.loss), 1e-9 * result.perplexity);
  }
  // Both lengths score one text: more of it before the span helps a trained model.
  EXPECT_LT(results[1].loss, results[0].loss);
  WindowOptions with_room = options;
  with_room.longest_seq_len = 300;
  const auto alone = evaluate_perplexity(*model.decoder, *data, {.seq_lens = {60}, .windows = with_room});
  EXPECT_EQ(alone.at(0).window_losses, results[0].window_losses) << "one length, the same tokens";
}

TEST(Perplexity, BFloat16IsCloseToFloat32) {
  const generate::Runtime exact = open("stories260K_hf", 512);
  const generate::Runtime rounded = generate::open_runtime({.base_model = test::data_path("stories260K_hf"),
                                                            .peft_model = {},
                                                            .context_size = 512,
                                                            .rope_scaling = {},
                                                            .dtype = "bfloat16"});
  const auto data = open_ids("goldens/evaluation/stories.bin", exact);
  EXPECT_NEAR(evaluate(rounded, *data, 256, {}).loss, evaluate(exact, *data, 256, {}).loss, 0.02);
}

TEST(Perplexity, EndsAtTheTokenWhoseLossIsNotFinite) {
  const generate::Runtime model = open("stories260K_hf", 512);
  const auto data = open_ids("goldens/evaluation/stories.bin", model);
  const auto decoder = std::const_pointer_cast<model::Decoder>(model.decoder);
  decoder->norm.weight.value.dense()[3].fill_(std::nanf(""));
  EXPECT_THAT([&] { evaluate(model, *data, 128, {.mode = WindowMode::kLast}); },
              ThrowsMessage<InputError>(testing::AllOf(
                  HasSubstr("[token 1 of the data, in the window from 0 on] expected a finite loss, got "),
                  HasSubstr("nan; model.norm.weight holds numbers"))));
}

TEST(Perplexity, RefusesOptionsAndDataThatDoNotFit) {
  const generate::Runtime model = open("stories260K_hf", 512);
  const auto data = open_ids("goldens/evaluation/stories.bin", model);
  const auto run = [&](const PerplexityOptions& options) {
    evaluate_perplexity(*model.decoder, *data, options);
  };
  EXPECT_THAT([&] { run({.seq_lens = {}, .windows = {}}); },
              ThrowsMessage<UsageError>(HasSubstr("[--seq_len] expected at least one length")));
  EXPECT_THAT([&] { run({.seq_lens = {128}, .windows = {}, .batch_size = -1}); },
              ThrowsMessage<UsageError>(HasSubstr("[--batch_size] expected 0 (automatic) or more, got -1")));
  EXPECT_THAT(
      [&] {
        run({.seq_lens = {128, 1700}, .windows = {}});
      },
      ThrowsMessage<InputError>(HasSubstr("expected at least 1957 tokens for windows of 1700, got 1750")));
}

}  // namespace
}  // namespace longlora::eval
