// DoRA, dropout and 8-bit moments: the values of peft and bitsandbytes, and runs that are resumed.
#include <functional>
#include <set>

#include "longlora/ops/dynamic_map.h"
#include "longlora/train/optimizer.h"
#include "longlora/train/trainer.h"
#include "tests/train/instruction_samples.h"
#include "tests/train/support.h"

namespace longlora::train {
namespace {

namespace fs = std::filesystem;

fs::path golden_path(const std::string& name) {
  return test::data_path("goldens/adapter_variants") / name;
}

model::Decoder variant(const std::string& name) {
  model::Decoder decoder = model::load_with_adapter(tiny_model("gqa_untied"), golden_path(name), at::kFloat);
  model::train_adapter(decoder, {});
  return decoder;
}

struct VariantRun {
  LossSums sums;
  std::vector<std::pair<std::string, at::Tensor>> grads;
};

// Loss and gradients of the golden's batch; `seed` as in the script that made it.
VariantRun run_variant(const std::string& name, Keep keep, int64_t tile_tokens, double dropout,
                       uint64_t seed = 77) {
  TrainedModel decoder = variant(name);
  const auto golden = checkpoint::TensorStore::open_file(golden_path(name) / "golden.safetensors");
  EngineOptions options;
  options.tile_tokens = tile_tokens;
  Engine engine(decoder, std::vector<Keep>(decoder.blocks.size(), keep), 64, options);
  Batch batch = make_batch(golden_rows(golden), kFullAttention);
  batch.dropout = {dropout, seed};
  const LossSums sums = engine.forward_backward(batch, 1.0 / 22.0);
  return {sums, gradients_of(decoder)};
}

double dropout_of(const std::string& name) {
  return name == "dora" ? 0.0 : 0.25;
}

TEST(AdapterVariants, HaveTheLossAndGradientsOfPeft) {
  for (const char* name : {"dora", "dropout", "dora_dropout"}) {
    SCOPED_TRACE(name);
    const auto golden = checkpoint::TensorStore::open_file(golden_path(name) / "golden.safetensors");
    const VariantRun found = run_variant(name, Keep::kInput, 0, dropout_of(name));
    EXPECT_EQ(found.sums.num_labels, 22);
    const double expected = golden.load("loss").item<double>();
    EXPECT_NEAR(found.sums.mean(), expected, 1e-5 * expected);
    for (const auto& grad : found.grads) {
      SCOPED_TRACE(grad.first);
      EXPECT_CLOSE(grad.second, golden.load("grad." + grad.first), 1e-4);
    }
    EXPECT_EQ(found.grads.size() + 7, golden.tensors().size());  // ids, answers and loss
  }
}

TEST(AdapterVariants, DoNotDependOnWhatIsComputedAgain) {
  for (const char* name : {"dora", "dropout", "dora_dropout"}) {
    const VariantRun expected = run_variant(name, Keep::kInput, 0, dropout_of(name));
    for (const Keep keep : {Keep::kAttention, Keep::kEverything})
      for (const int64_t tile_tokens : {0, 16}) {
        SCOPED_TRACE(::testing::Message() << name << ", tiles of " << tile_tokens);
        const VariantRun found = run_variant(name, keep, tile_tokens, dropout_of(name));
        EXPECT_NEAR(found.sums.mean(), expected.sums.mean(), 1e-6);
        for (size_t i = 0; i < found.grads.size(); ++i) {
          SCOPED_TRACE(found.grads[i].first);
          EXPECT_CLOSE(found.grads[i].second, expected.grads[i].second, 1e-5);
          if (tile_tokens > 0) continue;
          EXPECT_TRUE(at::equal(found.grads[i].second, expected.grads[i].second));
        }
      }
  }
  EXPECT_NE(run_variant("dropout", Keep::kInput, 0, 0.25).sums.loss,
            run_variant("dropout", Keep::kInput, 0, 0.25, 78).sums.loss);
}

TEST(AdapterVariants, EvaluateWithoutDropout) {
  TrainedModel decoder = variant("dropout");
  const auto golden = checkpoint::TensorStore::open_file(golden_path("dropout") / "golden.safetensors");
  Engine engine(decoder, std::vector<Keep>(decoder.blocks.size(), Keep::kInput), 64);
  Batch batch = make_batch(golden_rows(golden), kFullAttention);
  const double plain = engine.evaluate(batch).loss;
  batch.dropout = {0.25, 77};
  EXPECT_EQ(engine.evaluate(batch).loss, plain);
}

TEST(AdapterVariants, AreSavedUnderPeftsNames) {
  test::TemporaryDirectory folder;
  const auto peft = checkpoint::PeftAdapter::open(golden_path("dora"));
  EXPECT_TRUE(peft.config().use_dora);
  const auto tensors = model::adapter_tensors(variant("dora"));
  checkpoint::write_peft_adapter(folder.path(), peft.config(), tensors.lora, tensors.parameters);
  const auto expected = checkpoint::TensorStore::open_file(golden_path("dora") / "adapter_model.safetensors");
  const auto written = checkpoint::TensorStore::open_file(folder / "adapter_model.safetensors");
  ASSERT_EQ(written.tensors().size(), expected.tensors().size());
  for (const auto& [name, info] : expected.tensors())
    EXPECT_TRUE(test::is_identical(written.load(name), expected.load(name))) << name;
  EXPECT_EQ(read_json(folder / "adapter_config.json")["use_dora"], true);
  EXPECT_TRUE(checkpoint::PeftAdapter::open(folder.path()).config().use_dora);
}

// --- 8-bit moments ---

TEST(DynamicMap, IsThatOfBitsandbytes) {
  const auto golden = checkpoint::TensorStore::open_file(golden_path("adamw_8bit.safetensors"));
  for (const bool has_sign : {true, false}) {
    const ops::DynamicMap& map = has_sign ? ops::DynamicMap::with_sign() : ops::DynamicMap::without_sign();
    const at::Tensor expected = golden.load(has_sign ? "signed_map" : "unsigned_map");
    for (int i = 0; i < 256; ++i) {
      EXPECT_EQ(map[static_cast<uint8_t>(i)], expected[i].item<float>()) << i;
      EXPECT_EQ(map.nearest(map[static_cast<uint8_t>(i)]), i);
    }
  }
  EXPECT_EQ(ops::DynamicMap::with_sign().nearest(-5.0f), 0);
  EXPECT_EQ(ops::DynamicMap::with_sign().nearest(5.0f), 255);
}

TEST(DynamicMap, FindsTheNearestNumber) {
  const ops::DynamicMap& map = ops::DynamicMap::with_sign();
  for (int i = -3000; i <= 3000; ++i) {
    const float value = static_cast<float>(i) / 3000.0f;
    const uint8_t found = map.nearest(value);
    for (int code = 0; code < 256; ++code)
      ASSERT_LE(std::abs(map[found] - value), std::abs(map[static_cast<uint8_t>(code)] - value)) << value;
  }
}

TEST(AdamW8bit, TakesTheStepsOfBitsandbytes) {
  const auto golden = checkpoint::TensorStore::open_file(golden_path("adamw_8bit.safetensors"));
  TrainedModel decoder = model::load_decoder(tiny_model("gqa_untied"), at::kFloat);
  model::Parameter& parameter = decoder.blocks[1].up_proj.weight;
  parameter.value = golden.load("weight").to(at::kFloat);
  parameter.make_trainable();
  AdamW optimizer(decoder, {.beta2 = 0.95, .weight_decay = 0.1, .moments_in_8_bits = true});
  ASSERT_EQ(optimizer.slots().size(), 1u);
  for (int step = 0; step < 4; ++step) {
    decoder.of(parameter).grad.copy_(golden.load("grad." + std::to_string(step)));
    optimizer.step(1e-2, 1.0);
  }
  // A moment that lies between two numbers of the map may be rounded to either: at most one in a thousand is.
  const AdamW::Slot& slot = optimizer.slots()[0];
  EXPECT_CLOSE(slot.exp_avg_scales, golden.load("exp_avg_scales"), 1e-5);
  EXPECT_CLOSE(slot.exp_avg_sq_scales, golden.load("exp_avg_sq_scales"), 1e-5);
  const at::Tensor other_codes = slot.exp_avg.ne(golden.load("exp_avg")),
                   other_square_codes = slot.exp_avg_sq.ne(golden.load("exp_avg_sq"));
  const int64_t most = parameter.value.numel() / 1000;
  EXPECT_LE(other_codes.sum().item<int64_t>(), most);
  EXPECT_LE(other_square_codes.sum().item<int64_t>(), most);
  const at::Tensor differences = decoder.of(parameter).master.sub(golden.load("final")).abs();
  EXPECT_LE(differences.gt(1e-6).sum().item<int64_t>(), 2 * most);
  EXPECT_LT(differences.max().item<double>(), 1e-2);  // one step
}

TEST(AdamW8bit, LeavesSmallParametersAndTheEmbeddingIn32Bits) {
  TrainedModel decoder = model::load_decoder(tiny_model("gqa_untied"), at::kFloat);
  decoder.embed_tokens.value = at::zeros({200, 32});
  decoder.lm_head.value = at::zeros({200, 32});
  model::train_everything(decoder);
  AdamW optimizer(decoder, {.moments_in_8_bits = true});
  int64_t quantized = 0, bytes = 0, predicted = 0;
  for (const AdamW::Slot& slot : optimizer.slots()) {
    const bool is_quantized = slot.exp_avg_scales.defined();
    EXPECT_EQ(is_quantized, slot.trained->name == "lm_head.weight") << slot.trained->name;
    quantized += is_quantized ? 1 : 0;
    const auto state = slot.state();
    for (size_t i = 1; i < state.size(); ++i) bytes += static_cast<int64_t>(state[i].second.nbytes());
    const model::Parameter& parameter = *slot.trained->parameter;
    predicted += moment_bytes(parameter.value.numel(), takes_8_bit_moments(parameter, slot.trained->role));
  }
  EXPECT_EQ(quantized, 1);
  EXPECT_EQ(bytes, predicted);
}

// --- The loop ---

TEST(AdapterVariants, GoOnToTheSameBits) {
  test::TemporaryDirectory folder;
  const std::vector<std::pair<std::string, std::function<void(TrainOptions&)>>> variants = {
      {"dropout", [](TrainOptions& options) { options.lora.dropout = 0.2; }},
      {"dora", [](TrainOptions& options) { options.lora.use_dora = true; }},
      {"both", [](TrainOptions& options) { options.lora.use_dora = true, options.lora.dropout = 0.2; }},
      {"adamw_8bit", [](TrainOptions& options) {
         options.adamw.moments_in_8_bits = true;
         options.lora.rank = 128;
       }}};
  std::set<std::string> results;
  for (const auto& [name, set] : variants) {
    SCOPED_TRACE(name);
    const auto options_for = [&set = set, &folder](const fs::path& path) {
      TrainOptions options = small_run(folder / path);
      options.supervised = true;
      options.save_steps = 1;
      set(options);
      return options;
    };
    const auto run_to_end = [](const TrainOptions& options, int64_t stop_after) {
      model::Decoder decoder = model::load_decoder(tiny_model("gqa_untied"), at::kFloat);
      model::add_lora(decoder, options.lora, 1);
      model::train_adapter(decoder, {"embed", "norm"});
      struct Stopper : TrainObserver {
        int64_t at = 0;
        void on_step(const StepReport& report) override {
          if (report.step == at) Trainer::request_stop();
        }
      } stopper;
      stopper.at = stop_after;
      BuiltRun run = run_in_memory(options, std::move(decoder));
      Trainer(run, std::make_unique<MemoryRows>(uneven_rows()), nullptr, stopper).run();
    };
    TrainOptions whole = options_for(name + "_whole"), parts = options_for(name + "_parts");
    run_to_end(whole, 0);
    run_to_end(parts, 3);
    parts.resume = true;
    run_to_end(parts, 0);
    for (const char* file : {"checkpoint-7/optimizer.safetensors", "adapter_model.safetensors"})
      EXPECT_EQ(read_file(whole.output_dir / file), read_file(parts.output_dir / file)) << file;
    results.insert(read_file(whole.output_dir / "trainable_params.safetensors"));
    const auto state =
        checkpoint::TensorStore::open_file(whole.output_dir / "checkpoint-7" / "optimizer.safetensors");
    EXPECT_EQ(state.contains("exp_avg_scales/model.layers.0.self_attn.q_proj.lora_A.weight"),
              name == "adamw_8bit");
  }
  EXPECT_EQ(results.size(), variants.size());
}

TEST(AdapterVariants, CountInTheMemoryPlan) {
  const auto total = [](const std::function<void(PlanRequest&, checkpoint::LoraConfig&)>& set) {
    PlanRequest request;
    request.batch_tokens = 256;
    request.budget_bytes = int64_t{1} << 34;
    checkpoint::LoraConfig lora;
    lora.rank = 256;
    set(request, lora);
    model::Decoder decoder = model::load_decoder(tiny_model("gqa_untied"), at::kFloat);
    model::add_lora(decoder, lora, 1);
    model::train_adapter(decoder, {});
    const MemoryPlan plan = predict_memory(decoder, request, std::vector<Keep>(3, Keep::kEverything), 0);
    return std::pair(plan.optimizer_bytes, plan.tensor_bytes());
  };
  const auto plain = total([](PlanRequest&, checkpoint::LoraConfig&) {});
  const auto in_8_bits =
      total([](PlanRequest& request, checkpoint::LoraConfig&) { request.moments_in_8_bits = true; });
  const auto dropout = total([](PlanRequest& request, checkpoint::LoraConfig&) { request.dropout = true; });
  const auto dora = total([](PlanRequest&, checkpoint::LoraConfig& lora) { lora.use_dora = true; });
  // Of 12 bytes an element 6 go, but for what 256 of them share.
  EXPECT_NEAR(static_cast<double>(in_8_bits.first),
              static_cast<double>(plain.first) * (6.0 + 2.0 / 64.0) / 12.0,
              0.01 * static_cast<double>(plain.first));
  EXPECT_GT(dropout.second, plain.second);
  EXPECT_GT(dora.second, plain.second);
  EXPECT_GT(dora.first, plain.first);  // the magnitudes
}

}  // namespace
}  // namespace longlora::train
