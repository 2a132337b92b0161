#include "longlora/train/run_directory.h"

#include <fstream>

#include "longlora/core/error.h"
#include "tests/train/support.h"

namespace longlora::train {
namespace {

namespace fs = std::filesystem;
using test::message_of;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr const char* kMarker = FolderManifest::kName;

std::vector<std::string> names_in(const fs::path& folder) {
  std::vector<std::string> names;
  for (const fs::path& path : list_directory(folder)) names.push_back(path.filename().string());
  return names;
}

// Gives a parameter a random gradient, an embedding in all of its rows.
void give_gradient(TrainedParameter& trained, uint64_t seed) {
  trained.grad.copy_(test::random_tensor(trained.grad.sizes(), seed));
  if (trained.grad_rows) trained.grad_rows->add(at::arange(trained.grad.size(0)));
}

// A model that took a few steps with gradients that are not zero.
struct Trained {
  TrainedModel decoder;
  AdamW optimizer;

  explicit Trained(model::Decoder made, int steps = 3, uint64_t seed = 1)
      : decoder(std::move(made)), optimizer(decoder, {}) {
    for (int step = 0; step < steps; ++step) {
      for (AdamW::Slot& slot : optimizer.slots()) give_gradient(*slot.trained, seed++);
      optimizer.step(1e-2, 1.0);
    }
  }
};

void expect_same_state(Trained& a, Trained& b) {
  ASSERT_EQ(a.optimizer.slots().size(), b.optimizer.slots().size());
  for (size_t i = 0; i < a.optimizer.slots().size(); ++i) {
    const AdamW::Slot &left = a.optimizer.slots()[i], &right = b.optimizer.slots()[i];
    EXPECT_EQ(left.trained->name, right.trained->name);
    EXPECT_TRUE(at::equal(left.trained->master, right.trained->master)) << left.trained->name;
    EXPECT_TRUE(at::equal(left.trained->parameter->value.dense(), right.trained->parameter->value.dense()))
        << left.trained->name;
    EXPECT_TRUE(at::equal(left.exp_avg, right.exp_avg)) << left.trained->name;
    EXPECT_TRUE(at::equal(left.exp_avg_sq, right.exp_avg_sq)) << left.trained->name;
  }
  EXPECT_EQ(a.optimizer.num_steps(), b.optimizer.num_steps());
}

TrainOptions full_run(const fs::path& output_dir) {
  TrainOptions options = small_run(output_dir);
  options.low_rank_training = false;
  return options;
}

TEST(RunDirectory, RestoresWhatItSavedToTheBit) {
  for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16})
    for (const bool lora : {false, true}) {
      SCOPED_TRACE(::testing::Message() << c10::toString(dtype) << (lora ? " LoRA+" : " full"));
      test::TemporaryDirectory folder;
      TrainOptions options = lora ? small_run(folder / "out") : full_run(folder / "out");
      const auto fresh = [&] {
        return lora ? lora_plus_model("mha_tied", dtype) : full_model("mha_tied", dtype);
      };
      Trained trained(fresh());
      RunDirectory(options).save({.step = 3, .rows_consumed = 12, .tokens = 192, .seconds = 1.5},
                                 trained.optimizer, trained.decoder);
      options.resume = true;
      Trained other(fresh(), 1, 77);
      const auto state = RunDirectory(options).restore(other.optimizer, {.max_steps = 7});
      ASSERT_TRUE(state.has_value());
      EXPECT_EQ(state->step, 3);
      EXPECT_EQ(state->rows_consumed, 12);
      EXPECT_EQ(state->tokens, 192);
      EXPECT_EQ(state->seconds, 1.5);
      expect_same_state(trained, other);
    }
}

TEST(RunDirectory, HasNothingToRestoreAtFirst) {
  test::TemporaryDirectory folder;
  TrainOptions options = small_run(folder / "a/new/place");
  options.resume = true;
  RunDirectory directory(options);
  Trained trained(lora_plus_model("gqa_untied"), 0);
  EXPECT_FALSE(directory.restore(trained.optimizer, {.max_steps = 7}).has_value());
  EXPECT_FALSE(directory.newest_checkpoint().has_value());
}

TEST(RunDirectory, WritesAnAdapterThatLoads) {
  test::TemporaryDirectory folder;
  Trained trained(lora_plus_model("gqa_untied"));
  trained.decoder.config.rope_scaling =
      model::scaling_for_window(trained.decoder.config, model::RopeType::kLinear, 256);
  RunDirectory directory(small_run(folder / "out"));
  directory.save({.step = 5}, trained.optimizer, trained.decoder);
  const fs::path checkpoint = folder / "out" / "checkpoint-5";
  EXPECT_THAT(names_in(checkpoint),
              ElementsAre(kMarker, "adapter_config.json", "adapter_model.safetensors", "config.json",
                          "optimizer.safetensors", "trainable_params.safetensors", "trainer_state.json"));
  const model::Decoder again = model::load_with_adapter(tiny_model("gqa_untied"), checkpoint, at::kFloat);
  EXPECT_EQ(again.config.rope_scaling.factor, 4.0);
  EXPECT_TRUE(
      at::equal(again.embed_tokens.value.dense(), trained.decoder.of(trained.decoder.embed_tokens).master));
  EXPECT_TRUE(at::equal(again.blocks[2].o_proj.lora->b.value.dense(),
                        trained.decoder.of(trained.decoder.blocks[2].o_proj.lora->b).master));
}

TEST(RunDirectory, WritesAWholeModelAfterFullTraining) {
  test::TemporaryDirectory folder;
  fs::create_directories(folder / "base");
  for (const char* file : {"tokenizer.model", "tokenizer_config.json"})
    fs::copy_file(test::data_path("stories260K_hf") / file, folder / "base" / file);
  TrainOptions options = full_run(folder / "out");
  options.tokenizer_path = folder / "base";
  Trained trained(full_model("gqa_untied"));
  RunDirectory directory(options);
  directory.finish({.step = 3}, trained.decoder);
  EXPECT_THAT(names_in(folder / "out"), ElementsAre(kMarker, "config.json", "model.safetensors",
                                                    "tokenizer.model", "tokenizer_config.json"));
  const model::Decoder again = model::load_decoder(folder / "out", at::kFloat);
  EXPECT_TRUE(
      at::equal(again.norm.weight.value.dense(), trained.decoder.of(trained.decoder.norm.weight).master));
}

TEST(RunDirectory, RefusesToResumeWithOtherOptionsAndNamesThem) {
  test::TemporaryDirectory folder;
  TrainOptions options = small_run(folder / "out");
  Trained trained(lora_plus_model("gqa_untied"));
  RunDirectory(options).save({.step = 1}, trained.optimizer, trained.decoder);
  options.resume = true;
  options.learning_rate = 5e-4;
  options.seed = 7;
  RunDirectory directory(options);
  const std::string message =
      message_of<InputError>([&] { directory.restore(trained.optimizer, {.max_steps = 7}); });
  EXPECT_THAT(message, AllOf(HasSubstr("checkpoint-1"), HasSubstr("learning_rate (was 0.001, now 0.0005)"),
                             HasSubstr("seed (was 42, now 7)")));
  EXPECT_EQ(message.find("lora_r"), std::string::npos);
}

TEST(RunDirectory, ResumesWhatAnOlderVersionRecordedLessOf) {
  test::TemporaryDirectory folder;
  TrainOptions options = small_run(folder / "out");
  Trained trained(lora_plus_model("gqa_untied"), 1);
  RunDirectory directory(options);
  directory.save({.step = 1}, trained.optimizer, trained.decoder);
  Json state = read_json(folder / "out/checkpoint-1/trainer_state.json");
  for (const char* key : {"data_tokens", "threads"}) state.erase(key);
  state["options"].erase("text_field");
  write_json(folder / "out/checkpoint-1/trainer_state.json", state);
  options.text_field = "story";
  options.resume = true;
  EXPECT_EQ(RunDirectory(options).restore(trained.optimizer, {.max_steps = 7})->step, 1);
}

TEST(RunDirectory, KeepsTheEarlierRunUntilTheOneThatReplacesItIsFinished) {
  test::TemporaryDirectory folder;
  TrainOptions options = full_run(folder / "out");
  Trained whole(full_model("gqa_untied"), 1);
  {
    RunDirectory first(options);
    first.log().add(results::TrainEvaluation{.step = 1});
    first.save({.step = 7}, whole.optimizer, whole.decoder);
    first.finish({.step = 7}, whole.decoder);
  }
  std::ofstream(folder / "out/notes.txt") << "mine";
  const std::string weights = read_file(folder / "out/model.safetensors");
  options = small_run(folder / "out");
  options.overwrite_output_dir = true;
  Trained trained(lora_plus_model("gqa_untied"), 1);
  RunDirectory directory(options);
  EXPECT_THAT(names_in(folder / "out"), ElementsAre(kMarker, "notes.txt", "replaced-run-1"));
  EXPECT_THAT(names_in(folder / "out/replaced-run-1"),
              ElementsAre(kMarker, "checkpoint-7", "config.json", "model.safetensors", "train_log.jsonl"));
  EXPECT_EQ(read_file(folder / "out/replaced-run-1/model.safetensors"), weights);
  directory.finish({.step = 7}, trained.decoder);
  EXPECT_THAT(names_in(folder / "out"),
              ElementsAre(kMarker, "adapter_config.json", "adapter_model.safetensors", "config.json",
                          "notes.txt", "trainable_params.safetensors"));
}

TEST(RunDirectory, LeavesAReplacedRunThatSomebodyPutFilesInto) {
  test::TemporaryDirectory folder;
  TrainOptions options = small_run(folder / "out");
  Trained trained(lora_plus_model("gqa_untied"), 1);
  RunDirectory(options).save({.step = 7}, trained.optimizer, trained.decoder);
  options.overwrite_output_dir = true;
  RunDirectory directory(options);
  std::ofstream(folder / "out/replaced-run-1/checkpoint-7/eval.json") << "mine";
  directory.finish({.step = 7}, trained.decoder);
  EXPECT_THAT(files_below(folder / "out/replaced-run-1"), ElementsAre("checkpoint-7/eval.json"));
}

TEST(RunDirectory, DoesNotReplaceAResultThatSomebodyChanged) {
  test::TemporaryDirectory folder;
  TrainOptions options = small_run(folder / "out");
  Trained trained(lora_plus_model("gqa_untied"), 1);
  RunDirectory(options).finish({.step = 7}, trained.decoder);
  std::ofstream(folder / "out/config.json", std::ios::app) << "\n";
  options.overwrite_output_dir = true;
  EXPECT_THAT(message_of<UsageError>([&] { RunDirectory{options}; }),
              HasSubstr("another content in config.json"));
}

TEST(RunDirectory, RefusesADirectoryWithCheckpointsUnlessTold) {
  test::TemporaryDirectory folder;
  TrainOptions options = small_run(folder / "out");
  Trained trained(lora_plus_model("gqa_untied"));
  RunDirectory(options).save({.step = 4}, trained.optimizer, trained.decoder);
  EXPECT_THAT(
      message_of<UsageError>([&] { RunDirectory{options}; }),
      AllOf(HasSubstr("checkpoint-4"), HasSubstr("--resume"), HasSubstr("--overwrite_output_dir True")));
  options.overwrite_output_dir = true;
  EXPECT_FALSE(RunDirectory(options).newest_checkpoint().has_value());
}

TEST(RunDirectory, RefusesADirectoryWithAFinishedResultWhetherOrNotCheckpointsAreThere) {
  test::TemporaryDirectory folder;
  TrainOptions options = small_run(folder / "out");
  Trained trained(lora_plus_model("gqa_untied"), 1);
  RunDirectory(options).finish({.step = 7}, trained.decoder);
  EXPECT_THAT(message_of<UsageError>([&] { RunDirectory{options}; }),
              AllOf(HasSubstr("the finished result of fine-tune"), HasSubstr("--overwrite_output_dir True")));
}

TEST(RunDirectory, RefusesADirectoryThatHoldsOtherFilesAndNamesThem) {
  for (const bool overwrite : {false, true})
    for (const bool resume : {false, true}) {
      test::TemporaryDirectory folder;
      TrainOptions options = small_run(folder / "out");
      options.overwrite_output_dir = overwrite;
      options.resume = resume;
      fs::create_directories(folder / "out/data");
      std::ofstream(folder / "out/model.safetensors") << "mine";
      EXPECT_THAT(message_of<UsageError>([&] { RunDirectory{options}; }),
                  HasSubstr("holds data, model.safetensors, which is not listed as written by longlora"));
      fs::create_directories(folder / "out/checkpoint-7");
      EXPECT_THAT(message_of<UsageError>([&] { RunDirectory{options}; }), HasSubstr("checkpoint-7"));
      EXPECT_THAT(names_in(folder / "out"), ElementsAre("checkpoint-7", "data", "model.safetensors"));
    }
}

TEST(RunDirectory, BeginsAgainWhereARunLeftNothingButItsLog) {
  test::TemporaryDirectory folder;
  const TrainOptions options = small_run(folder / "out");
  RunDirectory(options).log().add(results::TrainEvaluation{.step = 1});
  std::ofstream(folder / "out/notes.txt") << "mine";
  EXPECT_NO_THROW(RunDirectory{options});
  EXPECT_THAT(names_in(folder / "out"), ElementsAre(kMarker, "notes.txt", "train_log.jsonl"));
}

TEST(RunDirectory, SaysThatARunIsFinishedWhoseCheckpointsAreGone) {
  test::TemporaryDirectory folder;
  TrainOptions options = small_run(folder / "out");
  Trained trained(lora_plus_model("gqa_untied"), 1);
  const RunState ended = {.step = 7, .tokens = 99, .data_tokens = 5, .data_fingerprint = "a", .max_steps = 7};
  RunDirectory(options).finish(ended, trained.decoder);
  options.resume = true;
  const auto state = RunDirectory(options).restore(trained.optimizer, ended);
  ASSERT_TRUE(state.has_value());
  EXPECT_EQ(state->tokens, 99);
  EXPECT_TRUE(RunDirectory(options).is_finished(*state));
  RunState more = ended, other = ended;
  more.max_steps = 9;
  other.data_fingerprint = "b";
  EXPECT_THAT(message_of<InputError>([&] { RunDirectory(options).restore(trained.optimizer, other); }),
              HasSubstr("got others of the same size"));
  EXPECT_THAT(message_of<InputError>([&] { RunDirectory(options).restore(trained.optimizer, more); }),
              AllOf(HasSubstr("checkpoints were removed"), HasSubstr("--peft_model")));
  options.seed = 5;
  EXPECT_THAT(message_of<InputError>([&] { RunDirectory(options).restore(trained.optimizer, ended); }),
              HasSubstr("seed (was 42, now 5)"));
  fs::remove(folder / "out/adapter_model.safetensors");
  EXPECT_THAT(message_of<InputError>([&] { RunDirectory(options).restore(trained.optimizer, ended); }),
              HasSubstr("expected a checkpoint to resume from"));
}

TEST(RunDirectory, ComparesWhatTheRunReadsByContentAndNotByName) {
  test::TemporaryDirectory folder;
  fs::copy(tiny_model("gqa_untied"), folder / "base", fs::copy_options::recursive);
  TrainOptions options = small_run(folder / "out");
  options.model_name_or_path = folder / "base";
  options.data_path = {"here"};
  Trained trained(lora_plus_model("gqa_untied"), 1);
  RunDirectory(options).save({.step = 1, .max_steps = 7}, trained.optimizer, trained.decoder);
  options.resume = true;
  fs::rename(folder / "base", folder / "moved");
  options.model_name_or_path = folder / "moved/../moved";
  options.data_path = {"there"};
  EXPECT_EQ(RunDirectory(options).restore(trained.optimizer, {.max_steps = 7})->step, 1);
  Json config = read_json(folder / "moved/config.json");
  config["rms_norm_eps"] = 0.5;
  write_json(folder / "moved/config.json", config);
  EXPECT_THAT(
      message_of<InputError>([&] { RunDirectory(options).restore(trained.optimizer, {.max_steps = 7}); }),
      HasSubstr("changed: the content of --model_name_or_path"));
}

TEST(RunDirectory, GoesOnToMoreStepsWhereTheRateDoesNotDependOnTheirNumber) {
  test::TemporaryDirectory folder;
  TrainOptions options = small_run(folder / "out");
  Trained trained(lora_plus_model("gqa_untied"), 1);
  RunDirectory(options).save({.step = 5, .max_steps = 7}, trained.optimizer, trained.decoder);
  options.resume = true;
  options.max_steps = 20;
  EXPECT_EQ(RunDirectory(options).restore(trained.optimizer, {.max_steps = 20})->step, 5);
  EXPECT_THAT(
      message_of<InputError>([&] { RunDirectory(options).restore(trained.optimizer, {.max_steps = 4}); }),
      HasSubstr("at least the 5 steps that are done"));
  options.full_attention_steps = 0;
  test::TemporaryDirectory other;
  options.output_dir = other / "out";
  options.schedule = ScheduleType::kCosine;
  RunDirectory(options).save({.step = 5, .max_steps = 7}, trained.optimizer, trained.decoder);
  EXPECT_THAT(
      message_of<InputError>([&] { RunDirectory(options).restore(trained.optimizer, {.max_steps = 20}); }),
      AllOf(HasSubstr("expected the 7 steps"), HasSubstr("got 20"), HasSubstr("--peft_model")));
}

TEST(RunDirectory, ResumesARunOfAVersionThatLeftNoMarkers) {
  test::TemporaryDirectory folder;
  TrainOptions options = small_run(folder / "out");
  Trained trained(lora_plus_model("gqa_untied"), 1);
  RunDirectory(options).save({.step = 2}, trained.optimizer, trained.decoder);
  for (const char* marker : {"out/.longlora.json", "out/checkpoint-2/.longlora.json"})
    fs::remove(folder / marker);
  EXPECT_THAT(message_of<UsageError>([&] { RunDirectory{options}; }), HasSubstr("add --resume"));
  options.overwrite_output_dir = true;
  EXPECT_THAT(message_of<UsageError>([&] { RunDirectory{options}; }),
              HasSubstr("remove the folder yourself"));
  options.resume = true;
  EXPECT_EQ(RunDirectory(options).restore(trained.optimizer, {.max_steps = 7})->step, 2);
}

TEST(RunDirectory, RefusesToBeAnInput) {
  test::TemporaryDirectory folder;
  fs::copy(tiny_model("gqa_untied"), folder / "base", fs::copy_options::recursive);
  TrainOptions options = small_run(folder / "base");
  options.model_name_or_path = folder / "base";
  options.overwrite_output_dir = true;
  EXPECT_THAT(message_of<UsageError>([&] { RunDirectory{options}; }), HasSubstr("is --model_name_or_path"));
  options.output_dir = folder.path();
  EXPECT_THAT(message_of<UsageError>([&] { RunDirectory{options}; }),
              HasSubstr("holds --model_name_or_path"));
  EXPECT_TRUE(fs::exists(folder / "base/model.safetensors"));
}

TEST(RunDirectory, RefusesAPlaceThatCannotBeWritten) {
  test::TemporaryDirectory folder;
  std::ofstream(folder / "file") << "x";
  EXPECT_THAT(message_of<ResourceError>([&] { RunDirectory(small_run(folder / "file/out")); }),
              HasSubstr("file"));
}

TEST(RunDirectory, KeepsTheNewestCheckpointsAlone) {
  test::TemporaryDirectory folder;
  TrainOptions options = small_run(folder / "out");
  options.save_total_limit = 2;
  Trained trained(lora_plus_model("gqa_untied"), 1);
  RunDirectory directory(options);
  for (const int64_t step : {2, 9, 10, 100})
    directory.save({.step = step}, trained.optimizer, trained.decoder);
  EXPECT_THAT(names_in(folder / "out"), ElementsAre(kMarker, "checkpoint-10", "checkpoint-100"));
  EXPECT_EQ(directory.newest_checkpoint(), 100);
  // One that somebody put files into stays.
  std::ofstream(folder / "out/checkpoint-10/eval.json") << "mine";
  directory.save({.step = 101}, trained.optimizer, trained.decoder);
  EXPECT_THAT(names_in(folder / "out"),
              ElementsAre(kMarker, "checkpoint-10", "checkpoint-100", "checkpoint-101"));
}

TEST(RunDirectory, ReplacesACheckpointOfTheSameStep) {
  test::TemporaryDirectory folder;
  const TrainOptions options = small_run(folder / "out");
  Trained trained(lora_plus_model("gqa_untied"), 1);
  RunDirectory directory(options);
  directory.save({.step = 2, .tokens = 1}, trained.optimizer, trained.decoder);
  directory.save({.step = 2, .tokens = 5}, trained.optimizer, trained.decoder);
  EXPECT_THAT(names_in(folder / "out"), ElementsAre(kMarker, "checkpoint-2"));
  EXPECT_EQ(directory.restore(trained.optimizer, {.max_steps = 7})->tokens, 5);
}

TEST(RunDirectory, ClearsWhatAKilledRunLeft) {
  test::TemporaryDirectory folder;
  TrainOptions options = small_run(folder / "out");
  Trained trained(lora_plus_model("gqa_untied"), 1);
  RunDirectory(options).save({.step = 2}, trained.optimizer, trained.decoder);
  // Killed while it wrote checkpoint-3, while it replaced 5, and while it removed 1.
  fs::create_directories(folder / "out/.checkpoint-3.staging-99999-0");
  std::ofstream(folder / "out/.checkpoint-3.staging-99999-0/config.json") << "{";
  fs::rename(folder / "out/checkpoint-2", folder / "out/.checkpoint-5.replaced-99999-0");
  fs::create_directories(folder / "out/.checkpoint-1.removed-99999-0");
  options.resume = true;
  RunDirectory directory(options);
  EXPECT_THAT(names_in(folder / "out"), ElementsAre(kMarker, "checkpoint-5"));
}

TEST(RunDirectory, RefusesADamagedCheckpoint) {
  const auto refusal = [](const std::string& file, const std::string& bytes) {
    test::TemporaryDirectory folder;
    TrainOptions options = small_run(folder / "out");
    Trained trained(lora_plus_model("gqa_untied"), 1);
    RunDirectory directory(options);
    directory.save({.step = 2}, trained.optimizer, trained.decoder);
    std::ofstream(folder / "out/checkpoint-2" / file, std::ios::trunc) << bytes;
    return message_of<InputError>([&] { directory.restore(trained.optimizer, {.max_steps = 7}); });
  };
  EXPECT_THAT(refusal("trainer_state.json", "{"), HasSubstr("trainer_state.json"));
  EXPECT_THAT(refusal("trainer_state.json", "{}"), HasSubstr("trainer_state.json"));
  EXPECT_THAT(refusal("trainer_state.json", "[1]"), HasSubstr("trainer_state.json"));
  EXPECT_THAT(refusal("optimizer.safetensors", "short"), HasSubstr("optimizer.safetensors"));
}

}  // namespace
}  // namespace longlora::train
