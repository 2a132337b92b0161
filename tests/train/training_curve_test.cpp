// Runs beside those of transformers, its Trainer and peft: every step, and the weights that they end with.
#include "longlora/train/trainer.h"
#include "tests/train/recorder.h"
#include "tests/train/support.h"

namespace longlora::train {
namespace {

namespace fs = std::filesystem;

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

// Trains, compares every step, then the weights that the reference run ended with.
void expect_follows(const Curve& curve, model::Decoder decoder, const fs::path& final_weights) {
  test::TemporaryDirectory folder;
  const TrainOptions options = curve.options(folder / "out");
  const MemoryTokens data = MemoryTokens::from_file(curve.folder / "train.bin");
  Recorder recorder;
  ASSERT_EQ(train_on_tokens(options, decoder, data, nullptr, recorder), TrainOutcome::kFinished);
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
    EXPECT_CLOSE(parameter.value.dense(), store.load(name), 1e-3);
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

// Eleven rows, three epochs of updates of 4, 4 and 3 rows, whose last batch has one.
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
  train_on_tokens(options, decoder, data, nullptr, recorder);
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

}  // namespace
}  // namespace longlora::train
