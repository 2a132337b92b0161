// What the settings of an adapter name, and what the names of its tensors say.
#include "longlora/checkpoint/adapter_name.h"
#include "longlora/checkpoint/module_pattern.h"
#include "longlora/checkpoint/peft_adapter.h"
#include "longlora/core/json.h"
#include "test_support.h"

namespace longlora::checkpoint {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

const std::string kQ = "model.layers.0.self_attn.q_proj";
const std::string kV = "model.layers.0.self_attn.v_proj";

TEST(ModulePattern, IsTheWholeNameOrItsEndAfterADot) {
  EXPECT_TRUE(matches_module("q_proj", kQ));
  EXPECT_TRUE(matches_module("self_attn.q_proj", kQ));
  EXPECT_TRUE(matches_module(kQ, kQ));
  EXPECT_TRUE(matches_module("^" + kQ + "$", kQ));
  EXPECT_TRUE(matches_module("layers\\.\\d\\.self_attn.q_proj", kQ));
  EXPECT_FALSE(matches_module("^q_proj", kQ));
  EXPECT_FALSE(matches_module("proj", kQ));
  EXPECT_FALSE(matches_module("q_proj.", kQ));
  EXPECT_FALSE(matches_module("layers.1.self_attn.q_proj", kQ));
  EXPECT_TRUE(matches_module("(q|v)_proj", kQ));
  EXPECT_TRUE(matches_module("layers\\.\\d+\\.(?!mlp).*", kQ));
  EXPECT_TRUE(matches_module("self_attn{,1}\\.[qk]_proj", kQ));
  EXPECT_TRUE(matches_module("(?P<half>q)_(?:proj)", kQ));
  EXPECT_FALSE(matches_module("[kv]_proj", kQ));
}

TEST(ModulePattern, AsTargetIsTheWholeName) {
  EXPECT_TRUE(matches_target(R"(.*\.(q|v)_proj)", kQ));
  EXPECT_TRUE(matches_target("all-linear", kQ));
  EXPECT_TRUE(matches_target("model|" + kQ, kQ));
  EXPECT_FALSE(matches_target("q_proj", kQ));
  EXPECT_FALSE(matches_target(R"(.*\.q)", kQ));
}

TEST(ModulePattern, IsRefusedWhereItIsNoneOrTakesForever) {
  EXPECT_THAT(input_error_of([] { check_module_pattern("(q", "adapter_config.json: rank_pattern"); }),
              AllOf(HasSubstr("[adapter_config.json: rank_pattern] expected a regular expression"),
                    HasSubstr("missing closing parenthesis")));
  EXPECT_THAT(input_error_of([] { check_module_pattern(std::string(20000, 'a'), "x"); }),
              HasSubstr("at most 16384 bytes, got one of 20000"));
  EXPECT_THAT(input_error_of([] { matches_module("(a+a+)+[bc]", std::string(60, 'a')); }),
              HasSubstr("PCRE2's limits"));
}

TEST(LoraConfig, TargetsAreThoseOfTheLayersAskedFor) {
  LoraConfig config;
  config.target_modules = {"q_proj", "model.layers.2.self_attn.v_proj"};
  config.layers_to_transform = {1, 10};
  EXPECT_TRUE(config.targets("model.layers.1.self_attn.q_proj"));
  EXPECT_TRUE(config.targets("model.layers.10.self_attn.q_proj"));
  EXPECT_FALSE(config.targets("model.layers.0.self_attn.q_proj"));
  EXPECT_TRUE(config.targets("model.layers.2.self_attn.v_proj"));  // by its whole name
  EXPECT_TRUE(config.targets("q_proj"));                           // also a whole name
  EXPECT_FALSE(config.targets("model.q_proj"));                    // of no layer
  config.layers_pattern = {"blocks", "l.yers"};
  EXPECT_TRUE(config.targets("model.layers.1.self_attn.q_proj"));
  EXPECT_TRUE(config.targets("blocks.1.q_proj"));
  EXPECT_FALSE(config.targets("model.experts.1.q_proj"));
}

TEST(LoraConfig, TargetsAreNoneThatAreExcludedOrTrainedWhole) {
  LoraConfig config;
  config.target_pattern = R"(.*_proj)";
  config.exclude_modules = {"layers.0.self_attn.q_proj"};
  config.modules_to_save = {"mlp"};
  EXPECT_FALSE(config.targets("model.layers.0.self_attn.q_proj"));
  EXPECT_TRUE(config.targets("model.layers.1.self_attn.q_proj"));
  EXPECT_FALSE(config.targets("model.layers.1.mlp.up_proj"));
  config.exclude_pattern = R"(model\.layers\.1\..*)";
  EXPECT_FALSE(config.targets("model.layers.1.self_attn.q_proj"));
  EXPECT_TRUE(config.targets("model.layers.11.self_attn.q_proj"));
}

TEST(LoraConfig, TrainsWholeWhatModulesToSaveAndBiasSay) {
  LoraConfig config;
  config.target_modules = {"q_proj"};
  EXPECT_FALSE(config.trains_whole("model.norm.weight"));
  config.modules_to_save = {"norm", "mlp"};
  EXPECT_TRUE(config.trains_whole("model.norm.weight"));
  EXPECT_TRUE(config.trains_whole("model.layers.0.input_layernorm.weight"));  // its name ends so
  EXPECT_TRUE(config.trains_whole("model.layers.0.mlp.up_proj.weight"));
  EXPECT_FALSE(config.trains_whole(kQ + ".bias"));
  config.bias = "lora_only";
  EXPECT_TRUE(config.trains_whole(kQ + ".bias"));
  EXPECT_FALSE(config.trains_whole(kV + ".bias"));
  config.bias = "all";
  EXPECT_TRUE(config.trains_whole(kV + ".bias"));
  EXPECT_FALSE(config.trains_whole(kV + ".weight"));
}

TEST(LoraConfig, TargetsMatchWholeNamesAtTheEnd) {
  LoraConfig config;
  config.target_modules = {"q_proj", "self_attn.o_proj"};
  EXPECT_TRUE(config.targets("model.layers.3.self_attn.q_proj"));
  EXPECT_TRUE(config.targets("q_proj"));
  EXPECT_TRUE(config.targets("model.layers.3.self_attn.o_proj"));
  EXPECT_FALSE(config.targets("model.layers.3.self_attn.qq_proj"));
  EXPECT_FALSE(config.targets("model.layers.3.other.o_proj"));
  EXPECT_FALSE(config.targets("model.q_proj.weight"));
}

TEST(ParseAdapterName, LeavesOutWhatWrappersAdd) {
  const std::string name = kQ + ".lora_A.weight";
  for (const std::string& stored :
       {name, "base_model.model." + name, "base_model.model." + kQ + ".lora_A.default.weight",
        "base_model.model." + kQ + ".lora_A.french.weight", "module.base_model.model." + name,
        "base_model.model.base_model.model." + name, "base_model.model._orig_mod." + name,
        "_fsdp_wrapped_module.base_model.model." + name, "model.base_model.model." + name,
        std::string(
            "base_model.model.model.layers.0._checkpoint_wrapped_module.self_attn.q_proj.lora_A.weight")}) {
    EXPECT_EQ(parse_adapter_name(stored).name, name) << stored;
    EXPECT_EQ(parse_adapter_name(stored).module, kQ) << stored;
    EXPECT_EQ(parse_adapter_name(stored).part, AdapterPart::kPairA) << stored;
  }
}

TEST(ParseAdapterName, TellsThePartsApart) {
  const auto expect = [](const std::string& stored, AdapterPart part, const std::string& name,
                         const std::string& module) {
    const AdapterName found = parse_adapter_name("base_model.model." + stored);
    EXPECT_EQ(found.part, part) << stored;
    EXPECT_EQ(found.name, name) << stored;
    EXPECT_EQ(found.module, module) << stored;
  };
  const std::string embedding = "model.embed_tokens";
  expect("model.norm.weight", AdapterPart::kParameter, "model.norm.weight", "model.norm");
  expect(kQ + ".base_layer.bias", AdapterPart::kParameter, kQ + ".bias", kQ);
  expect("lm_head.modules_to_save.default.weight", AdapterPart::kParameter, "lm_head.weight", "lm_head");
  expect("lm_head.modules_to_save.weight", AdapterPart::kParameter, "lm_head.weight", "lm_head");
  EXPECT_TRUE(parse_adapter_name("lm_head.modules_to_save.weight").is_saved_copy);
  EXPECT_FALSE(parse_adapter_name("lm_head.weight").is_saved_copy);
  expect("lm_head.original_module.weight", AdapterPart::kOriginal, "lm_head.original_module.weight",
         "lm_head.original_module");
  expect(embedding + ".lora_embedding_A.default", AdapterPart::kPairB, embedding + ".lora_embedding_A",
         embedding);
  expect(embedding + ".lora_embedding_B", AdapterPart::kPairA, embedding + ".lora_embedding_B", embedding);
  expect(kQ + ".lora_B.default.bias", AdapterPart::kPairBias, kQ + ".lora_B.bias", kQ);
  expect(kQ + ".lora_magnitude_vector.default.weight", AdapterPart::kMagnitude, kQ + ".lora_magnitude_vector",
         kQ);
  expect(embedding + ".token_adapter.trainable_tokens_delta.default", AdapterPart::kTokenRows,
         embedding + ".token_adapter.trainable_tokens_delta", embedding);
  expect(embedding + ".token_adapter.base_layer.weight", AdapterPart::kParameter, embedding + ".weight",
         embedding);
  EXPECT_EQ(parse_adapter_name(embedding + ".token_adapter.trainable_tokens_original.default").part,
            AdapterPart::kDerived);
  EXPECT_EQ(parse_adapter_name("model.layers.0.self_attn.rotary_emb.inv_freq").part, AdapterPart::kDerived);
  for (const char* other : {".lora_E", ".lora_diag", ".hada_w1_a", ".ia3_l.default", ".lora_C.weight"})
    EXPECT_EQ(parse_adapter_name(kQ + other).part, AdapterPart::kOther) << other;
}

}  // namespace
}  // namespace longlora::checkpoint
