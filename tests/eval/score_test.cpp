#include "longlora/eval/score.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "longlora/core/error.h"
#include "longlora/core/json.h"
#include "longlora/model/load.h"
#include "tests/model/tiny_models.h"
#include "tests/support/data_path.h"

namespace longlora::eval {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::ThrowsMessage;
using Ids = std::vector<int64_t>;

TEST(Score, EqualsTransformersTokenByToken) {
  for (const Json& golden : read_json(test::data_path("goldens/evaluation/score.json"))) {
    const std::string name = golden["model"];
    const auto decoder = model::load_decoder(test::data_path(name), at::kFloat);
    const auto ids = golden["ids"].get<Ids>();
    const auto logprobs = token_logprobs(decoder, ids, decoder.config.context_window());
    ASSERT_EQ(logprobs.size(), ids.size() - 1);
    for (size_t i = 0; i < logprobs.size(); ++i)
      EXPECT_NEAR(logprobs[i], golden["logprobs"][i].get<double>(), 1e-4) << name << ", token " << i + 1;
  }
}

TEST(Score, UsesTheAnglesOfTheLengthThatIsScored) {
  for (const char* name : {"llama_dynamic", "llama_longrope", "phi3_longrope", "neox_dynamic", "mistral"})
    for (const char* tensor : {"logits", "below.logits"}) {
      SCOPED_TRACE(std::string(name) + " " + tensor);
      const auto decoder = model::load_decoder(model::family_model(name), at::kFloat);
      const auto golden =
          checkpoint::TensorStore::open_file(model::family_model(name) / "golden.safetensors");
      const at::Tensor expected = at::log_softmax(golden.load(tensor)[0], -1), row = golden.load("ids")[0];
      const int64_t tokens = expected.size(0);
      const Ids ids(row.const_data_ptr<int64_t>(), row.const_data_ptr<int64_t>() + tokens);
      const auto logprobs = token_logprobs(decoder, ids, 64);
      for (int64_t i = 0; i + 1 < tokens; ++i)
        EXPECT_NEAR(logprobs[i], expected[i][ids[i + 1]].item<double>(), 2e-4) << "token " << i + 1;
    }
}

TEST(Score, EndsWhereOneElementOfAnyWeightIsNotFinite) {
  for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16})
    for (const char* name : {"goldens/tiny_models/gqa_untied", "goldens/families/neox",
                             "goldens/families/phi3", "goldens/families/qwen3"}) {
      model::Decoder decoder = model::load_decoder(test::data_path(name), dtype);
      const Ids ids = {5, 9, 30, 2, 41, 9, 5};
      std::vector<std::pair<std::string, model::Parameter*>> weights;
      model::visit_parameters(decoder, [&](const std::string& weight, model::Parameter& parameter) {
        weights.emplace_back(weight, &parameter);
      });
      for (const auto& [weight, parameter] : weights)
        for (const float wrong : {std::nanf(""), HUGE_VALF}) {
          const at::Tensor right = parameter->value.dense();
          const at::Tensor changed = right.clone();
          parameter->value = changed;
          // Of the embedding the row of a token that is there.
          (changed.dim() == 2 ? changed[9][0] : changed[1]).fill_(wrong);
          EXPECT_THAT(
              [&] { token_logprobs(decoder, ids, 16); },
              ThrowsMessage<InputError>(AllOf(HasSubstr("of the text] expected a finite loss, got "),
                                              HasSubstr(weight + " holds numbers that are not finite"))))
              << weight << " " << wrong;
          parameter->value = right;
        }
    }
}

TEST(Score, SaysWhereNumbersOutgrowTheDtype) {
  model::Decoder decoder =
      model::load_decoder(test::data_path("goldens/tiny_models/gqa_untied"), at::kBFloat16);
  decoder.blocks[2].down_proj.weight.value.dense().mul_(1e30).clamp_(-3e38, 3e38);
  decoder.blocks[2].up_proj.weight.value.dense().mul_(1e20);
  EXPECT_THAT(
      [&] {
        token_logprobs(decoder, Ids{5, 9, 30}, 16);
      },
      ThrowsMessage<InputError>(AllOf(HasSubstr("token 1 of the text"), HasSubstr("every weight is finite"),
                                      HasSubstr("--dtype float32"))));
}

TEST(Score, RefusesIdsThatCannotBeScored) {
  const auto decoder = model::load_decoder(test::data_path("stories260K_hf"), at::kFloat);
  EXPECT_THAT([&] { token_logprobs(decoder, Ids{1}, 512); },
              ThrowsMessage<InputError>(HasSubstr("[score] expected at least two tokens")));
  EXPECT_THAT(
      [&] {
        token_logprobs(decoder, Ids{1, 512}, 512);
      },
      ThrowsMessage<InputError>(HasSubstr("[ids] expected ids in [0, 512)")));
  EXPECT_THAT([&] { token_logprobs(decoder, Ids(513, 1), 512); },
              ThrowsMessage<InputError>(HasSubstr("[score] expected at most 512 tokens, got 513")));
}

}  // namespace
}  // namespace longlora::eval
