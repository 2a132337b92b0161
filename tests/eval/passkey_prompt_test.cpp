#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "longlora/core/error.h"
#include "longlora/core/file.h"
#include "longlora/core/json.h"
#include "longlora/eval/passkey.h"
#include "tests/support/data_path.h"

namespace longlora::eval {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::ThrowsMessage;

TEST(PasskeyPrompt, EqualsTheReleasedScriptsForEverySeedAndLength) {
  const Json golden = read_json(test::data_path("goldens/passkey/prompts.json"));
  size_t num_prompts = 0;
  for (const Json& length : golden["lengths"]) {
    const int64_t tokens = length["interval"].get<int64_t>() * (length["index"].get<int64_t>() + 1);
    const int64_t num_garbage = passkey_garbage_chars(tokens);
    ASSERT_EQ(num_garbage, length["num_garbage"]) << tokens;
    for (const Json& trial : length["trials"]) {
      const PasskeyPrompt prompt = make_passkey_prompt(num_garbage, trial["seed"].get<uint32_t>());
      EXPECT_EQ(prompt.pass_key, trial["pass_key"]);
      EXPECT_EQ(prompt.num_prefix, trial["num_prefix"]);
      EXPECT_EQ(prompt.text.size(), trial["length"]);
      EXPECT_EQ(sha256_hex(prompt.text), trial["sha256"]);
      ++num_prompts;
    }
  }
  EXPECT_EQ(num_prompts, 190u);
  EXPECT_EQ(make_passkey_prompt(1024, 0).text, golden["first_prompt"]);
}

TEST(PasskeyPrompt, DepthIsTheShareOfFillerBeforeTheKey) {
  const PasskeyPrompt prompt = make_passkey_prompt(1024, 0);
  EXPECT_DOUBLE_EQ(prompt.depth(), 684.0 / 1024.0);
}

TEST(PasskeyPrompt, LengthsStepUpAsTheReleasedScriptDoes) {
  EXPECT_THAT(passkey_lengths_up_to(4096, 1000), ElementsAre(1000, 2000, 3000, 4000));
  EXPECT_THAT(passkey_lengths_up_to(512, 512), ElementsAre(512));
  EXPECT_THAT(
      [] { passkey_lengths_up_to(4096, 5000); },
      ThrowsMessage<UsageError>(HasSubstr("[--interval] expected 1 to --max_tokens (4096), got 5000")));
  EXPECT_THROW(passkey_lengths_up_to(4096, 0), UsageError);
}

TEST(PasskeyPrompt, FillerIsAWholeNumberOf1024Characters) {
  EXPECT_EQ(passkey_garbage_chars(273), 0);
  EXPECT_EQ(passkey_garbage_chars(274), 1024);
  EXPECT_EQ(passkey_garbage_chars(100000), 374784);
}

TEST(PasskeyPrompt, RefusesATextWithoutFiller) {
  EXPECT_THAT([] { make_passkey_prompt(0, 0); },
              ThrowsMessage<UsageError>(HasSubstr("at least one character of filler, got 0")));
}

}  // namespace
}  // namespace longlora::eval
