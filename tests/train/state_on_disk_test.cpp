// Training with masters and moments on a disk: the same bits, and the memory that the plan says.
#include "longlora/core/file.h"
#include "longlora/forward/mapped_files.h"
#include "longlora/tensors/disk_tensor.h"
#include "longlora/train/trainer.h"
#include "tests/support/counting_allocator.h"
#include "tests/train/support.h"

namespace longlora::train {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::HasSubstr;

// Embedding and head have more elements than are gone through at a time.
model::ModelConfig wide_vocabulary(bool tied = false, int64_t vocabulary = 40000) {
  return model::parse_model_config({{"architectures", {"LlamaForCausalLM"}},
                                    {"vocab_size", vocabulary},
                                    {"hidden_size", 64},
                                    {"intermediate_size", 96},
                                    {"num_hidden_layers", 2},
                                    {"num_attention_heads", 4},
                                    {"max_position_embeddings", 64},
                                    {"tie_word_embeddings", tied}},
                                   "test");
}

struct Kind {
  const char* name;
  bool lora;
  at::ScalarType dtype;
  double weight_decay;
  bool in_8_bits;
  bool tied = false;

  model::Decoder decoder() const {
    model::Decoder decoder = model::random_decoder(wide_vocabulary(tied), dtype, 1);
    if (lora)
      add_lora_plus(decoder);
    else
      model::train_everything(decoder);
    return decoder;
  }
  TrainOptions options(const fs::path& output_dir) const {
    TrainOptions options = small_run(output_dir);
    options.low_rank_training = lora;
    options.fp32 = dtype == at::kFloat;
    options.adamw.weight_decay = weight_decay;
    options.adamw.moments_in_8_bits = in_8_bits;
    options.max_steps = 5;
    return options;
  }
};

class Observer : public TrainObserver {
 public:
  explicit Observer(int64_t stop) : stop_(stop) {}
  void on_step(const StepReport& report) override {
    if (report.step == stop_) Trainer::request_stop();
  }

 private:
  int64_t stop_;
};

// Trains, in two parts where `stop` says so.
void train(const Kind& kind, const fs::path& output_dir, StateOnDisk on_disk, int64_t stop = 0) {
  std::vector<int64_t> ids(16 * 13);
  for (size_t i = 0; i < ids.size(); ++i) ids[i] = static_cast<int64_t>(i * i * 37 % 40000);
  const MemoryTokens data(ids);
  TrainOptions options = kind.options(output_dir);
  for (const int64_t until : {stop, int64_t{0}}) {
    BuiltRun run = run_in_memory(options, kind.decoder());
    run.plan.state_on_disk = on_disk;
    Observer observer(until);
    Trainer trainer = trainer_on_tokens(run, data, nullptr, observer);
    trainer.run();
    // In float32 runs masters are values, of which the embedding's alone is on disk.
    const TrainedParameter* head = trainer.trained().find(run.decoder.head());
    EXPECT_EQ(head != nullptr && tensors::is_on_disk(head->master),
              on_disk == StateOnDisk::kAll && kind.dtype == at::kBFloat16);
    EXPECT_EQ(tensors::is_on_disk(run.decoder.embed_tokens.value.dense()),
              on_disk != StateOnDisk::kNone && !kind.tied);
    options.resume = true;
    if (stop == 0) return;
  }
}

void expect_same_files(const fs::path& expected, const fs::path& actual) {
  int compared = 0;
  for (const char* folder : {"checkpoint-5", ""})
    for (const fs::path& path : list_directory(expected / folder)) {
      if (path.extension() != ".safetensors") continue;
      ++compared;
      EXPECT_TRUE(read_file(path) == read_file(actual / folder / path.filename())) << path;
    }
  EXPECT_GE(compared, 3);
}

TEST(StateOnDisk, GivesTheSameBits) {
  const Kind kinds[] = {{"LoRA+ in bfloat16", true, at::kBFloat16, 0.0, false},
                        {"LoRA+ in float32 with decay", true, at::kFloat, 0.1, false},
                        {"full in bfloat16", false, at::kBFloat16, 0.0, false},
                        {"full in bfloat16 with decay, moments in 8 bits", false, at::kBFloat16, 0.1, true},
                        {"full in float32, moments in 8 bits, tied", false, at::kFloat, 0.1, true, true}};
  for (const Kind& kind : kinds) {
    const test::TemporaryDirectory folder;
    train(kind, folder / "memory", StateOnDisk::kNone);
    for (const StateOnDisk on_disk : {StateOnDisk::kEmbedding, StateOnDisk::kAll}) {
      SCOPED_TRACE(::testing::Message() << kind.name << ", " << state_name(on_disk));
      if (kind.lora && on_disk == StateOnDisk::kAll) continue;
      if (kind.tied && on_disk == StateOnDisk::kEmbedding) continue;
      const fs::path whole = folder / (std::string("whole_") + state_name(on_disk)),
                     parts = folder / (std::string("parts_") + state_name(on_disk));
      train(kind, whole, on_disk);
      expect_same_files(folder / "memory", whole);
      train(kind, parts, on_disk, /*stop=*/3);
      EXPECT_TRUE(read_file(parts / "checkpoint-5/optimizer.safetensors") ==
                  read_file(whole / "checkpoint-5/optimizer.safetensors"));
      for (const fs::path& path : list_directory(whole))
        EXPECT_TRUE(path.filename() == FolderManifest::kName || !path.filename().string().starts_with("."));
    }
  }
}

TEST(StateOnDisk, TakesTheMemoryThatThePlanSays) {
  auto& allocator = test::CountingAllocator::instance();
  for (const at::ScalarType dtype : {at::kBFloat16, at::kFloat})
    for (const bool in_8_bits : {false, true})
      for (const StateOnDisk on_disk : {StateOnDisk::kNone, StateOnDisk::kEmbedding, StateOnDisk::kAll}) {
        SCOPED_TRACE(::testing::Message()
                     << c10::toString(dtype) << ", 8 bits " << in_8_bits << ", " << state_name(on_disk));
        const test::TemporaryDirectory folder;
        allocator.reset();
        const TrainingStateOptions options = {.place = {on_disk, folder.path()}, .update_tokens = 512};
        TrainedModel decoder(model::random_decoder(wide_vocabulary(false, 120000), dtype, 1), options);
        model::train_everything(decoder);
        const AdamW optimizer(decoder, {.moments_in_8_bits = in_8_bits});
        const Engine engine(decoder, std::vector<Keep>(2, Keep::kInput), 64);
        PlanRequest request;
        request.batch_tokens = 64;
        request.update_tokens = options.update_tokens;
        request.moments_in_8_bits = in_8_bits;
        request.disk = true;
        request.recompute = Recompute::kAlways;
        request.program_bytes = 0;
        // Budgets from generous to tight lead to each choice; the one of this turn is looked at.
        MemoryPlan plan;
        request.budget_bytes = int64_t{1} << 30;
        for (plan = make_memory_plan(decoder, request); plan.state_on_disk != on_disk;
             plan = make_memory_plan(decoder, request)) {
          EXPECT_LE(plan.total_bytes(), request.budget_bytes);
          request.budget_bytes = plan.total_bytes() - 1;
        }
        EXPECT_LE(plan.total_bytes(), request.budget_bytes);
        const auto predicted = static_cast<double>(plan.weights_bytes + plan.optimizer_bytes);
        EXPECT_NEAR(static_cast<double>(allocator.held_bytes()), predicted, 0.02 * predicted)
            << plan.describe();
        EXPECT_EQ(plan.state_bytes > 0, on_disk != StateOnDisk::kNone);
      }
}

TEST(StateOnDisk, IsChosenByWhatItMoves) {
  // An embedding and a head of 250 MiB each over two small layers.
  auto config = wide_vocabulary();
  config.hidden_size = 3200;
  config.intermediate_size = 8;
  config.num_attention_heads = config.num_key_value_heads = 32;
  config.head_dim = 100;
  model::Decoder decoder = model::shape_decoder(config, at::kBFloat16);
  model::add_lora(decoder, {}, 1);
  model::train_adapter(decoder, {"embed", "norm"});
  PlanRequest request;
  request.batch_tokens = request.row_tokens = request.update_tokens = 1024;
  request.recompute = Recompute::kAlways;
  request.disk = true;
  request.streamable = forward::streamable_weights(decoder);
  request.program_bytes = 0;
  const auto plan_in = [&](double gib) {
    request.budget_bytes = static_cast<int64_t>(gib * static_cast<double>(1 << 30));
    const MemoryPlan plan = make_memory_plan(decoder, request);
    EXPECT_LE(plan.total_bytes(), request.budget_bytes);
    return plan;
  };
  const MemoryPlan roomy = plan_in(8.0);
  EXPECT_EQ(roomy.state_on_disk, StateOnDisk::kNone);
  EXPECT_EQ(roomy.state_bytes, 0);
  const int64_t elements = 40000 * 3200;
  EXPECT_EQ(roomy.optimizer_bytes % 4, 0);
  EXPECT_GT(roomy.optimizer_bytes, 12 * elements + 4 * 1024 * 3200);
  EXPECT_LT(roomy.optimizer_bytes, 12 * elements + 4 * 1024 * 3200 + (int64_t{8} << 20));
  const MemoryPlan tight = plan_in(1.0);
  EXPECT_EQ(tight.state_on_disk, StateOnDisk::kEmbedding);
  EXPECT_FALSE(tight.weights_streamed);  // twice all of them would be more than some rows
  EXPECT_EQ(tight.state_bytes, 14 * elements);
  EXPECT_EQ(tight.state_moved_bytes, 2 * 14 * 1024 * 3200);
  EXPECT_THAT(tight.describe(), AllOf(HasSubstr("the embedding, its master and moments on disk, 1.67 GiB")));
  // Decay reaches all rows.
  request.weight_decay = true;
  EXPECT_EQ(plan_in(1.0).state_moved_bytes, 2 * 14 * elements);
  request.disk = false;
  EXPECT_THROW(plan_in(1.0), ResourceError);
}

}  // namespace
}  // namespace longlora::train
