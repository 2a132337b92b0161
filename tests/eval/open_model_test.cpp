#include "longlora/eval/open_model.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "longlora/core/error.h"
#include "longlora/model/decoder.h"
#include "tests/eval/test_data.h"

namespace longlora::eval {
namespace {

using testing::HasSubstr;
using testing::ThrowsMessage;

ModelOptions options_for(const std::string& name, int64_t context_size,
                         const std::string& rope_scaling = "") {
  return {.base_model = test_data(name),
          .peft_model = {},
          .context_size = context_size,
          .rope_scaling = rope_scaling};
}

model::RopeScaling scaling_of(const ModelOptions& options) {
  return open_model(options).decoder->config.rope_scaling;
}

TEST(OpenModel, UsesTheModelsOwnWindowUnlessToldOtherwise) {
  const LoadedModel model = open_model(options_for("stories260K_hf", 0));
  EXPECT_EQ(model.context_size, 512);
  EXPECT_EQ(model.vocab_size, 512);
  EXPECT_EQ(model.scaling, "no rotary scaling");
  EXPECT_EQ(open_model(options_for("goldens/tiny_models/linear_x4", 0)).scaling,
            "linear rotary scaling by 4");
}

TEST(OpenModel, ScalesLinearlyToALongerContextByAWholeFactor) {
  const model::RopeScaling scaling = scaling_of(options_for("stories260K_hf", 1300));
  EXPECT_EQ(scaling.type, model::RopeType::kLinear);
  EXPECT_EQ(scaling.factor, 3.0);
}

TEST(OpenModel, AppliesYarnWithoutTrainingWhenAsked) {
  const model::RopeScaling scaling = scaling_of(options_for("stories260K_hf", 4096, "yarn"));
  EXPECT_EQ(scaling.type, model::RopeType::kYarn);
  EXPECT_EQ(scaling.factor, 8.0);
}

TEST(OpenModel, LeavesTheModelAsItIsWhenAsked) {
  const LoadedModel model = open_model(options_for("stories260K_hf", 4096, "none"));
  EXPECT_EQ(model.decoder->config.rope_scaling.type, model::RopeType::kDefault);
  EXPECT_EQ(model.context_size, 4096);
}

TEST(OpenModel, NeverScalesAModelTwice) {
  for (const char* asked : {"", "linear", "yarn", "none"}) {
    const model::RopeScaling scaling = scaling_of(options_for("goldens/tiny_models/linear_x4", 4096, asked));
    EXPECT_EQ(scaling.type, model::RopeType::kLinear) << asked;
    EXPECT_EQ(scaling.factor, 4.0) << asked;
  }
}

TEST(OpenModel, LoadsInTheDtypeThatWasAskedFor) {
  ModelOptions options = options_for("stories260K_hf", 0);
  options.dtype = "bfloat16";
  EXPECT_EQ(open_model(options).decoder->dtype(), at::kBFloat16);
  options.dtype = "float16";
  EXPECT_THAT([&] { open_model(options); },
              ThrowsMessage<UsageError>(HasSubstr("[--dtype] expected float32 or bfloat16, got float16")));
}

TEST(OpenModel, RefusesScalingsItDoesNotKnow) {
  EXPECT_THAT([] { open_model(options_for("stories260K_hf", 1024, "ntk")); },
              ThrowsMessage<UsageError>(
                  HasSubstr("[--rope_scaling] expected linear, dynamic, yarn, longrope or none, got ntk")));
}

TEST(OpenModel, NamesAFolderThatHoldsNoModel) {
  EXPECT_THAT([] { open_model(options_for("no_such_model", 0)); },
              ThrowsMessage<InputError>(HasSubstr("no_such_model")));
}

TEST(OpenData, TokenizesTextWithTheTokenizerOfTheModel) {
  const LoadedModel model = open_model(options_for("stories260K_hf", 0));
  const std::filesystem::path path = std::filesystem::path(testing::TempDir()) / "open_data_story.txt";
  std::ofstream(path) << "Once upon a time";
  const auto data = open_data({path}, test_data("stories260K_hf"), model);
  std::vector<int64_t> ids(static_cast<size_t>(data->size()));
  data->read(0, ids);
  std::filesystem::remove(path);
  ASSERT_GE(ids.size(), 2u);
  EXPECT_EQ(ids[0], 403);  // "Once", as expected_greedy_200.txt begins
  EXPECT_EQ(ids.back(), 2);
}

TEST(OpenData, RefusesIdsBeyondTheModelsVocabulary) {
  const LoadedModel model = open_model(options_for("goldens/tiny_models/mha_tied", 0));
  EXPECT_THROW(open_data({test_data("goldens/evaluation/stories.bin")},
                         test_data("goldens/tiny_models/mha_tied"), model),
               InputError);
}

}  // namespace
}  // namespace longlora::eval
