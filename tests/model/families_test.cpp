// Every family and rotary scaling against transformers.
#include "longlora/model/family.h"

#include <set>

#include "longlora/core/error.h"
#include "longlora/model/adapter.h"
#include "longlora/ops/cross_entropy.h"
#include "tests/model/tiny_models.h"
#include "tests/support/temporary_directory.h"

namespace longlora::model {
namespace {

using test::message_of;
using ::testing::AllOf;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsSupersetOf;
using ::testing::Not;

checkpoint::TensorStore golden_of(const std::string& name) {
  return checkpoint::TensorStore::open_file(family_model(name) / "golden.safetensors");
}

// Calls body(name) for every reference model, with its name in the trace.
template <typename Body>
void for_each_model(const Body& body) {
  for (const char* name : kFamilyModels) {
    SCOPED_TRACE(name);
    body(std::string(name));
  }
}

TEST(Families, HaveTheLogitsOfTransformersBelowAndBeyondTheWindow) {
  for_each_model([](const std::string& name) {
    const Decoder decoder = load_decoder(family_model(name), at::kFloat);
    const auto golden = golden_of(name);
    const at::Tensor ids = golden.load("ids"), below = golden.load("below.logits");
    EXPECT_CLOSE(logits_of(decoder, ids), golden.load("logits"), 2e-5);
    EXPECT_CLOSE(logits_of(decoder, ids.slice(1, 0, below.size(1))), below, 2e-5);
  });
}

TEST(Families, StayCloseToTransformersInBfloat16) {
  for_each_model([](const std::string& name) {
    const Decoder decoder = load_decoder(family_model(name), at::kBFloat16);
    const auto golden = golden_of(name);
    EXPECT_CLOSE(logits_of(decoder, golden.load("ids")), golden.load("logits"), 6e-2);
  });
}

TEST(Families, NameTheirParametersAsTheCheckpointDoes) {
  for_each_model([](const std::string& name) {
    const Decoder decoder = load_decoder(family_model(name), at::kFloat);
    const auto store = checkpoint::TensorStore::open_model_directory(family_model(name));
    std::set<std::string> visited;
    visit_parameters(decoder, [&](const std::string& parameter, const Parameter& value) {
      EXPECT_TRUE(visited.insert(parameter).second) << parameter << " came twice";
      EXPECT_EQ(store.info(parameter).shape, value.value.sizes().vec()) << parameter;
    });
    EXPECT_EQ(visited.size(), store.tensors().size());
  });
}

TEST(Families, LoadAgainWhatTheySave) {
  for_each_model([](const std::string& name) {
    const Decoder decoder = load_decoder(family_model(name), at::kFloat);
    test::TemporaryDirectory folder;
    save_decoder(decoder, folder.path(), at::kFloat);
    const Decoder again = load_decoder(folder.path(), at::kFloat);
    const at::Tensor ids = golden_of(name).load("ids");
    EXPECT_TRUE(at::equal(logits_of(again, ids), logits_of(decoder, ids)));
    EXPECT_EQ(again.config.architecture, decoder.config.architecture);
    EXPECT_EQ(again.config.layer_windows, decoder.config.layer_windows);
    EXPECT_EQ(again.config.original_window(), decoder.config.original_window());
    EXPECT_EQ(again.config.context_window(), decoder.config.context_window());
  });
}

TEST(Families, StartFromRandomWeightsToo) {
  for_each_model([](const std::string& name) {
    const ModelConfig config = read_model_config(family_model(name));
    const Decoder decoder = random_decoder(config, at::kFloat, 3);
    EXPECT_TRUE(at::isfinite(logits_of(decoder, golden_of(name).load("ids"))).all().item<bool>());
    visit_parameters(decoder, [](const std::string& parameter, const Parameter& value) {
      if (!parameter.ends_with(".bias")) return;
      EXPECT_EQ(value.value.dense().abs().sum().item<double>(), 0.0) << parameter;
    });
  });
}

TEST(Families, AreFoundByArchitectureAndByModelType) {
  for (const Family& family : families()) {
    EXPECT_EQ(find_family(family.architecture), &family);
    EXPECT_EQ(find_family(family.model_type), &family);
    EXPECT_THAT(supported_architectures(), HasSubstr(family.architecture));
    EXPECT_FALSE(family.lora_targets.empty()) << family.architecture;
  }
  EXPECT_EQ(find_family("GPT2LMHeadModel"), nullptr);
}

TEST(Families, SayThatAllOfAHeadIsRotatedWhereTheyUsuallyRotateAPart) {
  ModelConfig config = read_model_config(family_model("neox_dynamic"));
  config.raw.erase("rotary_pct");
  config.raw["rope_parameters"] = Json::object();
  const Json written = model_config_json(config, "float32");
  EXPECT_EQ(written["rotary_pct"], 1.0);
  EXPECT_EQ(written["rope_parameters"]["partial_rotary_factor"], 1.0);
  EXPECT_EQ(parse_model_config(written, "written").rotary_fraction, 1.0);
}

TEST(Families, RefuseScalingsThatTheirRotatedDimensionsDoNotAllow) {
  const auto refusal = [](const std::string& name, RopeType type) {
    const ModelConfig config = read_model_config(family_model(name));
    return message_of<InputError>([&] { scaling_for_window(config, type, 100); });
  };
  EXPECT_THAT(refusal("stablelm", RopeType::kDynamic), HasSubstr("more than 2 rotated dimensions"));
  EXPECT_THAT(refusal("neox_odd_rotary", RopeType::kYarn), HasSubstr("even number of rotated dimensions"));
}

TEST(Families, RotateTheDimensionsThatTheirCodeCounts) {
  Json json = read_json(family_model("stablelm") / "config.json");
  json.erase("rope_parameters");
  json.update({{"hidden_size", 48}, {"num_attention_heads", 4}, {"num_key_value_heads", 4}});
  json["partial_rotary_factor"] = 0.25;  // 3 of 12
  EXPECT_THAT(message_of<InputError>([&] { parse_model_config(json, "here/config.json"); }),
              AllOf(HasSubstr("partial_rotary_factor"), HasSubstr("even number of the 12")));
  json["head_dim"] = 6;  // which decides the angles: 1 pair, but for 3 dimensions still
  EXPECT_THROW(parse_model_config(json, "here/config.json"), InputError);
  json["num_attention_heads"] = json["num_key_value_heads"] = 6;  // 2 of 8, with 1 pair of angles
  EXPECT_EQ(parse_model_config(json, "here/config.json").rotary_dims(), 1);
}

TEST(Families, RefuseLongRopeForHalfAPairInPhi3) {
  Json json = read_json(family_model("phi3_longrope") / "config.json");
  json.update({{"hidden_size", 24}, {"num_attention_heads", 2}, {"num_key_value_heads", 1}});
  json["partial_rotary_factor"] = 0.25;  // 3 of 12
  Json& scaling = json[json.contains("rope_parameters") ? "rope_parameters" : "rope_scaling"];
  scaling.erase("partial_rotary_factor");
  scaling["short_factor"] = scaling["long_factor"] = {1.5, 2.0};
  EXPECT_THAT(message_of<InputError>([&] { parse_model_config(json, "here/config.json"); }),
              HasSubstr("even number of rotated dimensions for longrope, got 3"));
}

TEST(Families, WriteTheHeadSizeThatTransformersNeedsBesideLayerTypes) {
  for (const char* name : {"ministral", "qwen2_window"}) {
    Json json = read_json(family_model(name) / "config.json");
    json["layer_types"] = std::vector<std::string>(json["num_hidden_layers"].get<size_t>(), "full_attention");
    json.erase("head_dim");
    const Json written = model_config_json(parse_model_config(json, name), "float32");
    EXPECT_EQ(written.contains("head_dim"), std::string(name) == "ministral");
  }
}

TEST(Families, RefuseWhatTheyCannotCompute) {
  Json json = read_json(family_model("stablelm") / "config.json");
  json["qk_layernorm"] = true;
  EXPECT_THAT(message_of<InputError>([&] { parse_model_config(json, "here/config.json"); }),
              AllOf(HasSubstr("here/config.json"), HasSubstr("qk_layernorm")));
}

std::vector<int64_t> windows_of(const Json& json) {
  Json whole = {{"vocab_size", 8},        {"hidden_size", 8},
                {"intermediate_size", 8}, {"num_attention_heads", 2},
                {"num_hidden_layers", 3}, {"num_key_value_heads", 2},
                {"head_dim", 4}};
  whole.update(json);
  return parse_model_config(whole, "here/config.json").layer_windows;
}

TEST(SlidingWindow, IsReadAsEachFamilyWritesIt) {
  EXPECT_THAT(windows_of({{"model_type", "mistral"}, {"sliding_window", 9}}), ElementsAre(9, 9, 9));
  EXPECT_THAT(windows_of({{"model_type", "mistral"}, {"sliding_window", nullptr}}), ElementsAre());
  EXPECT_THAT(windows_of({{"model_type", "mistral"}}), ElementsAre(4096, 4096, 4096));
  const Json some = {{"sliding_window", 9},
                     {"layer_types", {"sliding_attention", "full_attention", "attention"}}};
  for (const char* mistral : {"mistral", "ministral"}) {
    Json json = some;
    json["model_type"] = mistral;
    EXPECT_THAT(windows_of(json), ElementsAre(9, 0, 0));
    json["layer_types"] = nullptr;
    EXPECT_THAT(windows_of(json), ElementsAre(9, 9, 9));
    json["layer_types"] = {"full_attention", "full_attention", "full_attention"};
    EXPECT_THAT(windows_of(json), ElementsAre());
    json["layer_types"] = {"sliding_attention", "full_attention", "full_attention"};
    json["sliding_window"] = nullptr;
    EXPECT_THAT(message_of<InputError>([&] { windows_of(json); }), HasSubstr("expected the sliding_window"));
  }
  EXPECT_THAT(windows_of({{"model_type", "phi3"}}), ElementsAre());
  EXPECT_THAT(windows_of({{"model_type", "phi3"}, {"sliding_window", 9}}), ElementsAre(9, 9, 9));
  for (const char* qwen : {"qwen2", "qwen3"}) {
    Json json = {{"model_type", qwen}, {"sliding_window", 9}, {"max_window_layers", 1}};
    EXPECT_THAT(windows_of(json), ElementsAre());
    json["use_sliding_window"] = true;
    EXPECT_THAT(windows_of(json), ElementsAre(0, 9, 9));
    json["max_window_layers"] = 0;
    EXPECT_THAT(windows_of(json), ElementsAre(9, 9, 9));
    json["layer_types"] = {"sliding_attention", "full_attention", "sliding_attention"};
    EXPECT_THAT(windows_of(json), ElementsAre(9, 0, 9));
    json["layer_types"] = {"sliding_attention", "full_attention"};
    EXPECT_THAT(message_of<InputError>([&] { windows_of(json); }), HasSubstr("each of 3 layers, got 2"));
    json["layer_types"] = {"sliding_attention", "full_attention", "chunked_attention"};
    EXPECT_THAT(message_of<InputError>([&] { windows_of(json); }), HasSubstr("got chunked_attention"));
  }
}

std::vector<std::string> trained_by_embed_and_norm(const std::string& name) {
  Decoder decoder = load_decoder(family_model(name), at::kFloat);
  train_adapter(decoder, {"embed", "norm"});
  std::vector<std::string> trained;
  visit_parameters(decoder, [&](const std::string& parameter, const Parameter& value) {
    if (value.trainable()) trained.push_back(parameter);
  });
  return trained;
}

TEST(TrainAdapter, FindsTheEmbeddingAndTheNormsOfGptNeoX) {
  const auto trained = trained_by_embed_and_norm("neox");
  EXPECT_THAT(trained, IsSupersetOf({"gpt_neox.embed_in.weight", "gpt_neox.layers.0.input_layernorm.weight",
                                     "gpt_neox.layers.0.input_layernorm.bias",
                                     "gpt_neox.layers.1.post_attention_layernorm.weight",
                                     "gpt_neox.layers.1.post_attention_layernorm.bias",
                                     "gpt_neox.final_layer_norm.weight", "gpt_neox.final_layer_norm.bias"}));
  EXPECT_THAT(trained, Not(Contains(HasSubstr("attention."))));
  EXPECT_THAT(trained, Not(Contains(HasSubstr("mlp."))));
}

TEST(TrainAdapter, FindsTheQueryAndKeyNormsOfQwen3) {
  EXPECT_THAT(
      trained_by_embed_and_norm("qwen3"),
      IsSupersetOf({"model.layers.0.self_attn.q_norm.weight", "model.layers.1.self_attn.k_norm.weight",
                    "model.embed_tokens.weight", "model.norm.weight"}));
}

TEST(AddLora, GivesEachFamilyThePairsItNames) {
  for_each_model([](const std::string& name) {
    Decoder decoder = load_decoder(family_model(name), at::kFloat);
    checkpoint::LoraConfig lora;
    lora.target_modules = decoder.config.family().lora_targets;
    add_lora(decoder, lora, 1);
    size_t pairs = 0;
    visit_linears(decoder, [&](const std::string& module, const Linear& linear) {
      if (linear.lora) ++pairs;
      EXPECT_EQ(linear.lora.has_value(), module.find("mlp") == std::string::npos) << module;
    });
    EXPECT_EQ(pairs, lora.target_modules.size() * decoder.blocks.size());
  });
}

TEST(LoadAdapter, GivesTheLogitsOfPeftOnFusedProjectionsAndMergesToTheSame) {
  for (const char* name : {"neox", "phi3", "qwen2"}) {
    SCOPED_TRACE(name);
    const auto folder = test::data_path("goldens/family_adapters") / name;
    const auto golden = checkpoint::TensorStore::open_file(folder / "golden.safetensors");
    Decoder decoder = load_with_adapter(family_model(name), folder, at::kFloat);
    const at::Tensor ids = golden.load("ids");
    EXPECT_CLOSE(logits_of(decoder, ids), golden.load("logits"), 2e-5);
    merge_lora(decoder);
    EXPECT_CLOSE(logits_of(decoder, ids), golden.load("logits"), 2e-5);
    test::TemporaryDirectory merged;
    save_decoder(decoder, merged.path(), at::kFloat);
    EXPECT_CLOSE(logits_of(load_decoder(merged.path(), at::kFloat), ids), golden.load("logits"), 2e-5);
  }
}

TEST(Phi3Config, HoldsEveryScalingAsLongRope) {
  for (const RopeType type : {RopeType::kLinear, RopeType::kYarn}) {
    SCOPED_TRACE(rope_type_name(type));
    Decoder decoder = load_decoder(family_model("phi3"), at::kFloat);
    decoder.config.rope_scaling = scaling_for_window(decoder.config, type, 50);
    const Json written = model_config_json(decoder.config, "float32");
    EXPECT_EQ(written["rope_scaling"]["rope_type"], "longrope");
    EXPECT_EQ(written["original_max_position_embeddings"], 16);
    EXPECT_EQ(written["max_position_embeddings"], 64);
    Decoder again = decoder;
    again.config = parse_model_config(written, "written");
    EXPECT_EQ(again.config.rope_scaling.factor, 4.0);
    EXPECT_EQ(again.config.context_window(), 64);
    for (const int64_t tokens : {9, 40}) {
      const at::Tensor ids = test::random_ids({1, tokens}, 48, 5);
      EXPECT_CLOSE(logits_of(again, ids), logits_of(decoder, ids), 1e-5);
    }
  }
  const ModelConfig config = read_model_config(family_model("phi3"));
  EXPECT_THAT(message_of<InputError>([&] { scaling_for_window(config, RopeType::kDynamic, 50); }),
              AllOf(HasSubstr("longrope for Phi3ForCausalLM"), HasSubstr("got dynamic")));
}

TEST(Phi3Config, ReadsTheNamesThatLongRopeHad) {
  Json json = read_json(family_model("phi3_longrope") / "config.json");
  for (const char* name : {"su", "yarn", "longrope"}) {
    json["rope_scaling"]["type"] = name;
    const ModelConfig config = parse_model_config(json, name);
    EXPECT_EQ(config.rope_scaling.type, RopeType::kLongRope);
    EXPECT_EQ(config.rope_scaling.factor, 4.0);  // 64 / 16: the two windows
    EXPECT_EQ(config.original_window(), 16);
  }
}

TEST(LoadDecoder, TellsApartWhatAFamilyIgnoresAndWhatItMisses) {
  // Buffers that old GPT-NeoX checkpoints hold are nothing to be warned of; a missing bias is an error.
  test::TemporaryDirectory folder;
  std::filesystem::copy_file(family_model("neox") / "config.json", folder / "config.json");
  const Decoder decoder = load_decoder(family_model("neox"), at::kFloat);
  checkpoint::NamedTensors tensors = model_tensors(decoder, at::kFloat);
  tensors.emplace_back("gpt_neox.layers.0.attention.masked_bias", at::zeros({}));
  checkpoint::write_model_tensors(folder.path(), tensors);
  ::testing::internal::CaptureStderr();
  load_decoder(folder.path(), at::kFloat);
  EXPECT_THAT(::testing::internal::GetCapturedStderr(), Not(HasSubstr("not part of this architecture")));
  tensors.erase(std::remove_if(tensors.begin(), tensors.end(),
                               [](const auto& item) { return item.first.ends_with("dense.bias"); }),
                tensors.end());
  checkpoint::write_model_tensors(folder.path(), tensors);
  EXPECT_THAT(message_of<InputError>([&] { load_decoder(folder.path(), at::kFloat); }),
              HasSubstr("gpt_neox.layers.0.attention.dense.bias"));
}

}  // namespace
}  // namespace longlora::model
