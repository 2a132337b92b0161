#include "longlora/generate/runtime.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "longlora/core/error.h"
#include "longlora/core/json.h"
#include "longlora/core/memory.h"
#include "longlora/generate/decode_session.h"
#include "longlora/model/decoder.h"
#include "tests/generate/test_models.h"
#include "tests/support/temporary_directory.h"

namespace longlora::generate {
namespace {

using testing::HasSubstr;
using testing::ThrowsMessage;

RuntimeOptions options_for(const std::string& name, int64_t context_size,
                           const std::string& rope_scaling = "") {
  return {.base_model = test::data_path(name),
          .peft_model = {},
          .context_size = context_size,
          .rope_scaling = rope_scaling};
}

model::RopeScaling scaling_of(const RuntimeOptions& options) {
  return open_runtime(options).decoder->config.rope_scaling;
}

TEST(Runtime, UsesTheModelsOwnWindowUnlessToldOtherwise) {
  const Runtime model = open_runtime(options_for("stories260K_hf", 0));
  EXPECT_EQ(model.context_size, 512);
  EXPECT_EQ(model.vocab_size, 512);
  EXPECT_EQ(model.scaling, "no rotary scaling");
  EXPECT_EQ(open_runtime(options_for("goldens/tiny_models/linear_x4", 0)).scaling,
            "linear rotary scaling by 4");
}

TEST(Runtime, ScalesLinearlyToALongerContextByAWholeFactor) {
  const model::RopeScaling scaling = scaling_of(options_for("stories260K_hf", 1300));
  EXPECT_EQ(scaling.type, model::RopeType::kLinear);
  EXPECT_EQ(scaling.factor, 3.0);
}

TEST(Runtime, AppliesYarnWithoutTrainingWhenAsked) {
  const model::RopeScaling scaling = scaling_of(options_for("stories260K_hf", 4096, "yarn"));
  EXPECT_EQ(scaling.type, model::RopeType::kYarn);
  EXPECT_EQ(scaling.factor, 8.0);
}

TEST(Runtime, LeavesTheModelAsItIsWhenAsked) {
  const Runtime model = open_runtime(options_for("stories260K_hf", 4096, "none"));
  EXPECT_EQ(model.decoder->config.rope_scaling.type, model::RopeType::kDefault);
  EXPECT_EQ(model.context_size, 4096);
}

TEST(Runtime, NeverScalesAModelTwice) {
  for (const char* asked : {"", "linear", "yarn", "none"}) {
    const model::RopeScaling scaling = scaling_of(options_for("goldens/tiny_models/linear_x4", 4096, asked));
    EXPECT_EQ(scaling.type, model::RopeType::kLinear) << asked;
    EXPECT_EQ(scaling.factor, 4.0) << asked;
  }
}

TEST(Runtime, LoadsInTheDtypeThatWasAskedFor) {
  RuntimeOptions options = options_for("stories260K_hf", 0);
  options.dtype = "bfloat16";
  EXPECT_EQ(open_runtime(options).decoder->dtype(), at::kBFloat16);
  options.dtype = "float16";
  EXPECT_THAT([&] { open_runtime(options); },
              ThrowsMessage<UsageError>(HasSubstr("[--dtype] expected float32 or bfloat16, got float16")));
}

TEST(Runtime, RefusesScalingsItDoesNotKnow) {
  EXPECT_THAT([] { open_runtime(options_for("stories260K_hf", 1024, "ntk")); },
              ThrowsMessage<UsageError>(
                  HasSubstr("[--rope_scaling] expected linear, dynamic, yarn, longrope or none, got ntk")));
}

TEST(Runtime, NamesAFolderThatHoldsNoModel) {
  EXPECT_THAT([] { open_runtime(options_for("no_such_model", 0)); },
              ThrowsMessage<InputError>(HasSubstr("no_such_model")));
}

// Options for a pass that no machine has the memory for: the weights stay in their files.
RuntimeOptions with_least_memory(RuntimeOptions options) {
  options.pass_tokens = [](int64_t) { return PassTokens{int64_t{1} << 33, 512}; };
  return options;
}

at::Tensor logits_of(const Runtime& runtime) {
  return DecodeSession(runtime.ready, 32).feed(std::vector<int64_t>{5, 9, 20, 2, 11, 9, 5});
}

TEST(Runtime, ComputesTheSameWithWeightsThatStayInTheirFiles) {
  const std::string parts = "goldens/adapter_parts/";
  const Json cases = read_json(test::data_path(parts + "cases.json"));
  for (const auto& [name, golden] : cases.items())
    for (const char* dtype : {"float32", "bfloat16"}) {
      SCOPED_TRACE(name + " " + dtype);
      RuntimeOptions options = options_for(parts + "bases/" + golden["base"].get<std::string>(), 0);
      options.peft_model = test::data_path(parts + name);
      options.dtype = dtype;
      const Runtime roomy = open_runtime(options), tight = open_runtime(with_least_memory(options));
      EXPECT_FALSE(roomy.decoder->blocks[0].o_proj.weight.value.is_meta());
      EXPECT_TRUE(tight.decoder->blocks[0].o_proj.weight.value.is_meta());
      EXPECT_EQ(roomy.ready.tile_tokens, 0);
      EXPECT_GT(tight.ready.tile_tokens, 0);
      // In float32 pairs are put into weights that are in memory.
      const double scale = logits_of(roomy).abs().max().item<double>();
      EXPECT_LT(largest_difference(logits_of(tight), logits_of(roomy)),
                (std::string(dtype) == "float32" ? 1e-5 : 0.0) * scale + 1e-30);
    }
}

TEST(Runtime, StaysInItsBudgetOrSaysWhatItNeeds) {
  const test::TemporaryDirectory folder;
  model::ModelConfig config = small_decoder(4, 2).config;
  config.hidden_size = 512;
  config.intermediate_size = 1536;
  config.head_dim = 128;
  config.num_hidden_layers = 16;
  const auto made = model::random_decoder(config, at::kBFloat16, 3);
  const int64_t weights = 2 * model::count_parameters(made).total;
  model::save_decoder(made, folder.path(), at::kBFloat16);
  RuntimeOptions options = {
      .base_model = folder.path(), .peft_model = {}, .rope_scaling = {}, .dtype = "bfloat16"};
  const at::Tensor expected = logits_of(open_runtime(options));
  options.memory_budget_bytes = current_rss_bytes() + (int64_t{80} << 20) + weights / 2;
  const Runtime tight = open_runtime(options);
  EXPECT_TRUE(tight.decoder->blocks[15].up_proj.weight.value.is_meta());
  EXPECT_TRUE(at::equal(logits_of(tight), expected));
  options.memory_budget_bytes = 1 << 20;
  EXPECT_THAT([&] { open_runtime(options); },
              ThrowsMessage<ResourceError>(
                  HasSubstr("[memory] expected the run to fit in 1.00 MiB, but it needs at least")));
}

}  // namespace
}  // namespace longlora::generate
