#include "longlora/model/adapter.h"

#include <cmath>
#include <map>

#include "longlora/core/error.h"
#include "tests/model/tiny_models.h"
#include "tests/support/temporary_directory.h"

namespace longlora::model {
namespace {

checkpoint::LoraConfig lora_of_rank(int64_t rank) {
  checkpoint::LoraConfig config;
  config.rank = rank;
  return config;
}

namespace fs = std::filesystem;
using checkpoint::LoraConfig;
using checkpoint::NamedTensors;
using test::message_of;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

fs::path peft_adapter() {
  return test::data_path("goldens/peft_adapter");
}

at::Tensor some_ids() {
  return test::random_ids({2, 17}, 96, 3);
}

// Makes the pairs do something: B is zero at first.
void fill_lora(Decoder& decoder) {
  uint64_t seed = 50;
  visit_linears(decoder, [&](const std::string&, Linear& linear) {
    if (linear.lora)
      linear.lora->b.value = test::random_tensor(linear.lora->b.value.sizes(), seed++, decoder.dtype());
  });
}

TEST(LoadAdapter, GivesTheLogitsOfPeft) {
  const auto golden = checkpoint::TensorStore::open_file(peft_adapter() / "golden.safetensors");
  const at::Tensor ids = golden.load("ids");
  const Decoder decoder = load_with_adapter(tiny_model("gqa_untied"), peft_adapter(), at::kFloat);
  EXPECT_CLOSE(logits_of(decoder, ids), golden.load("logits"), 1e-5);
  // It is the adapter that makes the difference.
  const Decoder base = load_with_adapter(tiny_model("gqa_untied"), "", at::kFloat);
  EXPECT_GT(test::relative_difference(logits_of(base, ids), golden.load("logits")), 0.05);
}

TEST(LoadAdapter, TakesRopeScalingFromAConfigBesideIt) {
  test::TemporaryDirectory folder;
  for (const char* file :
       {"adapter_config.json", "adapter_model.safetensors", "trainable_params.safetensors"})
    fs::copy_file(peft_adapter() / file, folder / file);
  Json config = read_json(tiny_model("gqa_untied") / "config.json");
  config["rope_parameters"] = {{"rope_type", "linear"}, {"factor", 4.0}, {"rope_theta", 10000.0}};
  write_json(folder / "config.json", config);
  const Decoder decoder = load_with_adapter(tiny_model("gqa_untied"), folder.path(), at::kFloat);
  EXPECT_EQ(decoder.config.rope_scaling.type, RopeType::kLinear);
  EXPECT_EQ(decoder.config.rope_scaling.factor, 4.0);
}

TEST(MergeLora, KeepsTheLogitsAndLeavesNoPairs) {
  Decoder decoder = load_with_adapter(tiny_model("gqa_untied"), peft_adapter(), at::kFloat);
  const at::Tensor ids = some_ids(), before = logits_of(decoder, ids);
  merge_lora(decoder);
  EXPECT_CLOSE(logits_of(decoder, ids), before, 1e-5);
  visit_parameters(decoder, [](const std::string& name, const Parameter&) {
    EXPECT_EQ(name.find("lora"), std::string::npos) << name;
  });
  // A merged model saves as an ordinary one.
  test::TemporaryDirectory folder;
  save_decoder(decoder, folder.path(), at::kFloat);
  EXPECT_CLOSE(logits_of(load_decoder(folder.path(), at::kFloat), ids), before, 1e-5);
}

TEST(AddLora, ChangesNothingAtFirst) {
  Decoder decoder = load_decoder(tiny_model("gqa_untied"), at::kFloat);
  const at::Tensor ids = some_ids(), before = logits_of(decoder, ids);
  add_lora(decoder, {}, 5);
  EXPECT_CLOSE(logits_of(decoder, ids), before, 1e-7);
  fill_lora(decoder);
  EXPECT_GT(test::relative_difference(logits_of(decoder, ids), before), 0.01);
}

TEST(AddLora, WithDoraChangesNothingAtFirstInEitherPrecision) {
  for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16}) {
    Decoder decoder = load_decoder(tiny_model("gqa_untied"), dtype);
    const at::Tensor ids = some_ids(), before = logits_of(decoder, ids);
    LoraConfig config;
    config.use_dora = true;
    add_lora(decoder, config, 5);
    EXPECT_CLOSE(logits_of(decoder, ids), before, dtype == at::kFloat ? 1e-6 : 0.02);
    const LoraPair& pair = *decoder.blocks[0].q_proj.lora;
    // Rounded to bfloat16 it would not be the norm any more.
    EXPECT_EQ(pair.magnitude.value.scalar_type(), at::kFloat);
    EXPECT_CLOSE(pair.magnitude.value.dense(),
                 decoder.blocks[0].q_proj.weight.value.dense().to(at::kFloat).norm(2, {1}, false), 1e-6);
  }
}

TEST(AddLora, TargetsWhatAPatternMatches) {
  Decoder decoder = load_decoder(tiny_model("gqa_untied"), at::kFloat);
  LoraConfig config;
  config.target_modules.clear();
  config.target_pattern = R"(model\.layers\.[02]\..*\.(q|up)_proj)";
  add_lora(decoder, config, 1);
  std::vector<std::string> found;
  visit_linears(decoder, [&](const std::string& name, const Linear& linear) {
    if (linear.lora) found.push_back(name);
  });
  EXPECT_THAT(found, ElementsAre("model.layers.0.self_attn.q_proj", "model.layers.0.mlp.up_proj",
                                 "model.layers.2.self_attn.q_proj", "model.layers.2.mlp.up_proj"));
  config.target_pattern = "q_proj.*";  // the end of a name is not the whole
  EXPECT_THAT(message_of<UsageError>([&] { add_lora(decoder, config, 1); }),
              AllOf(HasSubstr("[lora_target_modules]"), HasSubstr("model.layers.0.self_attn.q_proj"),
                    HasSubstr("q_proj.*")));
}

TEST(AddLora, DrawsAFromTheSeedInsidePeftsBounds) {
  const auto first_a = [](uint64_t seed) {
    Decoder decoder = load_decoder(tiny_model("gqa_untied"), at::kFloat);
    add_lora(decoder, lora_of_rank(16), seed);
    return decoder.blocks[0].q_proj.lora->a.value.dense();
  };
  const at::Tensor a = first_a(1);
  EXPECT_TRUE(at::equal(a, first_a(1)));
  EXPECT_FALSE(at::equal(a, first_a(2)));
  const double bound = 1.0 / std::sqrt(32.0);
  EXPECT_LE(a.abs().max().item<double>(), bound);
  EXPECT_GT(a.abs().max().item<double>(), 0.95 * bound);
}

TEST(AddLora, TargetsTheModulesThatAreNamed) {
  Decoder decoder = load_decoder(tiny_model("gqa_untied"), at::kFloat);
  LoraConfig config;
  config.target_modules = {"v_proj", "model.layers.1.mlp.up_proj"};
  add_lora(decoder, config, 1);
  std::vector<std::string> found;
  visit_linears(decoder, [&](const std::string& name, const Linear& linear) {
    if (linear.lora) found.push_back(name);
  });
  EXPECT_THAT(found, ElementsAre("model.layers.0.self_attn.v_proj", "model.layers.1.self_attn.v_proj",
                                 "model.layers.1.mlp.up_proj", "model.layers.2.self_attn.v_proj"));
}

TEST(AddLora, RefusesATargetThatMatchesNothing) {
  Decoder decoder = load_decoder(tiny_model("mqa"), at::kFloat);
  LoraConfig config;
  config.target_modules = {"q_proj", "query_key_value"};
  EXPECT_THAT(message_of<UsageError>([&] { add_lora(decoder, config, 1); }),
              AllOf(HasSubstr("got query_key_value"), HasSubstr("down_proj"), HasSubstr("q_proj")));
}

std::map<std::string, bool> trainable_names(const Decoder& decoder) {
  std::map<std::string, bool> names;
  visit_parameters(decoder, [&](const std::string& name, const Parameter& parameter) {
    names[name] = parameter.trainable();
    EXPECT_EQ(parameter.value.requires_grad(), parameter.trainable()) << name;
  });
  return names;
}

TEST(TrainAdapter, TrainsPairsAndParametersWhoseNamesMatch) {
  Decoder decoder = load_decoder(tiny_model("gqa_untied"), at::kFloat);
  add_lora(decoder, {}, 1);
  train_adapter(decoder, {"embed", "norm"});
  const auto names = trainable_names(decoder);
  EXPECT_TRUE(names.at("model.embed_tokens.weight"));
  EXPECT_TRUE(names.at("model.norm.weight"));
  EXPECT_TRUE(names.at("model.layers.1.input_layernorm.weight"));
  EXPECT_TRUE(names.at("model.layers.1.post_attention_layernorm.weight"));
  EXPECT_TRUE(names.at("model.layers.1.self_attn.o_proj.lora_A.weight"));
  EXPECT_TRUE(names.at("model.layers.1.self_attn.o_proj.lora_B.weight"));
  EXPECT_FALSE(names.at("model.layers.1.self_attn.o_proj.weight"));
  EXPECT_FALSE(names.at("model.layers.1.mlp.up_proj.weight"));
  EXPECT_FALSE(names.at("lm_head.weight"));
  // embedding + 7 norms + 3 layers × (q, k, v, o) pairs of rank 8
  EXPECT_EQ(count_parameters(decoder).trainable, 96 * 32 + 7 * 32 + 3 * 8 * (64 + 48 + 48 + 64));
}

TEST(TrainAdapter, RefusesAPatternThatMatchesNothing) {
  Decoder decoder = load_decoder(tiny_model("mqa"), at::kFloat);
  add_lora(decoder, {}, 1);
  EXPECT_THAT(message_of<UsageError>([&] { train_adapter(decoder, {"norm", "wte"}); }), HasSubstr("wte"));
}

TEST(TrainEverything, TrainsEveryWeight) {
  Decoder decoder = load_decoder(tiny_model("mha_tied"), at::kFloat);
  train_everything(decoder);
  for (const auto& [name, trains] : trainable_names(decoder)) EXPECT_TRUE(trains) << name;
  EXPECT_EQ(count_parameters(decoder).trainable, count_parameters(decoder).total);
}

// Writes an adapter for q_proj of the first layer alone, with these further parameters.
void write_adapter(const fs::path& folder, const std::string& module, const at::Tensor& a,
                   const at::Tensor& b, const NamedTensors& parameters) {
  LoraConfig config;
  config.rank = a.size(0);
  config.target_modules = {"q_proj"};
  checkpoint::write_peft_adapter(
      folder, config, {{module + ".lora_A.weight", a}, {module + ".lora_B.weight", b}}, parameters);
}

TEST(LoadAdapter, GrowsTheVocabularyToThatOfTheAdapter) {
  test::TemporaryDirectory folder;
  const at::Tensor embedding = test::random_tensor({97, 32}, 1);
  write_adapter(folder.path(), "model.layers.0.self_attn.q_proj", test::random_tensor({8, 32}, 2),
                test::random_tensor({32, 8}, 3), {{"model.embed_tokens.weight", embedding}});
  const Decoder decoder = load_with_adapter(tiny_model("gqa_untied"), folder.path(), at::kFloat);
  EXPECT_EQ(decoder.config.vocab_size, 97);
  EXPECT_TRUE(at::equal(decoder.embed_tokens.value.dense(), embedding));
  const Decoder base = load_decoder(tiny_model("gqa_untied"), at::kFloat);
  EXPECT_CLOSE(decoder.lm_head.value.dense()[96], base.lm_head.value.dense().mean(0), 1e-6);
}

// The message about an adapter on gqa_untied.
std::string refusal(const std::string& module, const at::Tensor& a, const at::Tensor& b,
                    const NamedTensors& parameters = {}) {
  test::TemporaryDirectory folder;
  write_adapter(folder.path(), module, a, b, parameters);
  return message_of<InputError>(
      [&] { load_with_adapter(tiny_model("gqa_untied"), folder.path(), at::kFloat); });
}

TEST(LoadAdapter, RefusesAnAdapterOfAnotherModel) {
  const at::Tensor a = test::random_tensor({8, 32}, 1), b = test::random_tensor({32, 8}, 2);
  EXPECT_THAT(refusal("model.layers.7.self_attn.q_proj", a, b), HasSubstr("model.layers.7.self_attn.q_proj"));
  const std::string module = "model.layers.0.self_attn.q_proj";
  EXPECT_THAT(refusal(module, test::random_tensor({8, 48}, 1), b),
              AllOf(HasSubstr("32 × 32"), HasSubstr("A with 48 columns"), HasSubstr("base model")));
  EXPECT_THAT(refusal(module, a, test::random_tensor({64, 8}, 1)), HasSubstr("B with 64 rows"));
  EXPECT_THAT(refusal(module, a, b, {{"model.embed_tokens.weight", test::random_tensor({90, 32}, 3)}}),
              HasSubstr("of shape [96, 32] or with more rows, got [90, 32]"));
  EXPECT_THAT(refusal(module, a, b, {{"model.norm.weight", test::random_tensor({48}, 3)}}),
              AllOf(HasSubstr("model.norm.weight"), HasSubstr("[32]"), HasSubstr("[48]")));
  EXPECT_THAT(refusal(module, a, b, {{"model.embed_tokens.weight", at::ones({}, at::kFloat)}}),
              HasSubstr("model.embed_tokens.weight"));
  EXPECT_THAT(refusal(module, a, b, {{"model.extra.weight", at::ones({4}, at::kFloat)}}),
              HasSubstr("model.extra.weight"));
}

}  // namespace
}  // namespace longlora::model
