// config.json against the configuration classes of transformers: their fields, and what each change of one
// does.
#include "longlora/model/config_fields.h"

#include <algorithm>

#include "longlora/core/error.h"
#include "longlora/model/family.h"
#include "tests/model/tiny_models.h"
#include "tests/support/temporary_directory.h"

namespace longlora::model {
namespace {

using test::message_of;
using ::testing::AllOf;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

const std::filesystem::path kFolder = test::data_path("goldens/config_fields");

// Calls body(family, fields) for every family that transformers and this program know.
template <typename Body>
void for_each_family(const Body& body) {
  const Json fields = read_json(kFolder / "fields.json");
  ASSERT_EQ(fields["families"].size(), families().size());
  for (const auto& [name, own] : fields["families"].items()) {
    SCOPED_TRACE(name);
    const Family* family = find_family(name);
    ASSERT_NE(family, nullptr);
    body(*family, own, fields);
  }
}

TEST(ConfigFields, HaveAPlaceInTheTableForEveryFieldOfTransformers) {
  for_each_family([](const Family& family, const Json& own, const Json& all) {
    for (const auto& [field, value] : own.items())
      EXPECT_NE(find_config_field(family, field), nullptr) << field;
    for (const Json& field : all["generation"])
      EXPECT_NE(find_config_field(family, field.get<std::string>()), nullptr) << field;
  });
}

TEST(ConfigFields, AreReadOrRefusedWhereModelsOfTransformersLookForThemBesideTheClass) {
  // A family has these or passes them over, as transformers does; then they are named.
  const std::set<std::string> of_some = {"sliding_window",        "layer_types",     "rope_theta",
                                         "partial_rotary_factor", "rotary_emb_base", "rotary_pct"};
  for_each_family([&](const Family& family, const Json&, const Json& all) {
    for (const Json& field : all["beside"]) {
      const auto name = field.get<std::string>();
      if (name.starts_with('_') || of_some.count(name) != 0) continue;
      EXPECT_NE(find_config_field(family, name), nullptr) << name;
    }
  });
}

TEST(ConfigFields, HaveTheDefaultsOfTransformers) {
  for_each_family([](const Family& family, const Json& own, const Json&) {
    Json json = {{"model_type", family.model_type}};
    for (const char* size :
         {"vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads"})
      json[size] = own[size];
    const ModelConfig config = parse_model_config(json, "test");
    EXPECT_EQ(config.max_position_embeddings, own["max_position_embeddings"]);
    EXPECT_EQ(config.norm_eps, own[family.norm_eps_key]);
    EXPECT_EQ(config.tie_word_embeddings, own["tie_word_embeddings"]);
    EXPECT_EQ(config.initializer_range, own.value("initializer_range", Json(0.02)) == "?"
                                            ? 0.02
                                            : own["initializer_range"].get<double>());
    const Json key_heads = own.value("num_key_value_heads", Json());
    EXPECT_EQ(config.num_key_value_heads,
              key_heads.is_null() ? config.num_attention_heads : key_heads.get<int64_t>());
  });
}

std::vector<double> logprobs_of(const Decoder& decoder, const std::vector<int64_t>& ids) {
  const auto tokens = static_cast<int64_t>(ids.size());
  const at::Tensor all = at::tensor(ids, at::kLong);
  const at::Tensor logits = logits_of(decoder, all.unsqueeze(0))[0].to(at::kDouble).log_softmax(-1);
  const at::Tensor found =
      logits.slice(0, 0, tokens - 1).gather(1, all.slice(0, 1).unsqueeze(1)).squeeze(1).contiguous();
  return {found.const_data_ptr<double>(), found.const_data_ptr<double>() + found.numel()};
}

double largest_difference(const std::vector<double>& a, const std::vector<double>& b) {
  double largest = a.size() == b.size() ? 0.0 : 1.0;
  for (size_t i = 0; i < std::min(a.size(), b.size()); ++i)
    largest = std::max(largest, std::abs(a[i] - b[i]));
  return largest;
}

// Whether a refusal of what transformers computes is meant: the field that it has to name.
bool may_refuse(const Json& change, const std::string& message) {
  for (const char* field : {"is_causal", "is_encoder_decoder", "per_layer_config", "pruned_heads",
                            "text_config", "configuration_files", "hidden_act"})
    if (change.contains(field) && message.find(field) != std::string::npos) return true;
  if (message.find("rope_parameters for all layers") != std::string::npos) return true;
  const Json scaling = change.value("rope_scaling", change.value("rope_parameters", Json()));
  return scaling.is_object() && scaling.value("rope_type", Json()) == "proportional" &&
         message.find("proportional") != std::string::npos;
}

// All changes of a family's config.json; the weights stay.
void expect_results_of_transformers(const std::string& family) {
  const Json golden = read_json(kFolder / family / "cases.json");
  const Json config = read_json(kFolder / family / "config.json");
  const auto ids = golden["ids"].get<std::vector<int64_t>>();
  test::TemporaryDirectory folder;
  std::filesystem::copy_file(kFolder / family / "model.safetensors", folder / "model.safetensors");
  int computed = 0;
  for (const Json& entry : golden["cases"]) {
    if (entry["result"] == "none") continue;
    SCOPED_TRACE(family + " " + entry.dump());
    Json changed = config;
    const Json change = entry.value("set", Json::object());
    changed.update(change);
    if (entry.contains("without")) changed.erase(entry["without"].get<std::string>());
    write_json(folder / "config.json", changed);
    const Json& right =
        entry["result"] == "same" ? golden["logprobs"] : golden["others"][entry["result"].get<size_t>()];
    try {
      const Decoder decoder = load_decoder(folder.path(), at::kFloat);
      EXPECT_LT(largest_difference(logprobs_of(decoder, ids), right.get<std::vector<double>>()), 1e-4);
      ++computed;
    } catch (const InputError& error) {
      EXPECT_TRUE(may_refuse(change, error.what())) << error.what();
    }
  }
  EXPECT_GT(computed, 100);
}

TEST(ConfigFields, GiveTheResultsOfTransformersInLlama) {
  expect_results_of_transformers("llama");
}
TEST(ConfigFields, GiveTheResultsOfTransformersInMistral) {
  expect_results_of_transformers("mistral");
}
TEST(ConfigFields, GiveTheResultsOfTransformersInMinistral) {
  expect_results_of_transformers("ministral");
}
TEST(ConfigFields, GiveTheResultsOfTransformersInQwen2) {
  expect_results_of_transformers("qwen2");
}
TEST(ConfigFields, GiveTheResultsOfTransformersInQwen3) {
  expect_results_of_transformers("qwen3");
}
TEST(ConfigFields, GiveTheResultsOfTransformersInPhi3) {
  expect_results_of_transformers("phi3");
}
TEST(ConfigFields, GiveTheResultsOfTransformersInGptNeoX) {
  expect_results_of_transformers("gpt_neox");
}
TEST(ConfigFields, GiveTheResultsOfTransformersInStableLm) {
  expect_results_of_transformers("stablelm");
}

Json llama_with(const Json& change) {
  Json json = read_json(kFolder / "llama/config.json");
  json.update(change);
  return json;
}

ModelConfig read_with(const Json& change) {
  return parse_model_config(llama_with(change), "here/config.json");
}

std::string refusal_with(const Json& change) {
  return message_of<InputError>([&] { read_with(change); });
}

TEST(ConfigFields, AreNamedWhereTheyAreSetAndNobodyReadsThem) {
  EXPECT_THAT(
      read_with({{"logit_scale", 0.5}, {"_name_or_path", "x"}, {"unsloth_fixed", true}, {"foo", nullptr}})
          .remarks,
      ElementsAre(AllOf(HasSubstr("LlamaForCausalLM knows no logit_scale:"))));
  EXPECT_THAT(read_with({{"use_sliding_window", false}, {"full_attn_mod", 1}}).remarks, IsEmpty());
  EXPECT_THAT(read_with({{"sliding_window", 4}}).remarks, ElementsAre(HasSubstr("sliding_window")));
  Json many;
  for (int i = 0; i < 30; ++i) many["field" + std::to_string(i)] = "x";
  EXPECT_THAT(read_with(many).remarks, ElementsAre(HasSubstr("field5 and 24 more")));
}

TEST(ConfigFields, UnderWhichAnotherModelIsMeantAreRefusedByName) {
  EXPECT_THAT(refusal_with({{"is_causal", false}}), HasSubstr("expected is_causal true, got false"));
  EXPECT_THAT(refusal_with({{"is_causal", nullptr}}), HasSubstr("is_causal"));  // not, in Python's words
  EXPECT_THAT(refusal_with({{"per_layer_config", {{"0", {{"head_dim", 4}}}}}}),
              HasSubstr("per_layer_config"));
  EXPECT_THAT(refusal_with({{"transformers_weights", "x"}}), HasSubstr("expected no transformers_weights"));
}

TEST(ConfigFields, TellTheDropoutThatTrainingLeavesOut) {
  const Family& neox = *find_family("gpt_neox");
  EXPECT_EQ(unapplied_dropout(
                {{"attention_dropout", 0.1}, {"hidden_dropout", 0.25}, {"classifier_dropout", 0.1}}, neox),
            "attention_dropout 0.1, hidden_dropout 0.25");
  EXPECT_EQ(unapplied_dropout({{"attention_dropout", 0.0}, {"hidden_dropout", nullptr}}, neox), "");
}

TEST(Architectures, LeaveItToTheModelType) {
  for (const Json& name : {Json(), Json::array(), Json{"LLaMAForCausalLM"}, Json{"LlamaModel"}, Json("x")})
    EXPECT_EQ(read_with({{"architectures", name}}).architecture, "LlamaForCausalLM") << name;
  const ModelConfig config = read_with({{"architectures", {"MistralForCausalLM"}}});
  EXPECT_EQ(config.architecture, "LlamaForCausalLM");
  EXPECT_THAT(config.remarks, ElementsAre(HasSubstr("model_type llama decides")));
  Json nameless = llama_with({{"architectures", {"LlamaForCausalLM"}}});
  nameless.erase("model_type");
  EXPECT_EQ(parse_model_config(nameless, "test").architecture, "LlamaForCausalLM");
}

TEST(Architectures, WithAnotherHeadAreRefused) {
  for (const char* name :
       {"LlamaForSequenceClassification", "LlamaForTokenClassification", "LlamaForQuestionAnswering"})
    EXPECT_THAT(refusal_with({{"architectures", {name}}}), AllOf(HasSubstr(name), HasSubstr("head")));
}

TEST(RotarySettings, OfRopeScalingComeBeforeRopeParameters) {
  const Json yarn = {{"rope_type", "yarn"}, {"factor", 4.0}, {"original_max_position_embeddings", 16}};
  const Json plain = {{"rope_type", "default"}, {"rope_theta", 500.0}};
  // Qwen3's model card: add rope_scaling. What transformers 5 wrote keeps its theta.
  const ModelConfig config = read_with({{"rope_parameters", plain}, {"rope_scaling", yarn}});
  EXPECT_EQ(config.rope_scaling.type, RopeType::kYarn);
  EXPECT_EQ(config.rope_theta, 500.0);
  EXPECT_THAT(config.remarks, ElementsAre(HasSubstr("rope_theta of 500.0 counts")));
  const ModelConfig top =
      read_with({{"rope_parameters", plain}, {"rope_scaling", yarn}, {"rope_theta", 77.0}});
  EXPECT_EQ(top.rope_theta, 77.0);
  EXPECT_THAT(top.remarks, IsEmpty());
  const Json linear = {{"type", "linear"}, {"factor", 2.0}, {"rope_theta", 500.0}};
  const ModelConfig both = read_with({{"rope_parameters", linear}, {"rope_scaling", yarn}});
  EXPECT_EQ(both.rope_scaling.type, RopeType::kYarn);
  EXPECT_THAT(both.remarks, Contains(HasSubstr("rope_scaling counts")));
}

TEST(RotarySettings, WrittenAreReadTheSameWhereverTheyStood) {
  const Json yarn = {{"rope_type", "yarn"}, {"factor", 4.0}};
  const ModelConfig config = read_with({{"rope_parameters", {{"rope_theta", 500.0}}},
                                        {"rope_scaling", yarn},
                                        {"original_max_position_embeddings", 16}});
  EXPECT_EQ(config.original_window(), 16);
  ModelConfig again = parse_model_config(model_config_json(config, "float32"), "written");
  EXPECT_EQ(again.rope_theta, 500.0);
  EXPECT_EQ(again.original_window(), 16);
  EXPECT_THAT(again.remarks, IsEmpty());
  // A longer window: the number at the top goes with it.
  stretch_window(again, RopeType::kLinear, 512);
  stretch_window(again, RopeType::kYarn, 1024);
  EXPECT_EQ(parse_model_config(model_config_json(again, "float32"), "written").original_window(), 16);
}

TEST(RotarySettings, ForEachKindOfLayerAreRefused) {
  const Json one = {{"rope_type", "default"}};
  EXPECT_THAT(refusal_with({{"rope_parameters", {{"full_attention", one}}}}),
              HasSubstr("expected rope_scaling or rope_parameters for all layers"));
}

TEST(RotarySettings, OfPartOfAHeadAreRefusedWhereTheModelRotatesWholeHeads) {
  const Json linear = {{"type", "linear"}, {"factor", 2.0}};
  EXPECT_THAT(refusal_with({{"partial_rotary_factor", 0.5}, {"rope_scaling", linear}}),
              HasSubstr("partial_rotary_factor"));
  const ModelConfig config = read_with({{"partial_rotary_factor", 0.5}});
  EXPECT_EQ(config.rotary_fraction, 1.0);
  EXPECT_THAT(config.remarks, ElementsAre(HasSubstr("partial_rotary_factor 0.5 is not used")));
}

TEST(QuantizedConfig, IsNamedWhateverItsKind) {
  const auto kind = [](const Json& settings) { return refusal_with({{"quantization_config", settings}}); };
  EXPECT_THAT(kind({{"quant_method", "gptq"}, {"bits", 4}}),
              HasSubstr("quantization_config of GPTQ in 4 bits"));
  EXPECT_THAT(kind({{"quant_method", "awq"}, {"bits", 4}}), HasSubstr("AWQ in 4 bits"));
  EXPECT_THAT(kind({{"quant_method", "fp8"}}), HasSubstr("FP8"));
  EXPECT_THAT(kind({{"quant_method", "exl2"}}), HasSubstr("EXL2"));
  EXPECT_THAT(kind({{"quant_method", "compressed-tensors"}}), HasSubstr("compressed-tensors"));
  EXPECT_THAT(kind({{"load_in_8bit", true}}), HasSubstr("bitsandbytes (int8)"));
  EXPECT_THAT(kind({{"load_in_4bit", true}, {"bnb_4bit_quant_type", "fp4"}}),
              HasSubstr("bitsandbytes (fp4)"));
  EXPECT_THAT(kind({{"quant_method", "newest"}}), HasSubstr("of newest"));
}

}  // namespace
}  // namespace longlora::model
