#include "longlora/eval/score.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "longlora/core/error.h"
#include "longlora/core/json.h"
#include "longlora/model/load.h"
#include "tests/eval/test_data.h"

namespace longlora::eval {
namespace {

using testing::HasSubstr;
using testing::ThrowsMessage;
using Ids = std::vector<int64_t>;

TEST(Score, EqualsTransformersTokenByToken) {
  for (const Json& golden : read_json(test_data("goldens/evaluation/score.json"))) {
    const std::string name = golden["model"];
    const auto decoder = model::load_decoder(test_data(name), at::kFloat);
    const auto ids = golden["ids"].get<Ids>();
    const auto logprobs = token_logprobs(decoder, ids, decoder.config.context_window());
    ASSERT_EQ(logprobs.size(), ids.size() - 1);
    for (size_t i = 0; i < logprobs.size(); ++i)
      EXPECT_NEAR(logprobs[i], golden["logprobs"][i].get<double>(), 1e-4) << name << ", token " << i + 1;
  }
}

TEST(Score, RefusesIdsThatCannotBeScored) {
  const auto decoder = model::load_decoder(test_data("stories260K_hf"), at::kFloat);
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
