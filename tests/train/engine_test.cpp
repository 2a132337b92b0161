#include "longlora/train/engine.h"

#include <set>

#include "longlora/core/error.h"
#include "longlora/core/file.h"
#include "longlora/forward/mapped_files.h"
#include "longlora/model/stored_model.h"
#include "longlora/ops/cross_entropy.h"
#include "tests/model/tiny_models.h"
#include "tests/support/counting_allocator.h"
#include "tests/train/support.h"

namespace longlora::train {
namespace {

using ::testing::HasSubstr;

// One call with fresh gradients.
LossSums run(TrainedModel& decoder, const Batch& batch, const std::vector<Keep>& keep, double grad_scale) {
  zero_gradients(decoder);
  return Engine(decoder, keep, batch.ids.numel()).forward_backward(batch, grad_scale);
}

std::vector<Keep> all_layers(const model::Decoder& decoder, Keep keep) {
  return std::vector<Keep>(decoder.blocks.size(), keep);
}

// Loss and every gradient of a decoder against those in `golden`, whatever its layers keep.
void expect_golden_gradients(TrainedModel& decoder, const std::filesystem::path& golden_file) {
  const auto golden = checkpoint::TensorStore::open_file(golden_file);
  const Batch batch = make_next_token_batch(golden.load("ids"), 0);
  const double expected = golden.load("loss").item<double>();
  for (const Keep keep : {Keep::kInput, Keep::kAttention, Keep::kEverything}) {
    SCOPED_TRACE(static_cast<int>(keep));
    const LossSums sums = run(decoder, batch, all_layers(decoder, keep), 1.0 / 44.0);
    EXPECT_EQ(sums.num_labels, 44);
    EXPECT_NEAR(sums.mean(), expected, 1e-5 * expected);
    std::set<std::string> compared;
    for (const auto& [parameter, grad] : gradients_of(decoder)) {
      SCOPED_TRACE(parameter);
      EXPECT_CLOSE(grad, golden.load("grad." + parameter), 1e-4);
      compared.insert("grad." + parameter);
    }
    for (const auto& [name, info] : golden.tensors())
      EXPECT_TRUE(!name.starts_with("grad.") || compared.count(name)) << name << " was not compared";
  }
}

TEST(Engine, HasTheLossAndEveryGradientOfTransformers) {
  for (const char* name : model::kTinyModels) {
    SCOPED_TRACE(name);
    TrainedModel decoder = full_model(name);
    expect_golden_gradients(decoder, tiny_model(name) / "golden.safetensors");
  }
}

TEST(Engine, HasTheLossAndEveryGradientOfTransformersForEveryFamily) {
  for (const char* name : model::kFamilyModels) {
    SCOPED_TRACE(name);
    TrainedModel decoder = model::load_decoder(model::family_model(name), at::kFloat);
    model::train_everything(decoder);
    expect_golden_gradients(decoder, model::family_model(name) / "golden.safetensors");
  }
}

TEST(Engine, HasTheGradientsOfPeftOnFusedProjections) {
  for (const char* name : {"neox", "phi3", "qwen2"}) {
    SCOPED_TRACE(name);
    const auto folder = test::data_path("goldens/family_adapters") / name;
    TrainedModel decoder = model::load_with_adapter(model::family_model(name), folder, at::kFloat);
    model::train_adapter(decoder, {"embed", "norm"});
    expect_golden_gradients(decoder, folder / "golden.safetensors");
  }
}

TEST(Engine, HasTheLossAndGradientsOfTransformersPeftAndBitsandbytesInNf4) {
  const auto folder = test::data_path("goldens/nf4");
  const auto trained = [&](const char* base, at::ScalarType dtype) {
    model::Decoder decoder =
        model::load_with_adapter(folder / base, folder / "adapter", dtype, {.quantize = ops::Nf4Options()});
    model::train_adapter(decoder, {"embed", "norm"});
    return decoder;
  };
  for (const char* base : {"base", "quantized"}) {  // put into four bits here and there
    SCOPED_TRACE(base);
    TrainedModel decoder = trained(base, at::kFloat);
    EXPECT_TRUE(decoder.blocks[1].down_proj.weight.value.is_nf4());
    expect_golden_gradients(decoder, folder / "golden.safetensors");
  }
  // In bfloat16 rounding alone makes the difference; the weights' own rounding to four bits would be ten
  // times that.
  const auto golden = checkpoint::TensorStore::open_file(folder / "golden.safetensors");
  const Batch batch = make_next_token_batch(golden.load("ids"), 0);
  const double expected = golden.load("loss").item<double>();
  TrainedModel narrow = trained("quantized", at::kBFloat16);
  EXPECT_NEAR(run(narrow, batch, all_layers(narrow, Keep::kInput), 1.0 / 44.0).mean(), expected,
              0.01 * expected);
}

TEST(Engine, NarrowsTheGroupsOfShiftedSparseAttentionByTheModelsWindow) {
  // A window of 5 in groups of 8: as without groups where the last five tokens lie in one group of either
  // half.
  TrainedModel decoder = model::load_decoder(model::family_model("mistral"), at::kFloat);
  ASSERT_EQ(decoder.blocks[0].window_tokens, 5);
  decoder.blocks.resize(1);
  Engine engine(decoder, all_layers(decoder, Keep::kInput), 24);
  const at::Tensor ids = test::random_ids({1, 24}, 48, 9);
  const auto loss_at = [&](int64_t group, int64_t place) {
    Batch batch = make_next_token_batch(ids, group);
    const int64_t label = batch.labels[place].item<int64_t>();
    batch.labels.fill_(ops::kIgnoreLabel);
    batch.labels[place] = label;
    return engine.evaluate(batch).loss;
  };
  // Groups start at 0, 8, 16 and, shifted, at 0, 4, 12, 20.
  EXPECT_EQ(loss_at(8, 3), loss_at(0, 3));
  EXPECT_NE(loss_at(8, 9), loss_at(0, 9));    // 8 starts a group of the first half
  EXPECT_NE(loss_at(8, 13), loss_at(0, 13));  // 12 one of the second
}

TEST(Engine, StaysCloseInBfloat16) {
  TrainedModel wide = full_model("gqa_untied"), narrow = full_model("gqa_untied", at::kBFloat16);
  const Batch batch = make_next_token_batch(test::random_ids({2, 24}, 96, 1), 8);
  const LossSums wide_sums = run(wide, batch, all_layers(wide, Keep::kInput), 1.0 / 46.0);
  const LossSums narrow_sums = run(narrow, batch, all_layers(narrow, Keep::kInput), 1.0 / 46.0);
  EXPECT_NEAR(narrow_sums.mean(), wide_sums.mean(), 0.02 * wide_sums.mean());
  const auto expected = gradients_of(wide), actual = gradients_of(narrow);
  for (size_t i = 0; i < expected.size(); ++i) {
    SCOPED_TRACE(expected[i].first);
    EXPECT_CLOSE(actual[i].second, expected[i].second, 0.08);
  }
}

// The same bits whatever the layers keep.
void expect_keep_makes_no_difference(TrainedModel& decoder, const Batch& batch) {
  const LossSums expected_sums = run(decoder, batch, all_layers(decoder, Keep::kInput), 0.1);
  const auto expected = gradients_of(decoder);
  std::vector<Keep> mixed = all_layers(decoder, Keep::kInput);
  mixed[1] = Keep::kAttention;
  mixed.back() = Keep::kEverything;
  for (const auto& keep :
       {all_layers(decoder, Keep::kEverything), all_layers(decoder, Keep::kAttention), mixed}) {
    const LossSums sums = run(decoder, batch, keep, 0.1);
    EXPECT_EQ(sums.loss, expected_sums.loss);
    EXPECT_EQ(sums.num_correct, expected_sums.num_correct);
    const auto grads = gradients_of(decoder);
    for (size_t i = 0; i < grads.size(); ++i)
      EXPECT_TRUE(at::equal(grads[i].second, expected[i].second)) << grads[i].first;
  }
}

TEST(Engine, ComputesTheSameBitsWhateverLayersKeep) {
  for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16})
    for (const int64_t group : {0, 6}) {
      const Batch batch = make_next_token_batch(test::random_ids({2, 17}, 96, 2), group);
      for (const char* name : {"gqa_untied", "mha_tied"}) {
        SCOPED_TRACE(::testing::Message() << name << " " << c10::toString(dtype) << " group " << group);
        TrainedModel full = full_model(name, dtype), lora = lora_plus_model(name, dtype);
        expect_keep_makes_no_difference(full, batch);
        expect_keep_makes_no_difference(lora, batch);
      }
    }
}

// Loss and gradients of one call with these options.
struct Outcome {
  LossSums sums;
  std::vector<std::pair<std::string, at::Tensor>> grads;
};
Outcome outcome_of(TrainedModel& decoder, const Batch& batch, const std::vector<Keep>& keep,
                   const EngineOptions& options,
                   std::shared_ptr<const forward::LayerSource> source = forward::resident()) {
  zero_gradients(decoder);
  const LossSums sums =
      Engine(decoder, keep, batch.ids.numel(), options, std::move(source)).forward_backward(batch, 0.1);
  return {sums, gradients_of(decoder)};
}

void expect_same_bits(const Outcome& actual, const Outcome& expected) {
  EXPECT_EQ(actual.sums.loss, expected.sums.loss);
  ASSERT_EQ(actual.grads.size(), expected.grads.size());
  for (size_t i = 0; i < actual.grads.size(); ++i)
    EXPECT_TRUE(at::equal(actual.grads[i].second, expected.grads[i].second)) << actual.grads[i].first;
}

TEST(Engine, ComputesTheSameInTilesOfRows) {
  const Batch batch = make_next_token_batch(test::random_ids({2, 17}, 48, 2), 6);
  std::vector<std::filesystem::path> models = {tiny_model("gqa_untied"), tiny_model("mha_tied")};
  for (const char* name : model::kFamilyModels) models.push_back(model::family_model(name));
  for (const auto& path : models)
    for (const bool lora : {true, false}) {
      SCOPED_TRACE(path.string());
      TrainedModel decoder = model::load_decoder(path, at::kFloat);
      if (lora) {
        checkpoint::LoraConfig config;
        config.target_modules = decoder.config.family().lora_targets;
        model::add_lora(decoder, config, 1);
        model::train_adapter(decoder, {"embed", "norm"});
      } else {
        model::train_everything(decoder);
      }
      const Outcome whole = outcome_of(decoder, batch, all_layers(decoder, Keep::kInput), {});
      for (const int64_t tile_tokens : {8, 33, 100}) {
        const EngineOptions options = {tile_tokens, /*loss_chunk_rows=*/5, {}};
        const Outcome tiled = outcome_of(decoder, batch, all_layers(decoder, Keep::kInput), options);
        EXPECT_NEAR(tiled.sums.loss, whole.sums.loss, 1e-6 * whole.sums.loss);
        for (size_t i = 0; i < tiled.grads.size(); ++i) {
          SCOPED_TRACE(tiled.grads[i].first);
          EXPECT_CLOSE(tiled.grads[i].second, whole.grads[i].second, 1e-5);
        }
        // For one size of tiles the bits do not depend on what is kept.
        for (const Keep keep : {Keep::kAttention, Keep::kEverything})
          expect_same_bits(outcome_of(decoder, batch, all_layers(decoder, keep), options), tiled);
      }
    }
}

TEST(Engine, ComputesTheSameBitsWithInputsOnDisk) {
  const test::TemporaryDirectory folder;
  const Batch batch = make_next_token_batch(test::random_ids({2, 17}, 96, 2), 6);
  for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16}) {
    TrainedModel decoder = lora_plus_model("gqa_untied", dtype);
    const auto keep = all_layers(decoder, Keep::kInput);
    const Outcome expected = outcome_of(decoder, batch, keep, {});
    const int64_t bytes = 34 * decoder.config.hidden_size * static_cast<int64_t>(c10::elementSize(dtype));
    for (const int64_t on_disk : {1, 2, 3}) {
      const EngineOptions options = {0, 0, {on_disk, folder.path(), bytes}};
      expect_same_bits(outcome_of(decoder, batch, keep, options), expected);
      EXPECT_TRUE(list_directory(folder.path()).empty());
    }
  }
  TrainedModel decoder = lora_plus_model("gqa_untied");
  const EngineOptions too_much = {0, 0, {3, folder.path(), int64_t{1} << 50}};
  EXPECT_THAT(test::message_of<ResourceError>(
                  [&] { Engine(decoder, all_layers(decoder, Keep::kInput), 8, too_much); }),
              HasSubstr("scratch space"));
}

TEST(Engine, ComputesTheSameBitsWithWeightsOnDisk) {
  const Batch batch = make_next_token_batch(test::random_ids({2, 17}, 96, 2), 6);
  for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16}) {  // mapped, and copied a layer at a time
    TrainedModel in_memory = lora_plus_model("gqa_untied", dtype);
    model::Decoder shape = model::shape_decoder(in_memory.config, dtype);
    model::add_lora(shape, {}, 1);
    model::train_adapter(shape, {"embed", "norm"});
    const auto left = forward::streamable_weights(shape);
    EXPECT_EQ(left.size(), 3u * 7u + 1u);  // the head too
    TrainedModel on_disk = model::load_decoder(tiny_model("gqa_untied"), dtype, {.left_in_files = left});
    const auto source = std::make_shared<const forward::MappedFiles>(
        model::open_stored_model(tiny_model("gqa_untied")).weights, left, dtype);
    EXPECT_EQ(source->copies(), dtype != at::kFloat);
    add_lora_plus(on_disk);
    EXPECT_TRUE(on_disk.blocks[1].up_proj.weight.value.is_meta());
    EXPECT_EQ(Engine(on_disk, all_layers(on_disk, Keep::kInput), 40, {}, source).evaluate(batch).loss,
              Engine(in_memory, all_layers(in_memory, Keep::kInput), 40).evaluate(batch).loss);
    for (const Keep keep : {Keep::kInput, Keep::kAttention, Keep::kEverything})
      expect_same_bits(outcome_of(on_disk, batch, all_layers(on_disk, keep), {}, source),
                       outcome_of(in_memory, batch, all_layers(in_memory, keep), {}));
    EXPECT_TRUE(on_disk.blocks[1].up_proj.weight.value.is_meta());
  }
}

// Trains the parameters whose names contain `part` alone and compares with the gradients of a full run.
void expect_part_equals_whole(const std::string& part) {
  SCOPED_TRACE(part);
  const Batch batch = make_next_token_batch(test::random_ids({1, 19}, 96, 3), 8);
  TrainedModel whole = full_model("gqa_untied");
  run(whole, batch, all_layers(whole, Keep::kInput), 0.1);
  const auto expected = gradients_of(whole);
  for (const Keep keep : {Keep::kInput, Keep::kEverything}) {
    TrainedModel decoder = model::load_decoder(tiny_model("gqa_untied"), at::kFloat);
    model::train_adapter(decoder, {part});
    run(decoder, batch, all_layers(decoder, keep), 0.1);
    size_t matched = 0;
    for (const auto& [name, grad] : gradients_of(decoder))
      for (const auto& [expected_name, expected_grad] : expected) {
        if (name != expected_name) continue;
        EXPECT_CLOSE(grad, expected_grad, 1e-6);
        ++matched;
      }
    EXPECT_EQ(matched, gradients_of(decoder).size());
    EXPECT_GT(matched, 0u);
  }
}

TEST(Engine, TrainsAnyPartOfTheModelAlone) {
  for (const char* part : {"embed_tokens", "model.norm", "lm_head", "layers.0.self_attn.v_proj",
                           "layers.2.mlp", "layers.1.input_layernorm"})
    expect_part_equals_whole(part);
}

TEST(Engine, AddsMicroBatchesUpToTheLargeBatch) {
  const at::Tensor ids = test::random_ids({4, 15}, 96, 4);
  for (const bool lora : {false, true}) {
    TrainedModel decoder = lora ? lora_plus_model("gqa_untied") : full_model("gqa_untied");
    const auto keep = all_layers(decoder, Keep::kInput);
    const LossSums whole = run(decoder, make_next_token_batch(ids, 6), keep, 1.0 / 56.0);
    const auto expected = gradients_of(decoder);
    LossSums sums = run(decoder, make_next_token_batch(ids.slice(0, 0, 1), 6), keep, 1.0 / 56.0);
    Engine engine(decoder, keep, 15);
    sums += engine.forward_backward(make_next_token_batch(ids.slice(0, 1, 4), 6), 1.0 / 56.0);
    EXPECT_EQ(sums.num_labels, whole.num_labels);
    EXPECT_NEAR(sums.loss, whole.loss, 1e-5 * whole.loss);
    const auto grads = gradients_of(decoder);
    for (size_t i = 0; i < grads.size(); ++i) {
      SCOPED_TRACE(grads[i].first);
      EXPECT_CLOSE(grads[i].second, expected[i].second, 2e-6);
    }
  }
}

TEST(Engine, EvaluatesToTheLossOfTraining) {
  TrainedModel decoder = lora_plus_model("mha_tied");
  const Batch batch = make_next_token_batch(test::random_ids({2, 17}, 96, 5), 6);
  Engine engine(decoder, all_layers(decoder, Keep::kInput), 17);
  const LossSums evaluated = engine.evaluate(batch);
  const auto untouched = gradients_of(decoder);
  for (const auto& [name, grad] : untouched) EXPECT_EQ(grad.abs().sum().item<double>(), 0.0) << name;
  const LossSums trained = engine.forward_backward(batch, 1.0);
  EXPECT_EQ(evaluated.loss, trained.loss);
  EXPECT_EQ(evaluated.num_labels, trained.num_labels);
  EXPECT_EQ(evaluated.num_correct, trained.num_correct);
}

TEST(Engine, NoTokenSeesItsFutureUnderShiftedSparseAttention) {
  TrainedModel decoder = full_model("gqa_untied");
  Engine engine(decoder, all_layers(decoder, Keep::kInput), 20);
  const at::Tensor ids = test::random_ids({1, 20}, 96, 6);
  const auto loss_of_first = [&](const at::Tensor& row) {  // of the first twelve predictions
    Batch batch = make_next_token_batch(row, 8);
    batch.labels.slice(0, 12).fill_(ops::kIgnoreLabel);
    return engine.evaluate(batch).loss;
  };
  at::Tensor changed = ids.clone();
  changed.slice(1, 13).fill_(5);
  EXPECT_EQ(loss_of_first(ids), loss_of_first(changed));
  changed = ids.clone();
  changed[0][3] = (ids[0][3].item<int64_t>() + 1) % 96;
  EXPECT_NE(loss_of_first(ids), loss_of_first(changed));
}

TEST(Engine, RefusesWhatDoesNotFitTheModel) {
  TrainedModel decoder = full_model("gqa_untied");
  EXPECT_THAT(test::message_of<Error>([&] { Engine(decoder, {Keep::kInput}, 8); }),
              HasSubstr("3 layers, got 1"));
  Engine engine(decoder, all_layers(decoder, Keep::kInput), 8);
  EXPECT_THAT(test::message_of<Error>([&] {
                engine.evaluate(make_next_token_batch(test::random_ids({1, 9}, 96, 7), 0));
              }),
              HasSubstr("positions below 8, got 8"));
}

// A narrow model with a large vocabulary: logits of 16384 tokens would be 2 GiB.
model::Decoder narrow_model() {
  const model::ModelConfig config = model::parse_model_config({{"architectures", {"LlamaForCausalLM"}},
                                                               {"vocab_size", 32000},
                                                               {"hidden_size", 32},
                                                               {"intermediate_size", 64},
                                                               {"num_hidden_layers", 8},
                                                               {"num_attention_heads", 2},
                                                               {"max_position_embeddings", 16384}},
                                                              "test");
  model::Decoder decoder = model::random_decoder(config, at::kFloat, 1);
  model::add_lora(decoder, {}, 1);
  model::train_adapter(decoder, {"embed", "norm"});
  return decoder;
}

TEST(EngineMemory, HoldsNeitherAllLogitsNorTheActivationsOfAllLayers) {
  const int64_t tokens = 16384;
  auto& allocator = test::CountingAllocator::instance();
  TrainedModel decoder = narrow_model();
  const Batch batch = make_next_token_batch(test::random_ids({1, tokens}, 32000, 8), 512);
  const auto peak_with = [&](Keep keep) {
    Engine engine(decoder, all_layers(decoder, keep), tokens);
    allocator.reset();
    engine.forward_backward(batch, 1.0 / static_cast<double>(tokens));
    return allocator.peak_bytes();
  };
  const int64_t mebibyte = int64_t{1} << 20;
  const int64_t recomputed = peak_with(Keep::kInput);
  EXPECT_LT(recomputed, 160 * mebibyte) << recomputed / mebibyte << " MiB";
  // Keeping everything takes more for each of the eight layers: the measure sees what it should.
  const int64_t kept = peak_with(Keep::kEverything);
  EXPECT_GT(kept, recomputed + 7 * 16 * mebibyte) << kept / mebibyte << " MiB";
  EXPECT_LT(kept, 1000 * mebibyte) << kept / mebibyte << " MiB";
}

}  // namespace
}  // namespace longlora::train
