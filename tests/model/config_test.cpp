#include "longlora/model/config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "longlora/core/error.h"

namespace longlora::model {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

std::filesystem::path data_path(const std::string& name) {
  return std::filesystem::path(LONGLORA_SOURCE_DIR) / "tests" / "data" / name;
}

// A whole configuration in the older form.
Json llama() {
  return {{"architectures", {"LlamaForCausalLM"}},
          {"model_type", "llama"},
          {"hidden_size", 64},
          {"intermediate_size", 172},
          {"num_hidden_layers", 5},
          {"num_attention_heads", 8},
          {"num_key_value_heads", 4},
          {"vocab_size", 512},
          {"max_position_embeddings", 512},
          {"rms_norm_eps", 1e-5},
          {"rope_theta", 10000.0},
          {"hidden_act", "silu"},
          {"tie_word_embeddings", true}};
}

Json with(const std::string& key, const Json& value) {
  Json json = llama();
  json[key] = value;
  return json;
}

Json without(const std::string& key) {
  Json json = llama();
  json.erase(key);
  return json;
}

// The message of the InputError for a configuration.
std::string refusal(const Json& json) {
  try {
    parse_model_config(json, "here/config.json");
  } catch (const InputError& error) {
    return error.what();
  }
  return "accepted";
}

TEST(ModelConfig, ReadsWhatAFileSays) {
  const ModelConfig config = read_model_config(data_path("stories260K_hf"));
  EXPECT_EQ(config.architecture, "LlamaForCausalLM");
  EXPECT_EQ(config.vocab_size, 512);
  EXPECT_EQ(config.hidden_size, 64);
  EXPECT_EQ(config.intermediate_size, 172);
  EXPECT_EQ(config.num_hidden_layers, 5);
  EXPECT_EQ(config.num_attention_heads, 8);
  EXPECT_EQ(config.num_key_value_heads, 4);
  EXPECT_EQ(config.head_dim, 8);
  EXPECT_EQ(config.max_position_embeddings, 512);
  EXPECT_EQ(config.norm_eps, 1e-5);
  EXPECT_TRUE(config.tie_word_embeddings);
  EXPECT_EQ(config.rope_scaling.type, RopeType::kDefault);
  EXPECT_EQ(config.context_window(), 512);
  // The file itself may be named too.
  EXPECT_EQ(read_model_config(data_path("stories260K_hf/config.json")).vocab_size, 512);
}

TEST(ModelConfig, FillsInWhatTransformersAssumes) {
  Json json = llama();
  for (const char* key : {"num_key_value_heads", "rms_norm_eps", "rope_theta", "tie_word_embeddings",
                          "max_position_embeddings", "hidden_act", "architectures"})
    json.erase(key);
  const ModelConfig config = parse_model_config(json, "test");
  EXPECT_EQ(config.num_key_value_heads, 8);
  EXPECT_EQ(config.norm_eps, 1e-6);
  EXPECT_EQ(config.rope_theta, 10000.0);
  EXPECT_FALSE(config.tie_word_embeddings);
  EXPECT_EQ(config.max_position_embeddings, 2048);
  EXPECT_EQ(config.architecture, "LlamaForCausalLM");
}

TEST(ModelConfig, TakesAHeadSizeOfItsOwn) {
  EXPECT_EQ(parse_model_config(with("head_dim", 32), "test").head_dim, 32);
  EXPECT_EQ(parse_model_config(with("head_dim", nullptr), "test").head_dim, 8);
}

TEST(ModelConfig, RefusesAMissingSizeByName) {
  for (const char* key :
       {"vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads"})
    EXPECT_THAT(refusal(without(key)),
                AllOf(HasSubstr("[here/config.json]"), HasSubstr(std::string("\"") + key)));
}

TEST(ModelConfig, RefusesValuesOfTheWrongKind) {
  EXPECT_THAT(refusal(with("hidden_size", "64")),
              HasSubstr("expected an integer \"hidden_size\", got \"64\""));
  EXPECT_THAT(refusal(with("hidden_size", 64.5)), HasSubstr("expected an integer \"hidden_size\""));
  EXPECT_THAT(refusal(with("hidden_size", 0)), HasSubstr("\"hidden_size\" between 1 and"));
  EXPECT_THAT(refusal(with("num_hidden_layers", -3)), HasSubstr("got -3"));
  EXPECT_THAT(refusal(with("vocab_size", uint64_t{1} << 63)), HasSubstr("got 9223372036854775808"));
  EXPECT_THAT(refusal(with("num_hidden_layers", 2000000000)), HasSubstr("num_hidden_layers"));
  EXPECT_THAT(refusal(with("rms_norm_eps", "small")), HasSubstr("expected a number \"rms_norm_eps\""));
  EXPECT_THAT(refusal(with("rms_norm_eps", 0.0)), HasSubstr("positive rms_norm_eps"));
  EXPECT_THAT(refusal(with("tie_word_embeddings", "yes")), HasSubstr("true or false"));
  EXPECT_THAT(refusal(with("rope_scaling", 4)), HasSubstr("expected an object for rope_scaling"));
  EXPECT_THAT(refusal(with("rope_parameters", 4)), HasSubstr("expected an object for rope_parameters"));
  EXPECT_THAT(refusal(Json::array()), HasSubstr("expected a JSON object"));
}

TEST(ModelConfig, RefusesSizesThatDoNotFitEachOther) {
  EXPECT_THAT(refusal(with("num_key_value_heads", 3)),
              HasSubstr("multiple of num_key_value_heads, got 8 and 3"));
  EXPECT_THAT(refusal(with("num_attention_heads", 12)),
              HasSubstr("multiple of num_attention_heads, got 64 and 12"));
  EXPECT_THAT(refusal(with("head_dim", 7)), HasSubstr("even head_dim, got 7"));
}

TEST(ModelConfig, RefusesAnotherArchitectureAndListsItsOwn) {
  try {
    read_model_config(data_path("unsupported_gpt2"));
    ADD_FAILURE() << "accepted";
  } catch (const InputError& error) {
    EXPECT_THAT(error.what(), AllOf(HasSubstr("unsupported_gpt2/config.json"), HasSubstr("LlamaForCausalLM"),
                                    HasSubstr("got gpt2 (GPT2LMHeadModel)")));
    EXPECT_EQ(error.code(), ExitCode::kInput);
  }
  Json nameless = without("architectures");
  nameless["model_type"] = "mamba";
  EXPECT_THAT(refusal(nameless), HasSubstr("got mamba"));
  nameless.erase("model_type");
  EXPECT_THAT(refusal(nameless), HasSubstr("got none"));
}

TEST(ModelConfig, RefusesVariantsThatChangeTheMaths) {
  EXPECT_THAT(refusal(with("hidden_act", "relu")),
              HasSubstr("expected hidden_act silu, gelu or gelu_new, got relu"));
  EXPECT_THAT(refusal(with("quantization_config", Json::object())), HasSubstr("NF4"));
}

TEST(ModelConfig, NamesAFileThatIsMissingOrDamaged) {
  EXPECT_THROW(read_model_config(data_path("no_such_model")), InputError);
  EXPECT_THROW(read_model_config(data_path("goldens/README.md")), InputError);
}

TEST(RopeScaling, ReadsTheOldAndTheNewNameOfTheType) {
  for (const Json& scaling :
       {Json{{"type", "linear"}, {"factor", 4.0}}, Json{{"rope_type", "linear"}, {"factor", 4}},
        Json{{"type", "other"}, {"rope_type", "linear"}, {"factor", 4.0}}}) {
    const ModelConfig config = parse_model_config(with("rope_scaling", scaling), "test");
    EXPECT_EQ(config.rope_scaling.type, RopeType::kLinear) << scaling;
    EXPECT_EQ(config.rope_scaling.factor, 4.0);
    EXPECT_EQ(config.original_window(), 512);
    EXPECT_EQ(config.context_window(), 2048);
  }
}

TEST(RopeScaling, ReadsRopeParametersOfTransformers5) {
  Json json = without("rope_theta");
  json["rope_parameters"] = {{"rope_type", "yarn"}, {"rope_theta", 500.0},
                             {"factor", 8.0},       {"original_max_position_embeddings", 64},
                             {"beta_fast", 16},     {"beta_slow", 2},
                             {"truncate", false},   {"attention_factor", 0.75},
                             {"mscale", 1.0},       {"mscale_all_dim", 0.5}};
  const ModelConfig config = parse_model_config(json, "test");
  EXPECT_EQ(config.rope_theta, 500.0);
  const RopeScaling& scaling = config.rope_scaling;
  EXPECT_EQ(scaling.type, RopeType::kYarn);
  EXPECT_EQ(scaling.factor, 8.0);
  EXPECT_EQ(scaling.original_max_position_embeddings, 64);
  EXPECT_EQ(scaling.beta_fast, 16.0);
  EXPECT_EQ(scaling.beta_slow, 2.0);
  EXPECT_FALSE(scaling.truncate);
  EXPECT_EQ(scaling.attention_factor, 0.75);
  EXPECT_EQ(scaling.mscale, 1.0);
  EXPECT_EQ(scaling.mscale_all_dim, 0.5);
  EXPECT_EQ(config.original_window(), 64);
  EXPECT_EQ(config.context_window(), 512);
}

TEST(RopeScaling, RefusesAnUnknownTypeAndListsItsOwn) {
  EXPECT_THAT(refusal(with("rope_scaling", {{"type", "ntk"}, {"factor", 2.0}})),
              HasSubstr("among default, linear, dynamic, yarn, longrope, llama3, got ntk"));
  EXPECT_THAT(refusal(with("rope_scaling", {{"type", "llama3"}, {"factor", 2.0}})),
              HasSubstr("expected 0 < low_freq_factor < high_freq_factor"));
  EXPECT_THAT(
      refusal(with("rope_scaling", {{"type", "longrope"}, {"factor", 2.0}, {"short_factor", {1, 1}}})),
      HasSubstr("expected 4 numbers"));
  EXPECT_THAT(refusal(with("rope_scaling", {{"type", "longrope"}, {"short_factor", {1, 1, 0, 1}}})),
              HasSubstr("expected positive numbers in \"short_factor\", got 0"));
  EXPECT_THAT(refusal(with("rope_scaling", {{"type", "linear"}})), HasSubstr("factor of at least 1, got 0"));
  EXPECT_THAT(refusal(with("rope_scaling", {{"type", "linear"}, {"factor", "2"}})),
              HasSubstr("expected a number"));
  EXPECT_THAT(refusal(with("rope_scaling", {{"type", 2}})), HasSubstr("expected a string"));
}

// What is written and read again.
ModelConfig round_trip(const ModelConfig& config) {
  return parse_model_config(model_config_json(config, "float32"), "written");
}

void expect_same_scaling(const RopeScaling& a, const RopeScaling& b) {
  EXPECT_EQ(a.type, b.type);
  EXPECT_EQ(a.factor, b.factor);
  EXPECT_EQ(a.beta_fast, b.beta_fast);
  EXPECT_EQ(a.beta_slow, b.beta_slow);
  EXPECT_EQ(a.truncate, b.truncate);
  EXPECT_EQ(a.attention_factor, b.attention_factor);
  EXPECT_EQ(a.mscale, b.mscale);
  EXPECT_EQ(a.mscale_all_dim, b.mscale_all_dim);
  EXPECT_EQ(a.short_factor, b.short_factor);
  EXPECT_EQ(a.long_factor, b.long_factor);
  EXPECT_EQ(a.low_freq_factor, b.low_freq_factor);
  EXPECT_EQ(a.high_freq_factor, b.high_freq_factor);
}

TEST(ModelConfigJson, KeepsKeysThatItDoesNotKnow) {
  Json json = llama();
  json["bos_token_id"] = 1;
  json["something_else"] = {1, 2};
  json["dtype"] = "float32";
  const Json written = model_config_json(parse_model_config(json, "test"), "bfloat16");
  EXPECT_EQ(written["bos_token_id"], 1);
  EXPECT_EQ(written["something_else"], Json({1, 2}));
  EXPECT_EQ(written["torch_dtype"], "bfloat16");
  EXPECT_FALSE(written.contains("dtype"));
  EXPECT_TRUE(written["rope_scaling"].is_null());
}

TEST(ModelConfigJson, WritesTheScalingUnderBothNames) {
  ModelConfig config = parse_model_config(llama(), "test");
  config.rope_scaling = scaling_for_window(config, RopeType::kLinear, 4096);
  config.vocab_size = 513;
  const Json written = model_config_json(config, "float32");
  EXPECT_EQ(written["rope_scaling"]["type"], "linear");
  EXPECT_EQ(written["rope_scaling"]["rope_type"], "linear");
  EXPECT_EQ(written["rope_scaling"]["factor"], 8.0);
  EXPECT_EQ(written["vocab_size"], 513);
  EXPECT_FALSE(written.contains("rope_parameters"));
}

TEST(ModelConfigJson, KeepsTheNewFormWhereTheFileHadIt) {
  Json json = without("rope_theta");
  json["rope_parameters"] = {{"rope_type", "default"}, {"rope_theta", 700.0}};
  ModelConfig config = parse_model_config(json, "test");
  config.rope_scaling = scaling_for_window(config, RopeType::kYarn, 1024);
  const Json written = model_config_json(config, "float32");
  EXPECT_EQ(written["rope_parameters"]["rope_type"], "yarn");
  EXPECT_EQ(written["rope_parameters"]["factor"], 2.0);
  EXPECT_EQ(written["rope_parameters"]["rope_theta"], 700.0);
  EXPECT_EQ(written["rope_parameters"]["original_max_position_embeddings"], 512);
  expect_same_scaling(round_trip(config).rope_scaling, config.rope_scaling);
  EXPECT_EQ(round_trip(config).rope_theta, 700.0);
}

TEST(ModelConfigJson, ReadsBackEveryScaling) {
  for (const Json& scaling :
       {Json(), Json{{"type", "linear"}, {"factor", 3.5}},
        Json{{"type", "linear"}, {"factor", 4.0}, {"original_max_position_embeddings", 128}},
        Json{{"type", "yarn"}, {"factor", 4.0}},  // without the original window
        Json{{"type", "yarn"},
             {"factor", 4.0},
             {"original_max_position_embeddings", 128},
             {"truncate", false},
             {"beta_fast", 20.0},
             {"beta_slow", 3.0},
             {"attention_factor", 1.5},
             {"mscale", 2.0},
             {"mscale_all_dim", 0.25}},
        Json{{"type", "dynamic"}, {"factor", 3.0}},
        Json{{"type", "longrope"},
             {"factor", 3.0},
             {"original_max_position_embeddings", 128},
             {"attention_factor", 1.25},
             {"short_factor", {1.0, 1.5, 2.0, 3.0}},
             {"long_factor", {2.0, 4.0, 6.0, 8.0}}},
        Json{{"type", "llama3"},
             {"factor", 8.0},
             {"original_max_position_embeddings", 64},
             {"low_freq_factor", 1.5},
             {"high_freq_factor", 5.0}}}) {
    SCOPED_TRACE(scaling.dump());
    const ModelConfig config = parse_model_config(with("rope_scaling", scaling), "test");
    const ModelConfig again = round_trip(config);
    expect_same_scaling(again.rope_scaling, config.rope_scaling);
    EXPECT_EQ(again.original_window(), config.original_window());
    EXPECT_EQ(again.context_window(), config.context_window());
    EXPECT_EQ(again.head_dim, config.head_dim);
  }
}

TEST(ScalingForWindow, IsTheLengthInWindowsRoundedUp) {
  const ModelConfig config = parse_model_config(llama(), "test");
  EXPECT_EQ(scaling_for_window(config, RopeType::kLinear, 4096).factor, 8.0);
  EXPECT_EQ(scaling_for_window(config, RopeType::kLinear, 4097).factor, 9.0);
  EXPECT_EQ(scaling_for_window(config, RopeType::kYarn, 600).original_max_position_embeddings, 512);
  EXPECT_EQ(scaling_for_window(config, RopeType::kLinear, 512).type, RopeType::kDefault);
  EXPECT_EQ(scaling_for_window(config, RopeType::kLinear, 100).type, RopeType::kDefault);
}

TEST(ScalingForWindow, IsLinearWhereNothingIsAskedFor) {
  const ModelConfig config = parse_model_config(llama(), "test");
  EXPECT_EQ(scaling_for_window(config, std::nullopt, 4096).type, RopeType::kLinear);
  EXPECT_EQ(scaling_for_window(config, std::nullopt, 512).type, RopeType::kDefault);
}

TEST(ScalingForWindow, NeverScalesAScaledModelTwice) {
  const ModelConfig config =
      parse_model_config(with("rope_scaling", {{"type", "linear"}, {"factor", 4.0}}), "test");
  // Already enough: it stays as it is.
  EXPECT_EQ(scaling_for_window(config, RopeType::kLinear, 2048).factor, 4.0);
  EXPECT_EQ(scaling_for_window(config, RopeType::kLinear, 512).factor, 4.0);
  // More is counted from the original window.
  EXPECT_EQ(scaling_for_window(config, RopeType::kLinear, 4096).factor, 8.0);
}

TEST(ScalingForWindow, KeepsTheModelsOwnKindUnlessAnotherIsAskedFor) {
  const ModelConfig config =
      parse_model_config(with("rope_scaling", {{"type", "yarn"},
                                               {"factor", 4.0},
                                               {"original_max_position_embeddings", 256},
                                               {"beta_fast", 20.0}}),
                         "test");
  ASSERT_EQ(config.context_window(), 1024);
  const RopeScaling kept = scaling_for_window(config, std::nullopt, 1024);
  expect_same_scaling(kept, config.rope_scaling);
  const RopeScaling further = scaling_for_window(config, std::nullopt, 4096);
  EXPECT_EQ(further.type, RopeType::kYarn);
  EXPECT_EQ(further.factor, 16.0);  // of 256, not of the 512 that are also in the file
  EXPECT_EQ(further.original_max_position_embeddings, 256);
  EXPECT_EQ(further.beta_fast, 20.0);
  const RopeScaling asked = scaling_for_window(config, RopeType::kLinear, 4096);
  EXPECT_EQ(asked.type, RopeType::kLinear);
  EXPECT_EQ(asked.factor, 16.0);
  EXPECT_EQ(asked.original_max_position_embeddings, 256);
  // Another kind never shrinks the window.
  EXPECT_EQ(scaling_for_window(config, RopeType::kLinear, 512).factor, 4.0);
}

TEST(StretchWindow, SaysWhatTakesThePlaceOfTheModelsOwnScaling) {
  ModelConfig config = parse_model_config(with("rope_scaling", {{"type", "yarn"}, {"factor", 4.0}}), "test");
  EXPECT_EQ(stretch_window(config, std::nullopt, 2048), "");
  EXPECT_EQ(stretch_window(config, RopeType::kLinear, 4096),
            "window: linear rotary scaling by 8 takes the place of the model's own yarn rotary scaling by 4, "
            "relative to the original 512 tokens");
  EXPECT_EQ(config.context_window(), 4096);
}

Json llama32() {  // 32 times the original window by its factor, 16 times by max_position_embeddings
  Json json = with("max_position_embeddings", 131072);
  json["rope_scaling"] = {{"rope_type", "llama3"},
                          {"factor", 32.0},
                          {"original_max_position_embeddings", 8192},
                          {"low_freq_factor", 1.0},
                          {"high_freq_factor", 4.0}};
  return json;
}

TEST(ContextWindow, IsTheStatedOneWhereTheFactorIsLarger) {
  EXPECT_EQ(parse_model_config(llama32(), "test").context_window(), 131072);
}

TEST(StretchWindow, StatesTheNewWindowBesideLlama3AndLongRope) {
  ModelConfig config = parse_model_config(llama32(), "test");
  stretch_window(config, std::nullopt, 131072);
  EXPECT_EQ(config.max_position_embeddings, 131072);
  stretch_window(config, std::nullopt, 190000);
  EXPECT_EQ(config.rope_scaling.factor, 32.0);  // never less than the model's own
  EXPECT_EQ(config.context_window(), 196608);
  stretch_window(config, std::nullopt, 524288);
  EXPECT_EQ(config.rope_scaling.factor, 64.0);
  EXPECT_EQ(model_config_json(config, "float32")["max_position_embeddings"], 524288);
  EXPECT_EQ(round_trip(config).context_window(), 524288);
  EXPECT_EQ(round_trip(config).original_window(), 8192);
}

TEST(ScalingForWindow, TakesTheFactorsOfLongRopeFromTheModel) {
  const Json factors = {{"type", "longrope"},
                        {"factor", 4.0},
                        {"original_max_position_embeddings", 128},
                        {"short_factor", {1.0, 1.5, 2.0, 3.0}},
                        {"long_factor", {2.0, 4.0, 6.0, 8.0}}};
  const ModelConfig config = parse_model_config(with("rope_scaling", factors), "test");
  const RopeScaling scaling = scaling_for_window(config, RopeType::kLongRope, 1000);
  EXPECT_EQ(scaling.factor, 8.0);
  EXPECT_EQ(scaling.original_max_position_embeddings, 128);
  EXPECT_EQ(scaling.short_factor, config.rope_scaling.short_factor);
  EXPECT_EQ(scaling.long_factor, config.rope_scaling.long_factor);
  try {
    scaling_for_window(parse_model_config(llama(), "test"), RopeType::kLongRope, 1000);
    ADD_FAILURE() << "accepted";
  } catch (const InputError& error) {
    EXPECT_THAT(error.what(), AllOf(HasSubstr("short_factor"), HasSubstr("found none"), HasSubstr("linear")));
  }
}

TEST(ScalingForWindow, MakesTheOriginalWindowThatOfDynamicScaling) {
  Json json = with("max_position_embeddings", 4096);
  json["rope_scaling"] = {{"type", "yarn"}, {"factor", 8.0}, {"original_max_position_embeddings", 512}};
  ModelConfig config = parse_model_config(json, "test");
  config.rope_scaling = scaling_for_window(config, RopeType::kDynamic, 8192);
  EXPECT_EQ(config.rope_scaling.factor, 16.0);
  const Json written = model_config_json(config, "float32");
  EXPECT_EQ(written["max_position_embeddings"], 512);
  EXPECT_FALSE(written["rope_scaling"].contains("original_max_position_embeddings"));
  EXPECT_EQ(round_trip(config).original_window(), 512);
  EXPECT_EQ(round_trip(config).context_window(), 8192);
}

}  // namespace
}  // namespace longlora::model
