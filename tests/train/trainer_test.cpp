#include "longlora/train/trainer.h"

#include <cmath>

#include "longlora/core/error.h"
#include "tests/train/recorder.h"
#include "tests/train/support.h"

namespace longlora::train {
namespace {

namespace fs = std::filesystem;
using test::message_of;
using ::testing::AllOf;
using ::testing::HasSubstr;

std::vector<StepReport> run_steps(const TrainOptions& options, const MemoryTokens& data) {
  model::Decoder decoder = lora_plus_model("gqa_untied");
  Recorder recorder;
  train_on_tokens(options, decoder, data, nullptr, recorder);
  return recorder.steps;
}

TEST(Trainer, LearnsWhatTheDataHolds) {
  test::TemporaryDirectory folder;
  TrainOptions options = small_run(folder / "out");
  options.max_steps = 40;
  options.learning_rate = 1e-2;
  options.logging_steps = 40;
  model::Decoder decoder = full_model("gqa_untied");
  options.low_rank_training = false;
  const MemoryTokens data = MemoryTokens::walk(16 * 20, 96);
  Recorder recorder;
  train_on_tokens(options, decoder, data, &data, recorder);
  ASSERT_EQ(recorder.steps.size(), 1u);    // the last step is always reported
  EXPECT_LT(recorder.steps[0].loss, 1.5);  // ln 96 is 4.6
}

TEST(Trainer, EndsASparseRunWithFullAttention) {
  const MemoryTokens data = MemoryTokens::walk(16 * 9, 96);
  test::TemporaryDirectory folder;
  const auto losses = [&](const char* name, AttentionKind attention, int64_t full_steps) {
    TrainOptions options = small_run(folder / name);
    options.attention = attention;
    options.full_attention_steps = full_steps;
    options.learning_rate = 0.0;  // only the attention makes a difference
    options.max_steps = 4;
    return run_steps(options, data);
  };
  const auto sparse = losses("sparse", AttentionKind::kShiftedSparse, 0);
  const auto full = losses("full", AttentionKind::kFull, 0);
  const auto mixed = losses("mixed", AttentionKind::kShiftedSparse, 1);
  for (size_t i = 0; i < 4; ++i) {
    EXPECT_NE(sparse[i].loss, full[i].loss);
    EXPECT_EQ(mixed[i].loss, i < 3 ? sparse[i].loss : full[i].loss) << i;
  }
}

TEST(Trainer, ClipsTheGradientToItsLargestNorm) {
  const MemoryTokens data = MemoryTokens::walk(16 * 9, 96);
  test::TemporaryDirectory folder;
  const auto after = [&](const char* name, double max_grad_norm) {
    TrainOptions options = small_run(folder / name);
    options.max_grad_norm = max_grad_norm;
    options.max_steps = 3;
    options.adamw.epsilon = 1.0;  // so that the size of a gradient shows in the step
    options.learning_rate = 0.1;
    return run_steps(options, data);
  };
  const auto unclipped = after("unclipped", 0.0), loose = after("loose", 1e6), tight = after("tight", 1e-3);
  EXPECT_GT(unclipped[0].grad_norm, 1e-3);
  EXPECT_EQ(unclipped[2].loss, loose[2].loss);
  EXPECT_EQ(unclipped[1].grad_norm, tight[1].grad_norm);  // reported as it was before; the first rate is 0
  EXPECT_NE(unclipped[2].loss, tight[2].loss);
}

TEST(Trainer, TakesAsManyStepsAsTheEpochsHold) {
  const MemoryTokens data = MemoryTokens::walk(16 * 13 + 5, 96);
  test::TemporaryDirectory folder;
  TrainOptions options = small_run(folder / "out");
  options.max_steps = 0;
  options.num_train_epochs = 2.0;
  BuiltRun run = run_in_memory(options, lora_plus_model("gqa_untied"));
  Recorder recorder;
  Trainer trainer = trainer_on_tokens(run, data, nullptr, recorder);
  EXPECT_EQ(trainer.num_rows(), 13);
  EXPECT_EQ(trainer.max_steps(), 8);  // four rows a step, and one in an epoch's last
  trainer.run();
  EXPECT_EQ(recorder.steps.back().tokens, 26 * 16);
  EXPECT_EQ(recorder.steps.back().max_steps, 8);
  EXPECT_EQ(recorder.steps[3].tokens - recorder.steps[2].tokens, 16);
  EXPECT_EQ(recorder.steps[3].epoch, 1.0);
}

TEST(Trainer, EvaluatesAllHeldOutRowsUnderFullAttention) {
  const MemoryTokens data = MemoryTokens::walk(16 * 9, 96), held_out = MemoryTokens::walk(16 * 5 + 3, 90);
  test::TemporaryDirectory folder;
  TrainOptions options = small_run(folder / "out");
  options.eval_data_path = {"memory"};
  options.eval_steps = 3;
  options.per_device_eval_batch_size = 2;
  options.learning_rate = 0.0;
  BuiltRun run = run_in_memory(options, lora_plus_model("gqa_untied"));
  Recorder recorder;
  trainer_on_tokens(run, data, &held_out, recorder).run();
  ASSERT_EQ(recorder.evals.size(), 3u);
  EXPECT_EQ(recorder.evals[0].step, 3);
  EXPECT_EQ(recorder.evals[1].step, 6);
  EXPECT_EQ(recorder.evals[2].step, 7);  // the last
  at::Tensor ids = at::empty({5, 16}, at::kLong);
  held_out.read(0, {ids.mutable_data_ptr<int64_t>(), 80});
  TrainedParameters trained(run.decoder);
  Engine engine(trained, std::vector<Keep>(run.decoder.blocks.size(), Keep::kInput), 16);
  const LossSums expected = engine.evaluate(make_next_token_batch(ids, 0));
  EXPECT_EQ(expected.num_labels, 75);
  EXPECT_NEAR(recorder.evals[0].loss, expected.mean(), 1e-6 * expected.mean());
  EXPECT_NEAR(recorder.evals[0].perplexity, std::exp(expected.mean()), 1e-4 * std::exp(expected.mean()));
  EXPECT_NEAR(recorder.evals[0].accuracy, static_cast<double>(expected.num_correct) / 75.0, 1e-12);
  EXPECT_THAT(read_file(folder / "out/train_log.jsonl"), HasSubstr("\"eval_loss\""));
}

TEST(Trainer, EndsWithAnErrorThatNamesTheStepWhenTheLossIsNotFinite) {
  const MemoryTokens data = MemoryTokens::walk(16 * 9, 96);
  test::TemporaryDirectory folder;
  TrainOptions options = small_run(folder / "out");
  BuiltRun run = run_in_memory(options, lora_plus_model("gqa_untied"));
  Recorder recorder;
  recorder.after_step = [&](int64_t step) {
    if (step == 2) run.decoder.norm.weight.value.dense().detach().fill_(std::nanf(""));
  };
  Trainer trainer = trainer_on_tokens(run, data, nullptr, recorder);
  EXPECT_THAT(
      message_of<Error>([&] { trainer.run(); }),
      AllOf(HasSubstr("[step 3]"), HasSubstr("finite"), HasSubstr("nan"), HasSubstr("--learning_rate")));
  EXPECT_FALSE(fs::exists(folder / "out/checkpoint-3"));
  EXPECT_FALSE(fs::exists(folder / "out/adapter_model.safetensors"));
}

TEST(Trainer, NamesTheWeightThatIsNotFiniteWhereNothingWasLearnedYet) {
  const MemoryTokens data = MemoryTokens::walk(16 * 9, 96);
  test::TemporaryDirectory folder;
  model::Decoder decoder = lora_plus_model("gqa_untied");
  decoder.blocks[1].down_proj.weight.value.dense().detach()[3][5] = std::nanf("");
  BuiltRun run = run_in_memory(small_run(folder / "out"), std::move(decoder));
  Recorder recorder;
  Trainer trainer = trainer_on_tokens(run, data, nullptr, recorder);
  EXPECT_THAT(message_of<InputError>([&] { trainer.run(); }),
              AllOf(HasSubstr("[step 1]"), HasSubstr("model.layers.1.mlp.down_proj.weight holds numbers")));
}

TEST(Trainer, EndsWhereTheLossOnHeldOutDataIsNotFinite) {
  const MemoryTokens held_out(std::vector<int64_t>(16, 95));
  test::TemporaryDirectory folder;
  TrainOptions options = small_run(folder / "out");
  options.eval_steps = 1;
  options.learning_rate = 0.0;
  model::Decoder decoder = lora_plus_model("gqa_untied");
  decoder.embed_tokens.value.dense().detach()[95].fill_(std::nanf(""));
  Recorder recorder;
  const MemoryTokens threes(std::vector<int64_t>(64, 3));
  BuiltRun run = run_in_memory(options, std::move(decoder));
  Trainer trainer = trainer_on_tokens(run, threes, &held_out, recorder);
  EXPECT_THAT(message_of<InputError>([&] { trainer.run(); }),
              HasSubstr("expected a finite loss on held-out data"));
}

TEST(Trainer, RefusesDataWithoutAWholeRow) {
  const MemoryTokens little = MemoryTokens::walk(15, 96), enough = MemoryTokens::walk(64, 96);
  test::TemporaryDirectory folder;
  const TrainOptions options = small_run(folder / "out");
  BuiltRun run = run_in_memory(options, lora_plus_model("gqa_untied"));
  Recorder recorder;
  EXPECT_THAT(message_of<InputError>([&] { trainer_on_tokens(run, little, nullptr, recorder); }),
              AllOf(HasSubstr("at least one row of 16 tokens, got 15"), HasSubstr("--model_max_length")));
  EXPECT_THROW(trainer_on_tokens(run, enough, &little, recorder), InputError);
}

TEST(Trainer, RefusesABudgetThatIsTooSmallBeforeItWritesAnything) {
  const MemoryTokens data = MemoryTokens::walk(64, 96);
  test::TemporaryDirectory folder;
  TrainOptions options = small_run(folder / "out");
  options.memory_budget_bytes = 1 << 20;
  model::Decoder decoder = lora_plus_model("gqa_untied");
  Recorder recorder;
  EXPECT_THROW(train_on_tokens(options, decoder, data, nullptr, recorder), ResourceError);
  EXPECT_FALSE(fs::exists(folder / "out"));
}

}  // namespace
}  // namespace longlora::train
