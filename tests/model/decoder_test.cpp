#include "longlora/model/decoder.h"

#include <map>
#include <set>

#include "longlora/checkpoint/tensor_writer.h"
#include "longlora/core/error.h"
#include "longlora/model/adapter.h"
#include "longlora/ops/cross_entropy.h"
#include "tests/model/tiny_models.h"
#include "tests/support/temporary_directory.h"

namespace longlora::model {
namespace {

namespace fs = std::filesystem;
using test::message_of;
using ::testing::AllOf;
using ::testing::HasSubstr;

TEST(RotaryFrequencies, EqualTransformers) {
  const Json cases = read_json(test::data_path("goldens/rotary/cases.json"));
  const auto store =
      checkpoint::TensorStore::open_file(test::data_path("goldens/rotary/inv_freq.safetensors"));
  ASSERT_GT(cases.size(), 60u);
  for (const auto& [name, described] : cases.items()) {
    SCOPED_TRACE(name);
    const int64_t head_dim = described["head_dim"];
    const ModelConfig config =
        parse_model_config({{"model_type", "stablelm"},  // which may rotate part of a head
                            {"partial_rotary_factor", 1.0},
                            {"num_key_value_heads", 2},
                            {"hidden_size", 2 * head_dim},
                            {"intermediate_size", 8},
                            {"num_hidden_layers", 1},
                            {"num_attention_heads", 2},
                            {"vocab_size", 8},
                            {"head_dim", head_dim},
                            {"max_position_embeddings", described["max_position_embeddings"]},
                            {"rope_theta", described["rope_theta"]},
                            {"rope_scaling", described["rope_scaling"]}},
                           name);
    const RotaryFrequencies found = rotary_frequencies(config, described["sequence_tokens"]);
    EXPECT_NEAR(found.attention_factor, described["attention_factor"].get<double>(), 1e-12);
    const at::Tensor expected = store.load(name).to(at::kDouble);
    const at::Tensor actual = at::tensor(found.inverse_frequencies, at::kDouble);
    ASSERT_EQ(actual.sizes(), expected.sizes());
    // Each by itself: the small ones matter most for long windows.
    EXPECT_LT(((actual - expected) / expected).abs().max().item<double>(), 2e-6);
  }
}

TEST(RotaryTable, HoldsCosAndSinTimesTheAttentionFactor) {
  ModelConfig config = read_model_config(tiny_model("yarn_x8"));
  const RotaryFrequencies frequencies = rotary_frequencies(config);
  EXPECT_GT(frequencies.attention_factor, 1.1);
  const RotaryTable table = make_rotary_table(config, 65);
  EXPECT_EQ(table.cos.sizes(), (std::vector<int64_t>{65, config.head_dim / 2}));
  for (const int64_t position : {0, 1, 64})
    for (int64_t i = 0; i < config.head_dim / 2; ++i) {
      const double angle = static_cast<double>(position) * frequencies.inverse_frequencies[i];
      EXPECT_NEAR(table.cos[position][i].item<double>(), std::cos(angle) * frequencies.attention_factor,
                  1e-5);
      EXPECT_NEAR(table.sin[position][i].item<double>(), std::sin(angle) * frequencies.attention_factor,
                  1e-5);
    }
}

TEST(Decoder, HasTheLogitsAndTheLossOfTransformers) {
  for (const char* name : kTinyModels) {
    SCOPED_TRACE(name);
    const Decoder decoder = load_decoder(tiny_model(name), at::kFloat);
    const auto golden = checkpoint::TensorStore::open_file(tiny_model(name) / "golden.safetensors");
    const at::Tensor ids = golden.load("ids");
    EXPECT_CLOSE(logits_of(decoder, ids), golden.load("logits"), 1e-5);

    at::Tensor labels = at::full_like(ids, ops::kIgnoreLabel);
    labels.slice(1, 0, ids.size(1) - 1).copy_(ids.slice(1, 1));
    const auto loss = ops::linear_cross_entropy(test::hidden_states(decoder, ids), decoder.head().value,
                                                labels.reshape({-1}), {});
    EXPECT_EQ(loss.num_labels, 44);
    const double expected = golden.load("loss").item<double>();
    EXPECT_NEAR(loss.loss_sum / 44.0, expected, 1e-5 * expected);
  }
}

TEST(Decoder, StaysCloseToTransformersInBfloat16) {
  for (const char* name : kTinyModels) {
    SCOPED_TRACE(name);
    const Decoder decoder = load_decoder(tiny_model(name), at::kBFloat16);
    const auto golden = checkpoint::TensorStore::open_file(tiny_model(name) / "golden.safetensors");
    const at::Tensor logits = logits_of(decoder, golden.load("ids"));
    EXPECT_EQ(logits.scalar_type(), at::kBFloat16);
    EXPECT_CLOSE(logits, golden.load("logits"), 4e-2);
  }
}

TEST(Decoder, HasTheLogitsOfARealTrainedModel) {
  const Decoder decoder = load_decoder(test::data_path("stories260K_hf"), at::kFloat);
  const auto golden =
      checkpoint::TensorStore::open_file(test::data_path("goldens/stories260K/logits.safetensors"));
  EXPECT_CLOSE(logits_of(decoder, golden.load("ids").unsqueeze(0)).squeeze(0), golden.load("logits"), 1e-5);
}

TEST(Decoder, NamesItsParametersAsTheCheckpointDoes) {
  for (const char* name : {"mha_tied", "gqa_untied", "sharded"}) {
    const Decoder decoder = load_decoder(tiny_model(name), at::kFloat);
    const auto store = checkpoint::TensorStore::open_model_directory(tiny_model(name));
    std::set<std::string> visited;
    int64_t elements = 0;
    visit_parameters(decoder, [&](const std::string& parameter, const Parameter& value) {
      EXPECT_TRUE(visited.insert(parameter).second) << parameter << " came twice";
      EXPECT_EQ(store.info(parameter).shape, value.value.sizes().vec()) << parameter;
      elements += value.value.numel();
    });
    EXPECT_EQ(visited.size(), store.tensors().size());
    EXPECT_EQ(count_parameters(decoder).total, elements);
    EXPECT_EQ(count_parameters(decoder).trainable, 0);
  }
}

TEST(Decoder, KeepsATiedHeadInOnePlace) {
  const Decoder tied = load_decoder(tiny_model("mha_tied"), at::kFloat);
  EXPECT_TRUE(tied.head().value.dense().is_same(tied.embed_tokens.value.dense()));
  const Decoder untied = load_decoder(tiny_model("gqa_untied"), at::kFloat);
  EXPECT_FALSE(untied.head().value.dense().is_same(untied.embed_tokens.value.dense()));
}

void expect_same_tensors(const Decoder& a, const Decoder& b) {
  const auto left = model_tensors(a, at::kFloat), right = model_tensors(b, at::kFloat);
  ASSERT_EQ(left.size(), right.size());
  for (size_t i = 0; i < left.size(); ++i) {
    EXPECT_EQ(left[i].first, right[i].first);
    EXPECT_TRUE(test::is_identical(left[i].second, right[i].second)) << left[i].first;
  }
}

TEST(SaveDecoder, WritesWhatLoadDecoderReads) {
  for (const char* name : {"mha_tied", "gqa_untied", "yarn_x8", "linear_x4"})
    for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16}) {
      SCOPED_TRACE(name);
      test::TemporaryDirectory folder;
      const Decoder decoder = load_decoder(tiny_model(name), dtype);
      save_decoder(decoder, folder.path(), dtype);
      const Decoder again = load_decoder(folder.path(), dtype);
      expect_same_tensors(decoder, again);
      EXPECT_EQ(again.config.rope_scaling.factor, decoder.config.rope_scaling.factor);
      EXPECT_EQ(checkpoint::TensorStore::open_model_directory(folder.path()).info("model.norm.weight").dtype,
                dtype);
    }
}

TEST(VisitParameters, TellsWhatEachParameterIsOfItsModel) {
  Decoder decoder = load_decoder(family_model("neox"), at::kFloat);
  checkpoint::LoraConfig config;
  config.target_modules = {"dense"};
  config.use_dora = true;
  add_lora(decoder, config, 1);
  std::map<std::string, ParameterRole> roles;
  visit_parameters(decoder, [&](const std::string& name, ParameterRole role, const Parameter& parameter) {
    roles[name] = role;
    EXPECT_EQ(is_matrix(role), parameter.value.dense().dim() == 2) << name;
    EXPECT_EQ(is_of_pair(role), name.find(".lora_") != std::string::npos) << name;
  });
  const std::string layer = "gpt_neox.layers.1.";
  EXPECT_EQ(roles.at("gpt_neox.embed_in.weight"), ParameterRole::kEmbedding);
  EXPECT_EQ(roles.at("embed_out.weight"), ParameterRole::kHead);
  EXPECT_EQ(roles.at("gpt_neox.final_layer_norm.bias"), ParameterRole::kNormBias);
  EXPECT_EQ(roles.at(layer + "input_layernorm.weight"), ParameterRole::kNormWeight);
  EXPECT_EQ(roles.at(layer + "mlp.dense_h_to_4h.weight"), ParameterRole::kWeight);
  EXPECT_EQ(roles.at(layer + "mlp.dense_h_to_4h.bias"), ParameterRole::kBias);
  EXPECT_EQ(roles.at(layer + "attention.dense.lora_A.weight"), ParameterRole::kPairA);
  EXPECT_EQ(roles.at(layer + "attention.dense.lora_B.weight"), ParameterRole::kPairB);
  EXPECT_EQ(roles.at(layer + "attention.dense.lora_magnitude_vector"), ParameterRole::kMagnitude);
  // A tied head is the embedding.
  const Decoder tied = load_decoder(tiny_model("mha_tied"), at::kFloat);
  visit_parameters(tied, [&](const std::string& name, ParameterRole role, const Parameter&) {
    EXPECT_NE(role, ParameterRole::kHead) << name;
  });
}

TEST(RandomDecoder, IsAFunctionOfConfigAndSeed) {
  ModelConfig config = read_model_config(tiny_model("gqa_untied"));
  config.initializer_range = 0.05;
  const Decoder decoder = random_decoder(config, at::kFloat, 7);
  expect_same_tensors(decoder, random_decoder(config, at::kFloat, 7));
  EXPECT_FALSE(at::equal(decoder.embed_tokens.value.dense(),
                         random_decoder(config, at::kFloat, 8).embed_tokens.value.dense()));
  EXPECT_NEAR(decoder.embed_tokens.value.dense().std().item<double>(), 0.05, 0.003);
  EXPECT_TRUE(at::equal(decoder.norm.weight.value.dense(), at::ones({config.hidden_size})));
}

double correlation(const at::Tensor& x, const at::Tensor& y) {
  return ((x * y).mean() / (x.std() * y.std())).item<double>();
}

TEST(RandomDecoder, MimeticAttentionLooksAtItsOwnTokenAndPassesItOn) {
  ModelConfig config = read_model_config(tiny_model("gqa_untied"));
  config.hidden_size = 96;  // more weights: surer statistics
  const Decoder decoder = random_decoder(config, at::kFloat, 7, AttentionInit::kMimetic);
  const int64_t per_key = config.num_attention_heads / config.num_key_value_heads;
  ASSERT_GT(per_key, 1);
  for (const Block& block : decoder.blocks) {
    // By head, a key head beside each of its query heads: [H, D, C].
    const auto heads = [&](const Linear& linear, int64_t count) {
      return linear.weight.value.dense()
          .reshape({count, config.head_dim, config.hidden_size})
          .repeat_interleave(config.num_attention_heads / count, 0);
    };
    const at::Tensor q = heads(block.q_proj, config.num_attention_heads);
    const at::Tensor k = heads(block.k_proj, config.num_key_value_heads);
    const at::Tensor v = heads(block.v_proj, config.num_key_value_heads);
    EXPECT_NEAR(correlation(q, k), 2.5 * 2.5 / (2.5 * 2.5 + 1), 0.05);
    EXPECT_NEAR(correlation(q, v), 0.0, 0.05);
    const at::Tensor output = block.o_proj.weight.value.dense().t().reshape(v.sizes());
    EXPECT_TRUE(at::allclose(output * static_cast<double>(per_key), v));
  }
  expect_same_tensors(decoder, random_decoder(config, at::kFloat, 7, AttentionInit::kMimetic));
  EXPECT_THROW(
      random_decoder(read_model_config(tiny_model("gpt_neox")), at::kFloat, 7, AttentionInit::kMimetic),
      InputError);
}

// A copy of a reference model whose config.json says something else.
fs::path changed_copy(const test::TemporaryDirectory& folder, const std::string& name, const std::string& key,
                      const Json& value) {
  Json config = read_json(tiny_model(name) / "config.json");
  config[key] = value;
  write_json(folder / "config.json", config);
  fs::copy_file(tiny_model(name) / "model.safetensors", folder / "model.safetensors");
  return folder.path();
}

TEST(LoadDecoder, RefusesWeightsThatContradictTheConfig) {
  const auto refusal = [](const std::string& key, const Json& value) {
    test::TemporaryDirectory folder;
    const fs::path model = changed_copy(folder, "gqa_untied", key, value);
    return message_of<InputError>([&] { load_decoder(model, at::kFloat); });
  };
  EXPECT_THAT(refusal("vocab_size", 97),
              AllOf(HasSubstr("model.safetensors"), HasSubstr("model.embed_tokens.weight"),
                    HasSubstr("[97, 32]"), HasSubstr("[96, 32]")));
  EXPECT_THAT(refusal("num_key_value_heads", 4), HasSubstr("k_proj"));
  EXPECT_THAT(refusal("intermediate_size", 40), HasSubstr("gate_proj"));
  EXPECT_THAT(refusal("num_hidden_layers", 4), HasSubstr("model.layers.3."));
}

TEST(LoadDecoder, RefusesWeightsOfComplexNumbers) {
  test::TemporaryDirectory folder;
  fs::copy_file(tiny_model("mqa") / "config.json", folder / "config.json");
  const auto whole = checkpoint::TensorStore::open_model_directory(tiny_model("mqa"));
  std::vector<checkpoint::TensorSpec> specs;
  specs.reserve(whole.tensors().size());
  for (const auto& [name, info] : whole.tensors())
    specs.push_back({name, name == "model.norm.weight" ? at::kComplexFloat : info.dtype, info.shape});
  checkpoint::write_tensor_file(
      folder / "pytorch_model.bin", checkpoint::TensorFormat::kTorch, specs,
      [&](const checkpoint::TensorSpec& spec) { return whole.load(spec.name).to(spec.dtype); });
  EXPECT_THAT(
      message_of<InputError>([&] { load_decoder(folder.path(), at::kFloat); }),
      AllOf(HasSubstr("pytorch_model.bin"), HasSubstr("\"model.norm.weight\""),
            HasSubstr(
                "expected floating point, got ComplexFloat; weights of complex numbers are not supported")));
}

TEST(LoadDecoder, RefusesAMissingHead) {
  test::TemporaryDirectory folder;
  const fs::path model = changed_copy(folder, "mha_tied", "tie_word_embeddings", false);
  EXPECT_THAT(message_of<InputError>([&] { load_decoder(model, at::kFloat); }), HasSubstr("lm_head.weight"));
}

TEST(LoadDecoder, RefusesAMissingShard) {
  test::TemporaryDirectory folder;
  for (const char* file : {"config.json", "model.safetensors.index.json", "model-00001-of-00004.safetensors"})
    fs::copy_file(tiny_model("sharded") / file, folder / file);
  EXPECT_THAT(message_of<InputError>([&] { load_decoder(folder.path(), at::kFloat); }),
              HasSubstr("model-00002-of-00004.safetensors"));
}

TEST(LoadDecoder, RefusesAFolderWithoutWeights) {
  test::TemporaryDirectory folder;
  fs::copy_file(tiny_model("mqa") / "config.json", folder / "config.json");
  EXPECT_THAT(message_of<InputError>([&] { load_decoder(folder.path(), at::kFloat); }),
              HasSubstr("model.safetensors"));
}

TEST(WithRows, AddsTheMeanOfTheRowsOrKeepsTheFirst) {
  const at::Tensor weight = test::random_tensor({6, 4}, 1);
  const at::Tensor grown = with_rows(weight, 8);
  EXPECT_TRUE(at::equal(grown.slice(0, 0, 6), weight));
  EXPECT_CLOSE(grown[7], weight.mean(0), 1e-6);
  EXPECT_TRUE(at::equal(with_rows(weight, 5), weight.slice(0, 0, 5)));
}

}  // namespace
}  // namespace longlora::model
