// Runs that were stopped or killed and go on.
#include <sstream>

#include "longlora/core/error.h"
#include "longlora/train/trainer.h"
#include "tests/train/recorder.h"
#include "tests/train/support.h"

namespace longlora::train {
namespace {

namespace fs = std::filesystem;
using test::message_of;
using ::testing::AllOf;
using ::testing::HasSubstr;

// How the runs to compare are made.
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

// Lines of the log without times.
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
    ASSERT_EQ(train_on_tokens(kind.options(folder / "whole"), whole, data, nullptr, whole_recorder),
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
      const TrainOutcome outcome = train_on_tokens(options, decoder, data, nullptr, recorder);
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
  const auto train = [&](const fs::path& output_dir, int64_t tile_tokens, int64_t stop, bool resume,
                         int64_t loss_chunk_rows = 64) {
    TrainOptions options = kind.options(output_dir);
    options.resume = resume;
    BuiltRun run = run_in_memory(options, kind.decoder());
    run.plan.tile_tokens = tile_tokens;
    run.plan.loss_chunk_rows = loss_chunk_rows;
    Recorder recorder;
    recorder.after_step = [&](int64_t step) {
      if (step == stop) Trainer::request_stop();
    };
    Trainer trainer = trainer_on_tokens(run, data, nullptr, recorder);
    trainer.run();
    return std::pair(trainer.plan().tile_tokens, trainer.plan().loss_chunk_rows);
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

TEST(Trainer, SaysHowToGoOnWhereTheNewestCheckpointIsDamaged) {
  const MemoryTokens data = MemoryTokens::walk(16 * 9, 96);
  const RunKind& kind = kRunKinds[0];
  test::TemporaryDirectory folder;
  TrainOptions options = kind.options(folder / "run");
  options.save_steps = 3;
  const auto train = [&] {
    model::Decoder decoder = kind.decoder();
    Recorder recorder;
    train_on_tokens(options, decoder, data, nullptr, recorder);
  };
  train();
  options.resume = true;
  const fs::path newest = folder / "run/checkpoint-7";
  const std::string whole = read_file(newest / "optimizer.safetensors");
  for (const auto& [file, content] : {std::pair("optimizer.safetensors", whole.substr(0, whole.size() / 2)),
                                      std::pair("trainer_state.json", std::string("{\"step\": 7")),
                                      std::pair("trainer_state.json", std::string("{\"step\": 7}"))}) {
    SCOPED_TRACE(content.substr(0, 20));
    const std::string before = read_file(newest / file);
    std::ofstream(newest / file) << content;
    EXPECT_THAT(message_of<InputError>(train),
                HasSubstr("; remove checkpoint-7 to resume from checkpoint-6"));
    std::ofstream(newest / file) << before;
  }
  std::ofstream(newest / "optimizer.safetensors") << "damaged";
  fs::remove_all(folder / "run/checkpoint-3");
  fs::rename(folder / "run/checkpoint-6", folder / "aside");
  EXPECT_THAT(message_of<InputError>(train), HasSubstr("there is no earlier checkpoint"));
  fs::rename(folder / "aside", folder / "run/checkpoint-6");
  fs::remove_all(newest);
  train();
  EXPECT_TRUE(read_file(newest / "optimizer.safetensors") == whole);
}

TEST(Trainer, GoesOnFromTheLastCheckpointOfAKilledRun) {
  const MemoryTokens data = MemoryTokens::walk(16 * 9, 96);
  test::TemporaryDirectory folder;
  const RunKind kind = kRunKinds[0];
  Recorder recorder;
  model::Decoder whole = kind.decoder();
  train_on_tokens(kind.options(folder / "whole"), whole, data, nullptr, recorder);

  TrainOptions options = kind.options(folder / "killed");
  options.save_steps = 2;
  model::Decoder killed = kind.decoder();
  Recorder killer;
  killer.after_step = [](int64_t step) {
    if (step == 5) throw std::runtime_error("killed");  // after checkpoint-4
  };
  EXPECT_THROW(train_on_tokens(options, killed, data, nullptr, killer), std::runtime_error);
  options.resume = true;
  model::Decoder resumed = kind.decoder();
  Recorder rest;
  train_on_tokens(options, resumed, data, nullptr, rest);
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
    train_on_tokens(options_of("whole"), whole, data, nullptr, whole_recorder);
    ASSERT_EQ(whole_recorder.steps.size(), 8u);
    TrainOptions options = options_of("parts");
    for (const int64_t stop : {2, 3, 4, 7, 100}) {  // inside an epoch, at its end, behind it
      model::Decoder decoder = kRunKinds[1].decoder();
      Recorder recorder;
      recorder.after_step = [&](int64_t step) {
        if (step == stop) Trainer::request_stop();
      };
      train_on_tokens(options, decoder, data, nullptr, recorder);
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
  train_on_tokens(options, decoder, data, nullptr, recorder);
  const fs::path state = folder / "out/checkpoint-4/trainer_state.json";
  Json json = read_json(state);
  EXPECT_EQ(json["rows_consumed"], 9 + 4);
  json["rows_consumed"] = 16;  // as where updates went on over the end of an epoch
  write_json(state, json);
  options.resume = true;
  EXPECT_THAT(message_of<InputError>([&] { train_on_tokens(options, decoder, data, nullptr, recorder); }),
              AllOf(HasSubstr("expected 13 rows behind step 4, got 16"), HasSubstr("another --output_dir")));
}

TEST(Trainer, IsDoneAtOnceWhenAFinishedRunIsResumed) {
  const MemoryTokens data = MemoryTokens::walk(200, 96);
  test::TemporaryDirectory folder;
  TrainOptions options = small_run(folder / "out");
  model::Decoder decoder = lora_plus_model("gqa_untied");
  Recorder recorder;
  train_on_tokens(options, decoder, data, nullptr, recorder);
  const std::string weights = read_file(folder / "out/adapter_model.safetensors");
  options.resume = true;
  model::Decoder again = lora_plus_model("gqa_untied");
  Recorder none;
  EXPECT_EQ(train_on_tokens(options, again, data, nullptr, none), TrainOutcome::kFinished);
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
  train_on_tokens(options, decoder, data, nullptr, recorder);
  options.resume = true;
  EXPECT_THAT(message_of<InputError>([&] { train_on_tokens(options, decoder, more, nullptr, recorder); }),
              AllOf(HasSubstr("[--data_path] expected the 144 tokens"), HasSubstr("got 160")));
  std::vector<int64_t> ids(144, 5);
  const MemoryTokens others(ids);
  EXPECT_THAT(message_of<InputError>([&] { train_on_tokens(options, decoder, others, nullptr, recorder); }),
              HasSubstr("got others of the same size"));
}

}  // namespace
}  // namespace longlora::train
