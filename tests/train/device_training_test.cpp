// Whole models and runs on libtorch's operators against the CPU kernels.
#include "longlora/train/memory_plan.h"
#include "longlora/train/optimizer.h"
#include "longlora/train/trainer.h"
#include "tests/model/tiny_models.h"
#include "tests/support/device.h"
#include "tests/train/support.h"

namespace longlora::train {
namespace {

// As shares of each gradient's largest value: sums in another order; in bfloat16 rounding at every operator.
constexpr double kFloatTolerance = 2e-4, kBfloat16Tolerance = 6e-2;

class DeviceTraining : public test::DeviceTest {
 protected:
  static LossSums run(TrainedModel& decoder, const Batch& batch, Keep keep, double grad_scale,
                      int64_t tile_tokens) {
    zero_gradients(decoder);
    const std::vector<Keep> keeps(decoder.blocks.size(), keep);
    EngineOptions options;
    options.tile_tokens = tile_tokens;
    return Engine(decoder, keeps, batch.ids.numel(), options).forward_backward(batch, grad_scale);
  }

  // Loss and every gradient of two copies of a model, one of them on the device.
  void expect_same(TrainedModel& here, TrainedModel& there, const Batch& batch, double tolerance) const {
    for (const Keep keep : {Keep::kInput, Keep::kAttention, Keep::kEverything})
      for (const int64_t tile_tokens : {0, 7}) {
        SCOPED_TRACE(::testing::Message() << "keep " << static_cast<int>(keep) << ", tiles " << tile_tokens);
        const LossSums expected = run(here, batch, keep, 0.02, tile_tokens);
        const LossSums actual = compute([&] { return run(there, batch, keep, 0.02, tile_tokens); });
        EXPECT_EQ(actual.num_labels, expected.num_labels);
        EXPECT_NEAR(actual.mean(), expected.mean(), tolerance * expected.mean());
        const auto wanted = gradients_of(here), found = gradients_of(there);
        ASSERT_EQ(found.size(), wanted.size());
        for (size_t i = 0; i < found.size(); ++i) {
          SCOPED_TRACE(found[i].first);
          EXPECT_EQ(found[i].second.device(), device());
          EXPECT_CLOSE(found[i].second.cpu(), wanted[i].second, tolerance);
        }
      }
  }

  // A model of a folder on the device, every weight or its low-rank pairs trained.
  model::Decoder load(const std::filesystem::path& folder, at::ScalarType dtype, at::Device where,
                      bool low_rank) const {
    model::Decoder decoder = model::load_decoder(folder, dtype, {.device = where});
    if (low_rank)
      add_lora_plus(decoder);
    else
      model::train_everything(decoder);
    return decoder;
  }
};

TEST_F(DeviceTraining, EveryFamilyHasTheLossAndGradientsOfTheKernels) {
  const Batch batch = make_next_token_batch(test::random_ids({2, 24}, 40, 3), 8);
  std::vector<std::filesystem::path> folders;
  for (const char* name : model::kTinyModels) folders.push_back(tiny_model(name));
  for (const char* name : model::kFamilyModels) folders.push_back(model::family_model(name));
  for (const auto& folder : folders)
    for (const bool low_rank : {false, true}) {
      SCOPED_TRACE(folder.filename().string() + (low_rank ? " LoRA+" : ""));
      const std::string architecture = model::read_model_config(folder).architecture;
      if (low_rank && architecture != "LlamaForCausalLM") continue;  // other names of the layers
      TrainedModel here = load(folder, at::kFloat, at::kCPU, low_rank),
                   there = load(folder, at::kFloat, device(), low_rank);
      expect_same(here, there, batch, kFloatTolerance);
    }
}

TEST_F(DeviceTraining, StaysCloseToTheKernelsInBfloat16) {
  const Batch batch = make_next_token_batch(test::random_ids({2, 48}, 40, 4), 16);
  for (const char* name : {"gqa_untied", "mha_tied", "odd_kv"}) {
    SCOPED_TRACE(name);
    TrainedModel here = load(tiny_model(name), at::kBFloat16, at::kCPU, true),
                 there = load(tiny_model(name), at::kBFloat16, device(), true);
    expect_same(here, there, batch, kBfloat16Tolerance);
  }
}

TEST_F(DeviceTraining, TheOptimizerMakesTheStepsOfTheKernel) {
  const Batch batch = make_next_token_batch(test::random_ids({2, 24}, 40, 5), 8);
  TrainedModel here = load(tiny_model("gqa_untied"), at::kFloat, at::kCPU, false),
               there = load(tiny_model("gqa_untied"), at::kFloat, device(), false);
  const auto norms_of = [&](TrainedModel& decoder) {
    AdamW optimizer(decoder, {.beta2 = 0.95, .weight_decay = 0.1});
    std::vector<double> norms;
    for (int step = 0; step < 3; ++step) {
      run(decoder, batch, Keep::kInput, 0.02, 0);
      norms.push_back(optimizer.grad_norm());
      optimizer.step(1e-2, 0.5);
      optimizer.zero_grad();
    }
    return norms;
  };
  const std::vector<double> expected = norms_of(here);
  const std::vector<double> actual = compute([&] { return norms_of(there); });
  for (size_t i = 0; i < expected.size(); ++i) EXPECT_NEAR(actual[i], expected[i], 1e-3 * expected[i]) << i;
  std::map<std::string, at::Tensor> wanted;
  for (const TrainedParameter& parameter : here.trained().all())
    wanted[parameter.name] = parameter.master.detach();
  for (const TrainedParameter& parameter : there.trained().all()) {
    SCOPED_TRACE(parameter.name);
    EXPECT_EQ(parameter.master.device(), device());
    EXPECT_CLOSE(parameter.master.cpu(), wanted[parameter.name], 2e-3);
  }
}

// Losses of all steps; ends the run after one of them.
class Losses : public TrainObserver {
 public:
  explicit Losses(int64_t last_step) : last_step_(last_step) {}
  void on_step(const StepReport& report) override {
    losses.push_back(report.loss);
    if (report.step == last_step_) Trainer::request_stop();
  }
  std::vector<double> losses;

 private:
  int64_t last_step_;
};

TEST_F(DeviceTraining, ARunHasTheLossesOfTheKernelsAndResumes) {
  const MemoryTokens data = MemoryTokens::walk(1200, 96);
  const auto losses_of = [&](const std::filesystem::path& folder, at::Device where, int64_t last_step) {
    TrainOptions options = small_run(folder);
    options.device = where;
    options.resume = true;
    options.schedule = ScheduleType::kConstantWithWarmup;
    options.neftune_noise_alpha = 5.0;
    model::Decoder decoder = model::load_decoder(tiny_model("gqa_untied"), at::kFloat, {.device = where});
    add_lora_plus(decoder);
    Losses observer(last_step);
    BuiltRun run = run_in_memory(options, std::move(decoder));
    Trainer trainer = trainer_on_tokens(run, data, &data, observer);
    trainer.run();
    return observer.losses;
  };
  const test::TemporaryDirectory here, there, again;
  const auto expected = losses_of(here / "run", at::kCPU, 0);
  const auto actual = compute([&] { return losses_of(there / "run", device(), 0); });
  auto resumed = compute([&] { return losses_of(again / "run", device(), 4); });
  const auto rest = compute([&] { return losses_of(again / "run", device(), 0); });
  resumed.insert(resumed.end(), rest.begin(), rest.end());
  ASSERT_EQ(expected.size(), 7u);
  ASSERT_EQ(actual.size(), expected.size());
  ASSERT_EQ(resumed.size(), expected.size());
  for (size_t i = 0; i < expected.size(); ++i) {
    EXPECT_NEAR(actual[i], expected[i], 2e-3 * expected[i]) << "step " << i + 1;
    EXPECT_NEAR(resumed[i], expected[i], 2e-3 * expected[i]) << "step " << i + 1;
  }
  // The adapter comes back to the CPU as any other.
  const auto adapter = checkpoint::PeftAdapter::open(there / "run");
  const auto wanted = checkpoint::PeftAdapter::open(here / "run");
  ASSERT_EQ(adapter.modules(), wanted.modules());
  for (const std::string& module : adapter.modules())
    EXPECT_CLOSE(adapter.load_a(module), wanted.load_a(module), 2e-2);
}

}  // namespace
}  // namespace longlora::train
