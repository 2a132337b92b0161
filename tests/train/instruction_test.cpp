// Supervised fine-tuning: packed rows, weights of targets, and the values of transformers with peft.
#include <algorithm>
#include <cmath>

#include "longlora/core/error.h"
#include "longlora/train/batch.h"
#include "longlora/train/optimizer.h"
#include "longlora/train/trainer.h"
#include "tests/train/instruction_samples.h"
#include "tests/train/support.h"

namespace longlora::train {
namespace {

namespace fs = std::filesystem;
using test::message_of;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

model::Decoder golden_model(const fs::path& folder) {
  return model::load_with_adapter(tiny_model("gqa_untied"), folder, at::kFloat);
}

TEST(InstructionTuning, HasTheLossAndGradientsOfTransformersAndPeft) {
  for (const char* name : {"full", "s2", "rslora_all_linear"}) {
    const fs::path folder = test::data_path("goldens/instruction_tuning") / name;
    const auto golden = checkpoint::TensorStore::open_file(folder / "golden.safetensors");
    const auto rows = golden_rows(golden);
    ASSERT_EQ(rows.size(), 3u);
    TrainedModel decoder = golden_model(folder);
    model::train_adapter(decoder, {"embed", "norm"});
    const GroupRule group_for = [&](int64_t) { return int64_t{std::string_view(name) == "s2" ? 8 : 0}; };
    const double expected = golden.load("loss").item<double>();
    // Each in a row of its own, all in one, and two of three.
    const std::vector<std::vector<data::TrainingRow>> batches = {
        rows, {packed(rows)}, {rows[2], packed({rows[0], rows[1]})}};
    for (const auto& batch : batches) {
      SCOPED_TRACE(::testing::Message() << name << ", " << batch.size() << " rows");
      const LossSums sums = run(decoder, batch, group_for);
      EXPECT_EQ(sums.num_labels, 22);
      EXPECT_NEAR(sums.mean(), expected, 1e-5 * expected);
      size_t compared = 0;
      for (const auto& grad : gradients_of(decoder)) {
        SCOPED_TRACE(grad.first);
        EXPECT_CLOSE(grad.second, golden.load("grad." + grad.first), 1e-4);
        ++compared;
      }
      EXPECT_EQ(compared + 7, golden.tensors().size());  // ids, answers and loss
    }
  }
}

TEST(InstructionTuning, FollowsTheLearningRatesOfPeftsLoraPlus) {
  const fs::path folder = test::data_path("goldens/instruction_tuning/loraplus");
  const auto golden = checkpoint::TensorStore::open_file(folder / "golden.safetensors");
  TrainedModel decoder = golden_model(folder);
  model::train_adapter(decoder, {});
  AdamW optimizer(decoder, {.loraplus_lr_ratio = 16.0});
  for (int step = 0; step < 3; ++step) {
    const LossSums sums = run(decoder, golden_rows(golden), kFullAttention);
    EXPECT_NEAR(sums.mean(), golden.load("losses")[step].item<double>(), 1e-4 * sums.mean()) << step;
    optimizer.step(1e-3, 1.0);
  }
  size_t compared = 0;
  model::visit_parameters(decoder, [&](const std::string& name, const model::Parameter& parameter) {
    if (!parameter.trainable()) return;
    SCOPED_TRACE(name);
    EXPECT_CLOSE(parameter.value.dense(), golden.load("final." + name), 1e-3);
    ++compared;
  });
  EXPECT_EQ(compared + 7, golden.tensors().size());
}

// --- Batches ---

TEST(InstructionBatch, OfConsecutiveRowsIsThatOfNextTokenPrediction) {
  const MemoryTokens data = MemoryTokens::walk(16 * 3 + 2, 96);
  const data::ConsecutiveRows rows(data, 16);
  EXPECT_EQ(rows.num_rows(), 3);
  at::Tensor ids = at::empty({2, 16}, at::kLong);
  data.read(16, {ids.mutable_data_ptr<int64_t>(), 32});
  const Batch expected = make_next_token_batch(ids, 6);
  const Batch actual = make_batch({rows.row(1), rows.row(2)}, [](int64_t) { return int64_t{6}; });
  EXPECT_TRUE(at::equal(actual.ids, expected.ids));
  EXPECT_TRUE(at::equal(actual.labels, expected.labels));
  EXPECT_TRUE(at::equal(actual.positions, expected.positions));
  EXPECT_EQ(actual.plan.bounds, expected.plan.bounds);
}

TEST(InstructionBatch, CutsGroupsByTheLengthOfEachSample) {
  TrainOptions options;
  options.model_max_length = 1 << 15;
  options.reference_sft_groups = true;
  EXPECT_EQ(options.group_for(8192), 2048);
  EXPECT_EQ(options.group_for(8191), 8192);
  EXPECT_EQ(options.group_for(20000), 8192);
  options.reference_sft_groups = false;
  EXPECT_EQ(options.group_for(100), 8192);
  options.attention = AttentionKind::kFull;
  EXPECT_EQ(options.group_for(8192), 0);
  const auto row = packed({sample_row({1, 2, 3, 4, 5, 6}, {{3, 6}}), sample_row({1, 2, 3, 4}, {{2, 4}})});
  const Batch batch = make_batch({row}, [](int64_t tokens) { return tokens == 6 ? 4 : 0; });
  EXPECT_THAT(batch.plan.bounds[0], ElementsAre(0, 4, 6, 10));
  EXPECT_THAT(batch.plan.bounds[1], ElementsAre(0, 2, 6, 10));
}

TEST(InstructionBatch, NoiseHasTheSizeOfItsSampleAndComesAgainForItsSeed) {
  const std::vector<int64_t> ids(400, 5);
  const auto rows = std::vector{packed({sample_row({1, 2, 3, 4}, {{1, 4}}), sample_row(ids, {{1, 400}})})};
  const Batch batch = make_batch(rows, kFullAttention);
  const at::Tensor noise = embedding_noise(batch, rows, 5.0, 64, at::kFloat, 3);
  EXPECT_TRUE(at::equal(noise, embedding_noise(batch, rows, 5.0, 64, at::kFloat, 3)));
  EXPECT_FALSE(at::equal(noise, embedding_noise(batch, rows, 5.0, 64, at::kFloat, 4)));
  const double bounds[] = {5.0 / std::sqrt(4 * 64.0), 5.0 / std::sqrt(400 * 64.0)};
  const at::Tensor parts[] = {noise.slice(0, 0, 4), noise.slice(0, 4)};
  for (int i = 0; i < 2; ++i) {
    EXPECT_LE(parts[i].abs().max().item<double>(), bounds[i] * 1.0001);
    EXPECT_GT(parts[i].abs().max().item<double>(), bounds[i] * 0.9);
    EXPECT_LT(std::abs(parts[i].mean().item<double>()), bounds[i] * 0.2);
  }
}

// --- The loop ---

struct Recorder : TrainObserver {
  void on_step(const StepReport& report) override { steps.push_back(report); }
  std::vector<StepReport> steps;
};

std::vector<StepReport> train(const TrainOptions& options, std::vector<data::TrainingRow> rows) {
  BuiltRun run = run_in_memory(options, lora_plus_model("gqa_untied"));
  Recorder recorder;
  Trainer(run, std::make_unique<MemoryRows>(std::move(rows)), nullptr, recorder).run();
  return recorder.steps;
}

TrainOptions supervised_run(const fs::path& output_dir) {
  TrainOptions options = small_run(output_dir);
  options.supervised = true;
  options.shuffle = false;
  return options;
}

TEST(InstructionTraining, WeighsEveryTargetOfTheWindowTheSame) {
  test::TemporaryDirectory folder;
  // Eight rows in one update, however they are cut into batches and rows.
  const auto steps = [&](const char* name, int64_t rows, int64_t batches,
                         std::vector<data::TrainingRow> data) {
    TrainOptions options = supervised_run(folder / name);
    options.model_max_length = 80;
    options.group_size = 6;
    options.per_device_train_batch_size = rows;
    options.gradient_accumulation_steps = batches;
    options.max_steps = 3;
    options.learning_rate = 1e-2;
    return train(options, std::move(data));
  };
  const auto rows = uneven_rows();
  const auto one_by_one = steps("one", 1, 8, rows);
  const auto in_pairs = steps("pairs", 2, 4, rows);
  const auto at_once = steps("once", 8, 1, rows);
  const auto in_one_row = steps("packed", 1, 1, {packed(rows)});
  for (size_t i = 0; i < 3; ++i)
    for (const auto* other : {&in_pairs, &at_once, &in_one_row}) {
      EXPECT_NEAR((*other)[i].loss, one_by_one[i].loss, 1e-5 * one_by_one[i].loss);
      EXPECT_NEAR((*other)[i].grad_norm, one_by_one[i].grad_norm, 1e-4 * one_by_one[i].grad_norm);
      EXPECT_EQ((*other)[i].tokens, one_by_one[i].tokens);
    }
  EXPECT_LT(one_by_one[2].loss, one_by_one[0].loss);
}

TEST(InstructionTraining, PassesOverBatchesWithoutALabel) {
  test::TemporaryDirectory folder;
  const data::TrainingRow empty = sample_row({5, 6, 7, 8}, {});
  const auto rows = uneven_rows();
  TrainOptions options = supervised_run(folder / "some");
  options.per_device_train_batch_size = 1;
  options.max_steps = 2;
  // One of two batches of each update, then both of the second.
  const auto some = train(options, {empty, rows[0], empty, empty});
  ASSERT_EQ(some.size(), 2u);
  EXPECT_TRUE(std::isfinite(some[0].loss) && some[0].loss > 0.0);
  EXPECT_GT(some[0].grad_norm, 0.0);
  EXPECT_TRUE(std::isnan(some[1].loss));  // nothing was measured
  EXPECT_THAT(read_file(folder / "some/train_log.jsonl"), ::testing::HasSubstr("\"loss\":null"));
  options.output_dir = folder / "alone";
  options.gradient_accumulation_steps = 1;
  EXPECT_EQ(train(options, {rows[0]})[0].loss, some[0].loss);
}

TEST(InstructionTraining, RefusesSamplesOfWhichNothingIsLearned) {
  test::TemporaryDirectory folder;
  const data::TrainingRow empty = sample_row({5, 6, 7, 8}, {});
  EXPECT_THAT(test::message_of<InputError>([&] {
                train(supervised_run(folder / "out"), {empty, empty});
              }),
              ::testing::HasSubstr("[--data_path] expected tokens to predict, got none in 2 rows"));
}

TEST(InstructionTraining, GoesOnToTheSameBitsAndRefusesOtherSamples) {
  test::TemporaryDirectory folder;
  for (const bool grouped : {false, true}) {
    const auto options_for = [&](const std::string& name) {
      TrainOptions options = supervised_run(folder / (name + (grouped ? "_grouped" : "")));
      options.shuffle = true;
      options.group_by_length = grouped;
      options.neftune_noise_alpha = 5.0;
      options.save_steps = 1;
      return options;
    };
    const auto run_to_end = [&](const TrainOptions& options, int64_t stop_after) {
      BuiltRun run = run_in_memory(options, lora_plus_model("gqa_untied"));
      struct Stopper : TrainObserver {
        int64_t at = 0;
        void on_step(const StepReport& report) override {
          if (report.step == at) Trainer::request_stop();
        }
      } stopper;
      stopper.at = stop_after;
      Trainer(run, std::make_unique<MemoryRows>(uneven_rows()), nullptr, stopper).run();
    };
    TrainOptions whole = options_for("whole"), parts = options_for("parts");
    run_to_end(whole, 0);
    run_to_end(parts, 3);
    parts.resume = true;
    run_to_end(parts, 0);
    for (const char* file : {"checkpoint-7/optimizer.safetensors", "adapter_model.safetensors"})
      EXPECT_EQ(read_file(whole.output_dir / file), read_file(parts.output_dir / file)) << file;

    BuiltRun run = run_in_memory(parts, lora_plus_model("gqa_untied"));
    Recorder recorder;
    EXPECT_THAT(message_of<InputError>([&] {
                  Trainer(run, std::make_unique<MemoryRows>(uneven_rows(), "others"), nullptr, recorder);
                }),
                HasSubstr("expected the samples that this run was started with"));
  }
}

TEST(InstructionTraining, WithNoiseLearnsSomethingElse) {
  test::TemporaryDirectory folder;
  TrainOptions options = supervised_run(folder / "plain");
  const auto plain = train(options, uneven_rows());
  options.output_dir = folder / "noisy";
  options.neftune_noise_alpha = 5.0;
  EXPECT_NE(train(options, uneven_rows())[0].loss, plain[0].loss);
}

}  // namespace
}  // namespace longlora::train
