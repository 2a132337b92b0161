#include "longlora/train/trainer.h"

#include <cmath>
#include <functional>

#include "longlora/core/error.h"
#include "tests/train/support.h"

namespace longlora::train {
namespace {

namespace fs = std::filesystem;
using test::message_of;
using ::testing::AllOf;
using ::testing::HasSubstr;

/// Collects what a run reports, and may do something after a step.
class Recorder : public TrainObserver {
 public:
  void on_step(const StepReport& report) override {
    steps.push_back(report);
    if (after_step) after_step(report.step);
  }
  void on_eval(const results::TrainEvaluation& report) override { evals.push_back(report); }

  std::vector<StepReport> steps;
  std::vector<results::TrainEvaluation> evals;
  std::function<void(int64_t)> after_step;
};

// --- Ten steps of transformers and peft ---

struct Curve {
  Json settings, steps;
  fs::path folder;

  static Curve open(const fs::path& path) {
    const Json json = read_json(path);
    return {json["settings"], json["steps"], path.parent_path()};
  }
  fs::path base() const { return test::data_path(settings["base"]); }

  TrainOptions options(const fs::path& output_dir) const {
    TrainOptions options;
    options.model_name_or_path = base();
    options.fp32 = true;
    options.model_max_length = settings["tokens"];
    options.attention = settings["attention"] == "s2" ? AttentionKind::kShiftedSparse : AttentionKind::kFull;
    options.group_size = settings.value("group", int64_t{0});
    options.low_rank_training = settings.contains("lora_r");
    options.data_path = {folder / "train.bin"};
    options.shuffle = false;
    options.max_steps = settings["steps"];
    options.per_device_train_batch_size = settings["rows"];
    options.gradient_accumulation_steps = settings["accumulation"];
    options.learning_rate = settings["learning_rate"];
    options.warmup_steps = settings["warmup_steps"];
    options.adamw = {.beta1 = settings["beta1"],
                     .beta2 = settings["beta2"],
                     .epsilon = settings["epsilon"],
                     .weight_decay = settings["weight_decay"]};
    options.max_grad_norm = settings["max_grad_norm"];
    options.output_dir = output_dir;
    return options;
  }
};

/// Trains, compares every step, then the weights that the reference run ended with.
void expect_follows(const Curve& curve, model::Decoder decoder, const fs::path& final_weights) {
  test::TemporaryDirectory folder;
  const TrainOptions options = curve.options(folder / "out");
  const MemoryTokens data = MemoryTokens::from_file(curve.folder / "train.bin");
  Recorder recorder;
  ASSERT_EQ(Trainer(options, decoder, data, nullptr, recorder).run(), TrainOutcome::kFinished);
  ASSERT_EQ(recorder.steps.size(), curve.steps.size());
  for (size_t i = 0; i < recorder.steps.size(); ++i) {
    SCOPED_TRACE(i);
    const StepReport& found = recorder.steps[i];
    const double loss = curve.steps[i]["loss"], norm = curve.steps[i]["grad_norm"];
    EXPECT_NEAR(found.loss, loss, 1e-4 * loss);
    EXPECT_NEAR(found.grad_norm, norm, 1e-3 * norm);
    EXPECT_NEAR(found.learning_rate, curve.steps[i]["learning_rate"].get<double>(), 1e-12);
  }
  const auto store = checkpoint::TensorStore::open_file(final_weights);
  size_t compared = 0;
  model::visit_parameters(decoder, [&](const std::string& name, const model::Parameter& parameter) {
    if (!store.contains(name)) return;
    SCOPED_TRACE(name);
    // Adam turns rounding of a tiny gradient into a visible step: a share of the way that ten steps go.
    EXPECT_CLOSE(parameter.value, store.load(name), 1e-3);
    ++compared;
  });
  EXPECT_EQ(compared, store.tensors().size());
}

TEST(TrainingCurve, OfFullFineTuningFollowsTransformers) {
  for (const char* name : {"plain", "weight_decay"}) {
    SCOPED_TRACE(name);
    const fs::path folder = test::data_path("goldens/training/full");
    const Curve curve = Curve::open(folder / (std::string(name) + ".json"));
    model::Decoder decoder = model::load_decoder(curve.base(), at::kFloat);
    model::train_everything(decoder);
    expect_follows(curve, std::move(decoder), folder / (std::string(name) + ".safetensors"));
  }
}

TEST(TrainingCurve, OfLoraPlusUnderShiftedSparseAttentionFollowsPeft) {
  for (const char* name : {"lora_plus", "lora_plus_tied"}) {
    SCOPED_TRACE(name);
    const fs::path folder = test::data_path("goldens/training") / name;
    const Curve curve = Curve::open(folder / "curve.json");
    model::Decoder decoder = model::load_decoder(curve.base(), at::kFloat);
    decoder.config.rope_scaling =
        model::scaling_for_window(decoder.config, model::RopeType::kLinear, curve.settings["tokens"]);
    EXPECT_EQ(decoder.config.rope_scaling.factor, curve.settings["rope_factor"].get<double>());
    model::load_adapter(decoder, checkpoint::PeftAdapter::open(folder / "initial_adapter"));
    model::train_adapter(decoder, {"embed", "norm"});
    expect_follows(curve, std::move(decoder), folder / "final.safetensors");
  }
}

/// Eleven rows, three epochs of updates of 4, 4 and 3 rows, whose last batch has one.
TEST(TrainingCurve, OfEpochsThatEndInSmallerUpdatesFollowsTransformersTrainer) {
  const Json curve = read_json(test::data_path("goldens/training/uneven/curve.json"));
  const int64_t tokens = curve["tokens"], rows = curve["rows"];
  std::vector<int64_t> ids(static_cast<size_t>(rows * tokens));
  MemoryTokens::from_file(test::data_path(curve["data"])).read(0, ids);
  const MemoryTokens data(ids);
  test::TemporaryDirectory folder;
  TrainOptions options;
  options.model_name_or_path = test::data_path(curve["base"]);
  options.fp32 = true;
  options.model_max_length = tokens;
  options.attention = AttentionKind::kFull;
  options.low_rank_training = false;
  options.data_path = {"memory"};
  options.shuffle = false;
  options.num_train_epochs = 3.0;
  options.per_device_train_batch_size = 2;
  options.gradient_accumulation_steps = 2;
  options.learning_rate = curve["peak"];
  options.warmup_steps = curve["warmup_steps"];
  options.schedule = ScheduleType::kCosine;
  options.adamw = {.beta2 = 0.95, .weight_decay = curve["weight_decay"]};
  options.output_dir = folder / "out";
  model::Decoder decoder = full_model("gqa_untied");
  Recorder recorder;
  Trainer(options, decoder, data, nullptr, recorder).run();
  ASSERT_EQ(recorder.steps.size(), curve["updates"].size());
  for (size_t i = 0; i < recorder.steps.size(); ++i) {
    SCOPED_TRACE(i);
    const StepReport& found = recorder.steps[i];
    const Json& expected = curve["updates"][i];
    const double loss = expected["loss"], norm = expected["grad_norm"];
    EXPECT_NEAR(found.loss, loss, 1e-4 * loss);
    EXPECT_NEAR(found.grad_norm, norm, 1e-3 * norm);
    EXPECT_NEAR(found.learning_rate, expected["learning_rate"].get<double>(), 1e-12);
    EXPECT_NEAR(found.epoch, expected["epoch"].get<double>(), 1e-12);
  }
}

// --- Stopping and resuming ---

/// How the runs to compare are made.
struct RunKind {
  const char* name;
  bool lora;
  at::ScalarType dtype;

  TrainOptions options(const fs::path& output_dir) const {
    TrainOptions options = small_run(output_dir);
    options.low_rank_training = lora;
    options.fp32 = dtype == at::kFloat;
    options.full_attention_steps = 2;
    return options;
  }
  model::Decoder decoder() const {
    return lora ? lora_plus_model("gqa_untied", dtype) : full_model("gqa_untied", dtype);
  }
};

const RunKind kRunKinds[] = {{"LoRA+ in float32", true, at::kFloat},
                             {"LoRA+ in bfloat16", true, at::kBFloat16},
                             {"full in bfloat16", false, at::kBFloat16}};

/// Lines of the log without times.
std::vector<std::string> log_lines(const fs::path& output_dir) {
  std::vector<std::string> lines;
  std::istringstream file(read_file(output_dir / "train_log.jsonl"));
  for (std::string line; std::getline(file, line);) {
    Json json = Json::parse(line);
    for (const char* key : {"seconds", "tokens_per_second", "peak_memory_bytes"}) json.erase(key);
    lines.push_back(json.dump());
  }
  return lines;
}

TEST(Trainer, ResumesToTheSameBits) {
  for (const RunKind& kind : kRunKinds) {
    SCOPED_TRACE(kind.name);
    const MemoryTokens data = MemoryTokens::walk(16 * 9, 96);
    test::TemporaryDirectory folder;
    Recorder whole_recorder;
    model::Decoder whole = kind.decoder();
    ASSERT_EQ(Trainer(kind.options(folder / "whole"), whole, data, nullptr, whole_recorder).run(),
              TrainOutcome::kFinished);

    TrainOptions options = kind.options(folder / "parts");
    std::vector<double> losses;
    // Stopped twice, each time by another process as it were; recomputation makes no difference.
    for (const int64_t stop : {3, 4, 100}) {
      model::Decoder decoder = kind.decoder();
      Recorder recorder;
      recorder.after_step = [&](int64_t step) {
        if (step == stop) Trainer::request_stop();
      };
      const TrainOutcome outcome = Trainer(options, decoder, data, nullptr, recorder).run();
      EXPECT_EQ(outcome, stop == 100 ? TrainOutcome::kFinished : TrainOutcome::kStopped);
      for (const StepReport& report : recorder.steps) losses.push_back(report.loss);
      options.resume = true;
      options.recompute = stop == 3 ? Recompute::kAlways : Recompute::kNever;
    }
    ASSERT_EQ(losses.size(), whole_recorder.steps.size());
    for (size_t i = 0; i < losses.size(); ++i) EXPECT_EQ(losses[i], whole_recorder.steps[i].loss) << i;
    for (const char* file : {"checkpoint-7/optimizer.safetensors",
                             kind.lora ? "adapter_model.safetensors" : "model.safetensors"})
      EXPECT_EQ(read_file(folder / "whole" / file), read_file(folder / "parts" / file)) << file;
    EXPECT_EQ(log_lines(folder / "whole"), log_lines(folder / "parts"));
  }
}

TEST(Trainer, ResumesWithTheTilesAndChunksOfTheRunThatStopped) {
  const RunKind& kind = kRunKinds[1];
  const MemoryTokens data = MemoryTokens::walk(16 * 9, 96);
  test::TemporaryDirectory folder;
  const auto train = [&](const fs::path& output_dir, int64_t tile_rows, int64_t stop, bool resume,
                         int64_t loss_chunk_rows = 64) {
    TrainOptions options = kind.options(output_dir);
    options.resume = resume;
    model::Decoder decoder = kind.decoder();
    MemoryPlan plan = plan_run(options, decoder);
    plan.tile_rows = tile_rows;
    plan.loss_chunk_rows = loss_chunk_rows;
    Recorder recorder;
    recorder.after_step = [&](int64_t step) {
      if (step == stop) Trainer::request_stop();
    };
    Trainer trainer(options, decoder, data, nullptr, recorder, plan);
    trainer.run();
    return std::pair(trainer.plan().tile_rows, trainer.plan().loss_chunk_rows);
  };
  train(folder / "tiled", 8, 100, false);
  train(folder / "whole", 0, 100, false);
  train(folder / "parts", 8, 3, false);
  EXPECT_EQ(train(folder / "parts", 0, 100, true), std::pair(int64_t{8}, int64_t{64}));
  // With no tiles at all the chunks of the loss can differ still.
  train(folder / "chunked", 0, 100, false, 4);
  train(folder / "chunked parts", 0, 3, false, 4);
  EXPECT_EQ(train(folder / "chunked parts", 0, 100, true), std::pair(int64_t{0}, int64_t{4}));
  const auto result = [&](const char* name) {
    return read_file(folder / name / "checkpoint-7/optimizer.safetensors");
  };
  EXPECT_TRUE(result("parts") == result("tiled"));
  EXPECT_TRUE(result("chunked parts") == result("chunked"));
  EXPECT_FALSE(result("whole") == result("tiled"));  // tiles do make a difference that can be seen
}

TEST(Trainer, GoesOnFromTheLastCheckpointOfAKilledRun) {
  const MemoryTokens data = MemoryTokens::walk(16 * 9, 96);
  test::TemporaryDirectory folder;
  const RunKind kind = kRunKinds[0];
  Recorder recorder;
  model::Decoder whole = kind.decoder();
  Trainer(kind.options(folder / "whole"), whole, data, nullptr, recorder).run();

  TrainOptions options = kind.options(folder / "killed");
  options.save_steps = 2;
  model::Decoder killed = kind.decoder();
  Recorder killer;
  killer.after_step = [](int64_t step) {
    if (step == 5) throw std::runtime_error("killed");  // after checkpoint-4
  };
  EXPECT_THROW(Trainer(options, killed, data, nullptr, killer).run(), std::runtime_error);
  options.resume = true;
  model::Decoder resumed = kind.decoder();
  Recorder rest;
  Trainer(options, resumed, data, nullptr, rest).run();
  EXPECT_EQ(rest.steps.front().step, 5);
  for (const char* file : {"adapter_model.safetensors", "trainable_params.safetensors"})
    EXPECT_EQ(read_file(folder / "whole" / file), read_file(folder / "killed" / file)) << file;
  EXPECT_EQ(log_lines(folder / "whole"), log_lines(folder / "killed"));
}

TEST(Trainer, GoesOnInTheMiddleOfAnEpochThatEndsInASmallerUpdate) {
  const MemoryTokens data = MemoryTokens::walk(16 * 11, 96);  // updates of 4, 4 and 3 rows, in all orders
  test::TemporaryDirectory folder;
  for (const bool drops : {false, true}) {
    const auto options_of = [&](const std::string& name) {
      TrainOptions options = kRunKinds[1].options(folder / (name + (drops ? "_dropping" : "")));
      options.max_steps = 0;
      options.num_train_epochs = 2.5;
      options.dataloader_drop_last = drops;
      options.lora.dropout = 0.1;
      options.neftune_noise_alpha = 5.0;
      return options;
    };
    Recorder whole_recorder, killer;
    model::Decoder whole = kRunKinds[1].decoder();
    Trainer(options_of("whole"), whole, data, nullptr, whole_recorder).run();
    ASSERT_EQ(whole_recorder.steps.size(), 8u);
    TrainOptions options = options_of("parts");
    for (const int64_t stop : {2, 3, 4, 7, 100}) {  // inside an epoch, at its end, behind it
      model::Decoder decoder = kRunKinds[1].decoder();
      Recorder recorder;
      recorder.after_step = [&](int64_t step) {
        if (step == stop) Trainer::request_stop();
      };
      Trainer(options, decoder, data, nullptr, recorder).run();
      options.resume = true;
    }
    for (const char* file : {"checkpoint-8/optimizer.safetensors", "adapter_model.safetensors"})
      EXPECT_EQ(read_file(options_of("whole").output_dir / file), read_file(options.output_dir / file))
          << file;
    EXPECT_EQ(log_lines(options_of("whole").output_dir), log_lines(options.output_dir));
  }
}

TEST(Trainer, RefusesACheckpointThatWentThroughTheRowsInAnotherWay) {
  const MemoryTokens data = MemoryTokens::walk(16 * 9, 96);
  test::TemporaryDirectory folder;
  TrainOptions options = small_run(folder / "out");
  options.max_steps = 4;
  model::Decoder decoder = lora_plus_model("gqa_untied");
  Recorder recorder;
  Trainer(options, decoder, data, nullptr, recorder).run();
  const fs::path state = folder / "out/checkpoint-4/trainer_state.json";
  Json json = read_json(state);
  EXPECT_EQ(json["rows_consumed"], 9 + 4);
  json["rows_consumed"] = 16;  // as where updates went on over the end of an epoch
  write_json(state, json);
  options.resume = true;
  EXPECT_THAT(message_of<InputError>([&] { Trainer(options, decoder, data, nullptr, recorder); }),
              AllOf(HasSubstr("expected 13 rows behind step 4, got 16"), HasSubstr("another --output_dir")));
}

TEST(Trainer, IsDoneAtOnceWhenAFinishedRunIsResumed) {
  const MemoryTokens data = MemoryTokens::walk(200, 96);
  test::TemporaryDirectory folder;
  TrainOptions options = small_run(folder / "out");
  model::Decoder decoder = lora_plus_model("gqa_untied");
  Recorder recorder;
  Trainer(options, decoder, data, nullptr, recorder).run();
  const std::string weights = read_file(folder / "out/adapter_model.safetensors");
  options.resume = true;
  model::Decoder again = lora_plus_model("gqa_untied");
  Recorder none;
  EXPECT_EQ(Trainer(options, again, data, nullptr, none).run(), TrainOutcome::kFinished);
  EXPECT_TRUE(none.steps.empty());
  EXPECT_EQ(read_file(folder / "out/adapter_model.safetensors"), weights);
}

TEST(Trainer, RefusesToResumeWithOtherData) {
  const MemoryTokens data = MemoryTokens::walk(16 * 9, 96), more = MemoryTokens::walk(16 * 10, 96);
  test::TemporaryDirectory folder;
  TrainOptions options = small_run(folder / "out");
  options.max_steps = 1;
  model::Decoder decoder = lora_plus_model("gqa_untied");
  Recorder recorder;
  Trainer(options, decoder, data, nullptr, recorder).run();
  options.resume = true;
  EXPECT_THAT(message_of<InputError>([&] { Trainer(options, decoder, more, nullptr, recorder); }),
              AllOf(HasSubstr("[--data_path] expected the 144 tokens"), HasSubstr("got 160")));
  std::vector<int64_t> ids(144, 5);
  const MemoryTokens others(ids);
  EXPECT_THAT(message_of<InputError>([&] { Trainer(options, decoder, others, nullptr, recorder); }),
              HasSubstr("got others of the same size"));
}

// --- The loop itself ---

std::vector<StepReport> run_steps(const TrainOptions& options, const MemoryTokens& data) {
  model::Decoder decoder = lora_plus_model("gqa_untied");
  Recorder recorder;
  Trainer(options, decoder, data, nullptr, recorder).run();
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
  Trainer(options, decoder, data, &data, recorder).run();
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
  model::Decoder decoder = lora_plus_model("gqa_untied");
  Recorder recorder;
  Trainer trainer(options, decoder, data, nullptr, recorder);
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
  model::Decoder decoder = lora_plus_model("gqa_untied");
  Recorder recorder;
  Trainer(options, decoder, data, &held_out, recorder).run();
  ASSERT_EQ(recorder.evals.size(), 3u);
  EXPECT_EQ(recorder.evals[0].step, 3);
  EXPECT_EQ(recorder.evals[1].step, 6);
  EXPECT_EQ(recorder.evals[2].step, 7);  // the last
  at::Tensor ids = at::empty({5, 16}, at::kLong);
  held_out.read(0, {ids.mutable_data_ptr<int64_t>(), 80});
  Engine engine(decoder, std::vector<Keep>(decoder.blocks.size(), Keep::kInput), 16);
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
  model::Decoder decoder = lora_plus_model("gqa_untied");
  Recorder recorder;
  recorder.after_step = [&](int64_t step) {
    if (step == 2) decoder.norm.weight.value.detach().fill_(std::nanf(""));
  };
  Trainer trainer(options, decoder, data, nullptr, recorder);
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
  decoder.blocks[1].down_proj.weight.value.detach()[3][5] = std::nanf("");
  Recorder recorder;
  Trainer trainer(small_run(folder / "out"), decoder, data, nullptr, recorder);
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
  decoder.embed_tokens.value.detach()[95].fill_(std::nanf(""));
  Recorder recorder;
  const MemoryTokens threes(std::vector<int64_t>(64, 3));
  Trainer trainer(options, decoder, threes, &held_out, recorder);
  EXPECT_THAT(message_of<InputError>([&] { trainer.run(); }),
              HasSubstr("expected a finite loss on held-out data"));
}

TEST(Trainer, RefusesDataWithoutAWholeRow) {
  const MemoryTokens little = MemoryTokens::walk(15, 96), enough = MemoryTokens::walk(64, 96);
  test::TemporaryDirectory folder;
  const TrainOptions options = small_run(folder / "out");
  model::Decoder decoder = lora_plus_model("gqa_untied");
  Recorder recorder;
  EXPECT_THAT(message_of<InputError>([&] { Trainer(options, decoder, little, nullptr, recorder); }),
              AllOf(HasSubstr("at least one row of 16 tokens, got 15"), HasSubstr("--model_max_length")));
  EXPECT_THROW(Trainer(options, decoder, enough, &little, recorder), InputError);
}

TEST(Trainer, RefusesABudgetThatIsTooSmallBeforeItWritesAnything) {
  const MemoryTokens data = MemoryTokens::walk(64, 96);
  test::TemporaryDirectory folder;
  TrainOptions options = small_run(folder / "out");
  options.memory_budget_bytes = 1 << 20;
  model::Decoder decoder = lora_plus_model("gqa_untied");
  Recorder recorder;
  EXPECT_THROW(Trainer(options, decoder, data, nullptr, recorder), ResourceError);
  EXPECT_FALSE(fs::exists(folder / "out"));
}

TEST(AdamW, MeasuresTheNormOfAllGradients) {
  model::Decoder decoder = full_model("gqa_untied");
  AdamW optimizer(decoder, {});
  double expected = 0.0;
  uint64_t seed = 1;
  for (AdamW::Slot& slot : optimizer.slots()) {
    slot.parameter->grad.copy_(test::random_tensor(slot.parameter->grad.sizes(), seed++));
    expected += slot.parameter->grad.to(at::kDouble).square().sum().item<double>();
  }
  EXPECT_NEAR(optimizer.grad_norm(), std::sqrt(expected), 1e-6 * std::sqrt(expected));
  optimizer.zero_grad();
  EXPECT_EQ(optimizer.grad_norm(), 0.0);
}

TEST(AdamW, MeasuresLargeGradientsExactly) {
  model::Decoder decoder = full_model("gqa_untied");
  decoder.embed_tokens.grad = at::full({3000, 4000}, 0.1f);  // twelve million equal terms
  AdamW optimizer(decoder, {});
  EXPECT_NEAR(optimizer.grad_norm(), std::sqrt(12e6) * 0.1f, 1e-6 * std::sqrt(12e6));
}

}  // namespace
}  // namespace longlora::train
