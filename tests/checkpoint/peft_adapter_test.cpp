// PEFT adapters: what is written is read back, and what cannot be computed is refused by name.
#include "longlora/checkpoint/peft_adapter.h"

#include <ATen/ATen.h>
#include <fmt/core.h>

#include <algorithm>
#include <cmath>

#include "longlora/checkpoint/adapter_name.h"
#include "longlora/checkpoint/module_pattern.h"
#include "longlora/checkpoint/tensor_writer.h"
#include "longlora/core/json.h"
#include "test_support.h"

namespace longlora::checkpoint {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

const std::string kQ = "model.layers.0.self_attn.q_proj";
const std::string kV = "model.layers.0.self_attn.v_proj";

LoraConfig small_config() {
  LoraConfig config;
  config.rank = 2;
  config.alpha = 5.0;
  config.dropout = 0.05;
  config.target_modules = {"q_proj", "v_proj"};
  config.base_model = "some/base";
  return config;
}

NamedTensors small_lora() {
  return {{kQ + ".lora_A.weight", at::arange(12, at::kFloat).view({2, 6})},
          {kQ + ".lora_B.weight", at::arange(8, at::kFloat).view({4, 2})},
          {kV + ".lora_A.weight", at::ones({2, 6})},
          {kV + ".lora_B.weight", at::zeros({3, 2})}};
}

NamedTensors small_parameters() {
  return {{"model.embed_tokens.weight", at::arange(10, at::kFloat).view({5, 2})},
          {"model.norm.weight", at::full({2}, 0.5)}};
}

class AdapterDirectory : public ::testing::Test {
 protected:
  void SetUp() override {
    write_peft_adapter(folder_.path(), small_config(), small_lora(), small_parameters());
  }
  std::string open_error() {
    return input_error_of([&] { PeftAdapter::open(folder_.path()); });
  }
  void set_field(const std::string& field, const Json& value) {
    Json config = read_json(folder_ / "adapter_config.json");
    config[field] = value;
    write_json(folder_ / "adapter_config.json", config);
  }
  void write_adapter_file(const NamedTensors& tensors) {
    write_safetensors(folder_ / "adapter_model.safetensors", tensors);
  }
  TemporaryDirectory folder_;
};

TEST_F(AdapterDirectory, ComesBackAsItWasWritten) {
  const PeftAdapter adapter = PeftAdapter::open(folder_.path());
  EXPECT_EQ(adapter.config().rank, 2);
  EXPECT_EQ(adapter.config().alpha, 5.0);
  EXPECT_EQ(adapter.config().scaling(), 2.5);
  EXPECT_EQ(adapter.config().dropout, 0.05);
  EXPECT_EQ(adapter.config().base_model, "some/base");
  EXPECT_THAT(adapter.config().target_modules, ElementsAre("q_proj", "v_proj"));
  EXPECT_THAT(adapter.modules(), ElementsAre(kQ, kV));
  EXPECT_TRUE(adapter.load_a(kQ).equal(small_lora()[0].second));
  EXPECT_TRUE(adapter.load_b(kQ).equal(small_lora()[1].second));
  EXPECT_THAT(adapter.parameters(), ElementsAre("model.embed_tokens.weight", "model.norm.weight"));
  EXPECT_TRUE(adapter.load_parameter("model.norm.weight").equal(small_parameters()[1].second));
}

TEST_F(AdapterDirectory, TheFileHasPeftsKeys) {
  const TensorStore store = TensorStore::open_file(folder_ / "adapter_model.safetensors");
  EXPECT_TRUE(store.contains("base_model.model." + kQ + ".lora_A.weight"));
  EXPECT_EQ(store.tensors().size(), 4u);
}

TEST_F(AdapterDirectory, TheConfigHasPeftsFields) {
  const Json config = read_json(folder_ / "adapter_config.json");
  EXPECT_EQ(config["peft_type"], "LORA");
  EXPECT_EQ(config["task_type"], "CAUSAL_LM");
  EXPECT_EQ(config["lora_alpha"].dump(), "5");
  EXPECT_EQ(config["bias"], "none");
  EXPECT_TRUE(config["modules_to_save"].is_null());
  EXPECT_EQ(config["inference_mode"], true);
}

TEST(PeftsOwnAdapter, IsReadAndWrittenAgainAsItWas) {
  const fs::path golden = fs::path(LONGLORA_SOURCE_DIR) / "tests/data/goldens/peft_adapter";
  const PeftAdapter adapter = PeftAdapter::open(golden);
  EXPECT_EQ(adapter.modules().size(), 9u);  // three targets in each of three layers
  EXPECT_EQ(adapter.config().scaling(), 3.0);
  EXPECT_THAT(adapter.parameters(), ::testing::Contains("model.embed_tokens.weight"));

  TemporaryDirectory copy;
  NamedTensors lora;
  for (const std::string& module : adapter.modules()) {
    lora.emplace_back(module + ".lora_A.weight", adapter.load_a(module));
    lora.emplace_back(module + ".lora_B.weight", adapter.load_b(module));
  }
  write_peft_adapter(copy.path(), adapter.config(), lora, {});

  const TensorStore ours = TensorStore::open_file(copy / "adapter_model.safetensors");
  const TensorStore theirs = TensorStore::open_file(golden / "adapter_model.safetensors");
  ASSERT_EQ(ours.tensors().size(), theirs.tensors().size());
  for (const auto& [name, info] : theirs.tensors())
    EXPECT_TRUE(ours.load(name).equal(theirs.load(name))) << name;

  Json our_config = read_json(copy / "adapter_config.json");
  Json their_config = read_json(golden / "adapter_config.json");
  their_config.erase("peft_version");
  for (Json* config : {&our_config, &their_config})
    std::sort((*config)["target_modules"].begin(), (*config)["target_modules"].end());
  EXPECT_EQ(our_config.dump(1), their_config.dump(1));
}

TEST_F(AdapterDirectory, AnAdapterWithoutTrainedParametersHasNone) {
  write_peft_adapter(folder_.path(), small_config(), small_lora(), {});
  const PeftAdapter adapter = PeftAdapter::open(folder_.path());
  EXPECT_TRUE(adapter.parameters().empty());
  EXPECT_THAT(input_error_of([&] { adapter.require_parameters(); }),
              HasSubstr("trainable_params.safetensors"));
}

TEST_F(AdapterDirectory, NoticesThatTheTrainedParametersWereLost) {
  fs::remove(folder_ / "trainable_params.safetensors");
  EXPECT_THAT(open_error(), HasSubstr("expected 2 trained parameters in trainable_params.safetensors"));
}

TEST_F(AdapterDirectory, NoticesTrainedParametersOfAnotherRun) {
  write_safetensors(folder_ / "trainable_params.safetensors", {{"model.norm.weight", at::ones({2})}});
  EXPECT_THAT(open_error(), HasSubstr("different runs"));
}

TEST_F(AdapterDirectory, NamesTheMissingFile) {
  fs::remove(folder_ / "adapter_model.safetensors");
  EXPECT_THAT(open_error(),
              HasSubstr("expected adapter_model.safetensors or adapter_model.bin, got no such"));
  write_bytes(folder_ / "adapter_model.bin", "x");
  EXPECT_THAT(open_error(), HasSubstr("adapter_model.bin"));
  fs::remove(folder_ / "adapter_config.json");
  EXPECT_THAT(open_error(), HasSubstr("adapter_config.json"));
}

TEST_F(AdapterDirectory, ReadsOtherSpellingsOfTheKeys) {
  const at::Tensor a = at::ones({2, 6});
  const at::Tensor b = at::ones({4, 2});
  for (const std::string prefix : {"", "base_model.model."})
    for (const std::string infix : {"", ".default"}) {
      write_adapter_file({{fmt::format("{}{}.lora_A{}.weight", prefix, kQ, infix), a},
                          {fmt::format("{}{}.lora_B{}.weight", prefix, kQ, infix), b}});
      EXPECT_TRUE(PeftAdapter::open(folder_.path()).load_b(kQ).equal(b)) << prefix << infix;
    }
}

TEST_F(AdapterDirectory, RefusesOneTensorUnderTwoNames) {
  NamedTensors tensors = small_lora();
  tensors.emplace_back("base_model.model." + kQ + ".lora_A.weight", at::ones({2, 6}));
  write_adapter_file(tensors);
  EXPECT_THAT(open_error(), HasSubstr("under two names with different values"));
}

TEST_F(AdapterDirectory, TakesTheCopyThatPeftWritesWhereTheVocabularyGrew) {
  fs::remove(folder_ / "trainable_params.safetensors");
  set_field("modules_to_save", Json::array({"lm_head"}));
  NamedTensors tensors = small_lora();
  tensors.emplace_back("base_model.model.lm_head.weight", at::ones({5, 2}));
  tensors.emplace_back("base_model.model.lm_head.modules_to_save.weight", at::ones({5, 2}));
  tensors.emplace_back("base_model.model.lm_head.original_module.weight", at::zeros({5, 2}));
  write_adapter_file(tensors);
  const PeftAdapter adapter = PeftAdapter::open(folder_.path());
  EXPECT_THAT(adapter.parameters(), ElementsAre("lm_head.weight"));
  EXPECT_TRUE(adapter.is_saved_copy("lm_head.weight"));
  EXPECT_TRUE(adapter.load_parameter(PeftAdapter::original_of("lm_head.weight")).equal(at::zeros({5, 2})));
}

TEST_F(AdapterDirectory, TakesTheEmbeddingThatPeftStoresAfterResizing) {
  fs::remove(folder_ / "trainable_params.safetensors");
  NamedTensors tensors = small_lora();
  tensors.emplace_back("base_model.model.model.embed_tokens.weight", at::ones({5, 2}));
  write_adapter_file(tensors);
  EXPECT_THAT(PeftAdapter::open(folder_.path()).parameters(), ElementsAre("model.embed_tokens.weight"));
}

TEST_F(AdapterDirectory, RefusesHalfAPair) {
  NamedTensors tensors = small_lora();
  tensors.pop_back();
  write_adapter_file(tensors);
  EXPECT_THAT(open_error(), HasSubstr(kV + ".lora_B.weight"));
}

TEST_F(AdapterDirectory, RefusesShapesThatDoNotFitTheRank) {
  set_field("r", 3);
  EXPECT_THAT(open_error(), HasSubstr("expected A [3, in] and B [out, 3] for r = 3, got [2, 6] and [4, 2]"));
}

TEST_F(AdapterDirectory, RefusesLayersThatAreNotTargets) {
  set_field("target_modules", {"q_proj"});
  EXPECT_THAT(open_error(), HasSubstr(kV));
}

TEST_F(AdapterDirectory, RefusesTensorsOfOtherKinds) {
  NamedTensors tensors = small_lora();
  tensors.emplace_back("base_model.model." + kQ + ".lora_magnitude_vector.weight", at::ones({4}));
  write_adapter_file(tensors);
  EXPECT_THAT(open_error(), HasSubstr("lora_magnitude_vector"));
  write_adapter_file({});
  EXPECT_THAT(open_error(), HasSubstr("expected lora_A and lora_B weights, got none"));
}

TEST_F(AdapterDirectory, SaysWhereTensorsWithoutValuesComeFrom) {
  NamedTensors tensors = small_lora();
  tensors.front().second = at::empty({0});
  write_adapter_file(tensors);
  EXPECT_THAT(open_error(), HasSubstr("expected values, got shape [0], which DeepSpeed's stage 3 saves"));
}

TEST_F(AdapterDirectory, RefusesByNameWhatWouldChangeTheResult) {
  const std::vector<std::pair<std::string, Json>> cases = {
      {"peft_type", "IA3"},
      {"task_type", "SEQ_CLS"},
      {"bias", "some"},
      {"use_dora", "yes"},
      {"use_qalora", true},
      {"lora_bias", "yes"},
      {"arrow_config", {{"top_k", 2}}},
      {"kasa_config", {{"beta", 0.1}}},
      {"alora_invocation_tokens", Json::array({1})},
      {"rank_pattern", {{"q_proj", 0}}},
      {"rank_pattern", Json::array({"q_proj"})},
      {"alpha_pattern", {{"q_proj", "4"}}},
      {"modules_to_save", "lm_head"},
      {"use_rslora", "yes"},
      {"layers_to_transform", Json::array({-1})},
      {"layers_to_transform", "all"},
      {"layer_replication", Json::array({Json::array({0, 1})})},
      {"trainable_token_indices", Json::array({-1})},
      {"trainable_token_indices", "all"},
      {"target_parameters", Json::array({"w"})},
      {"init_lora_weights", "pissa"},
      {"some_future_method", true},
      {"target_modules", ""},
      {"target_modules", Json::array()},
      {"r", 0},
      {"r", 2.5},
      {"r", "8"},
      {"lora_alpha", "16"},
      {"lora_dropout", 1.0},
  };
  for (const auto& [field, value] : cases) {
    write_lora_config(folder_.path(), small_config());
    set_field(field, value);
    EXPECT_THAT(open_error(), HasSubstr(field + ": expected")) << field << " = " << value.dump();
  }
}

TEST_F(AdapterDirectory, HasMagnitudesWithDoraAndNoneWithout) {
  set_field("use_dora", true);
  EXPECT_THAT(open_error(), HasSubstr(".lora_magnitude_vector\", got no such tensor"));
  NamedTensors tensors = small_lora();
  tensors.emplace_back("model.layers.0.self_attn.q_proj.lora_magnitude_vector", at::ones({2}));
  write_peft_adapter(folder_.path(), small_config(), tensors, {});
  EXPECT_THAT(open_error(), HasSubstr("is not supported without \"use_dora\": true"));
}

TEST_F(AdapterDirectory, RanksAndAlphasOfSingleModulesCount) {
  set_field("rank_pattern", {{"layers.0.self_attn.v_proj", 3}});
  set_field("alpha_pattern", {{"^model.layers.1.self_attn.v_proj", 8}, {"v_proj", 12.0}});
  NamedTensors tensors = small_lora();
  tensors[2].second = at::ones({3, 6});
  tensors[3].second = at::zeros({3, 3});
  write_adapter_file(tensors);
  const LoraConfig config = PeftAdapter::open(folder_.path()).config();
  EXPECT_EQ(config.rank_of(kV), 3);
  EXPECT_EQ(config.scaling_of(kV), 12.0 / 3.0);
  EXPECT_EQ(config.scaling_of(kQ), 2.5);
  EXPECT_EQ(config.scaling_of("model.layers.1.self_attn.v_proj"), 8.0 / 2.0);
  // The first in the file counts.
  set_field("alpha_pattern", {{"v_proj", 12.0}, {"^model.layers.1.self_attn.v_proj", 8}});
  EXPECT_EQ(PeftAdapter::open(folder_.path()).config().scaling_of("model.layers.1.self_attn.v_proj"), 6.0);
  set_field("rank_pattern", {{"q_proj", 3}});
  EXPECT_THAT(open_error(), HasSubstr("for r = 3, got [2, 6]"));
}

TEST_F(AdapterDirectory, RankStabilisedScalingDividesByTheRoot) {
  set_field("use_rslora", true);
  EXPECT_NEAR(PeftAdapter::open(folder_.path()).config().scaling_of(kQ), 5.0 / std::sqrt(2.0), 1e-12);
}

TEST_F(AdapterDirectory, WritesTheVariantsItReads) {
  LoraConfig config = small_config();
  config.use_rslora = true;
  config.rank_pattern = {{"q_proj", 4}};
  config.alpha_pattern = {{"v_proj", 2.5}};
  config.modules_to_save = {"lm_head"};
  config.bias = "lora_only";
  config.exclude_modules = {"layers.0.self_attn.q_proj"};
  config.layers_to_transform = {0, 2};
  config.layers_pattern = {"layers"};
  config.trainable_token_indices = {{"embed_tokens", {3, 1}}};
  config.ensure_weight_tying = true;
  write_lora_config(folder_.path(), config);
  const LoraConfig read = read_lora_config(folder_.path());
  EXPECT_EQ(read.bias, config.bias);
  EXPECT_EQ(read.exclude_modules, config.exclude_modules);
  EXPECT_EQ(read.layers_to_transform, config.layers_to_transform);
  EXPECT_EQ(read.layers_pattern, config.layers_pattern);
  EXPECT_EQ(read.trainable_token_indices.at(0).module, "embed_tokens");
  EXPECT_EQ(read.trainable_token_indices.at(0).ids, config.trainable_token_indices[0].ids);
  EXPECT_TRUE(read.ensure_weight_tying);
  EXPECT_TRUE(read.use_rslora);
  EXPECT_EQ(read.rank_pattern, config.rank_pattern);
  EXPECT_EQ(read.alpha_pattern, config.alpha_pattern);
  EXPECT_EQ(read.modules_to_save, config.modules_to_save);
}

TEST_F(AdapterDirectory, TakesTheModulesThatWereTrainedWhole) {
  fs::remove(folder_ / "trainable_params.safetensors");
  set_field("modules_to_save", Json::array({"lm_head", "norm"}));
  NamedTensors tensors = small_lora();
  tensors.emplace_back("base_model.model.lm_head.weight", at::ones({5, 2}));
  tensors.emplace_back("base_model.model.model.norm.modules_to_save.default.weight", at::ones({2}));
  write_adapter_file(tensors);
  EXPECT_THAT(PeftAdapter::open(folder_.path()).parameters(),
              ElementsAre("lm_head.weight", "model.norm.weight"));
}

// As LongLoRA released them: .bin files, with or without PEFT's prefix.
TEST_F(AdapterDirectory, ReadsThePairOfBinFiles) {
  fs::remove(folder_ / "adapter_model.safetensors");
  fs::remove(folder_ / "trainable_params.safetensors");
  for (const std::string prefix : {"", "base_model.model."}) {
    const auto write = [&](const char* file, const NamedTensors& tensors) {
      std::vector<TensorSpec> specs;
      for (const auto& [name, tensor] : tensors)
        specs.push_back({prefix + name, tensor.scalar_type(), tensor.sizes().vec()});
      size_t next = 0;
      write_tensor_file(folder_ / file, TensorFormat::kTorch, specs,
                        [&](const TensorSpec&) { return tensors[next++].second; });
    };
    write("adapter_model.bin", small_lora());
    write("trainable_params.bin", small_parameters());
    const PeftAdapter adapter = PeftAdapter::open(folder_.path());
    EXPECT_THAT(adapter.modules(), ElementsAre(kQ, kV));
    EXPECT_TRUE(adapter.load_a(kQ).equal(small_lora()[0].second));
    EXPECT_TRUE(adapter.load_parameter("model.norm.weight").equal(small_parameters()[1].second));
  }
  fs::remove(folder_ / "trainable_params.bin");
  EXPECT_THAT(input_error_of([&] { PeftAdapter::open(folder_.path()).require_parameters(); }),
              HasSubstr("trainable_params.bin"));
}

TEST_F(AdapterDirectory, ModulesHaveToMatchATargetPattern) {
  set_field("target_modules", R"(model\.layers\.\d\.self_attn\.(q|v)_proj)");
  const LoraConfig config = PeftAdapter::open(folder_.path()).config();
  EXPECT_TRUE(config.targets(kQ));
  write_lora_config(folder_.path(), config);  // and stays what it was
  EXPECT_EQ(read_lora_config(folder_.path()).target_pattern, config.target_pattern);
  set_field("target_modules", R"(.*\.q_proj)");
  EXPECT_THAT(open_error(),
              AllOf(HasSubstr("expected layers named in target_modules (.*\\.q_proj)"), HasSubstr("v_proj")));
  set_field("target_modules", "(q_proj");
  EXPECT_THAT(open_error(), HasSubstr("target_modules] expected a regular expression"));
}

TEST_F(AdapterDirectory, AcceptsWhatDoesNot) {
  set_field("revision", "main");
  set_field("init_lora_weights", "gaussian");
  set_field("peft_version", "0.30.0");
  set_field("some_future_method", false);
  set_field("some_future_list", Json::array());
  set_field("lora_alpha", 16.5);
  EXPECT_EQ(PeftAdapter::open(folder_.path()).config().alpha, 16.5);
}

}  // namespace
}  // namespace longlora::checkpoint
