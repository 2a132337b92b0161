// What the memory plan says that a step holds, and what it holds.
#include "longlora/train/memory_prediction.h"

#include "longlora/forward/measured_layer.h"
#include "tests/model/block_forms.h"
#include "tests/support/counting_allocator.h"
#include "tests/support/data_path.h"
#include "tests/train/support.h"

namespace longlora::train {
namespace {

using model::kBlockForms;

// How a model is trained.
enum class Kind { kAttentionPairs, kAllPairs, kDora, kDropout, kDoraDropout, kNf4, kEverything };

constexpr Kind kKinds[] = {Kind::kAttentionPairs, Kind::kAllPairs, Kind::kDora,      Kind::kDropout,
                           Kind::kDoraDropout,    Kind::kNf4,      Kind::kEverything};
constexpr const char* kKindNames[] = {"pairs of attention", "all pairs", "DoRA",      "dropout",
                                      "DoRA, dropout",      "NF4",       "everything"};
constexpr Keep kKeeps[] = {Keep::kInput, Keep::kAttention, Keep::kEverything};

bool has_dropout(Kind kind) {
  return kind == Kind::kDropout || kind == Kind::kDoraDropout;
}

model::Decoder model_of(const model::FormOfBlock& form, Kind kind, at::ScalarType dtype) {
  model::Decoder decoder = model::random_decoder(model::small_config(form, 3), dtype, 1);
  if (kind == Kind::kEverything) {
    model::train_everything(decoder);
    return decoder;
  }
  if (kind == Kind::kNf4) model::quantize_layers(decoder);
  checkpoint::LoraConfig lora;
  lora.use_dora = kind == Kind::kDora || kind == Kind::kDoraDropout;
  lora.target_modules = kind == Kind::kAttentionPairs ? form.attention_modules : model::linear_names(decoder);
  model::add_lora(decoder, lora, 1);
  model::train_adapter(decoder, {"embed", "norm"});
  return decoder;
}

struct Step {
  int64_t tokens, tile_tokens;
  Keep keep;
};

// How much of the predicted bytes the tensors of a step hold beyond weights and optimizer.
double held_share(TrainedModel& decoder, bool dropout, const Step& step) {
  auto& allocator = test::CountingAllocator::instance();
  PlanRequest request;
  request.batch_tokens = step.tokens;
  request.longest_segment_tokens = 512;
  request.dropout = dropout;
  const std::vector<Keep> keep(decoder.blocks.size(), step.keep);
  const MemoryPlan plan = predict_memory(decoder, request, keep, step.tile_tokens);
  decoder.trained();  // masters and gradients are none of a step's
  allocator.reset();
  Batch batch = make_next_token_batch(test::random_ids({1, step.tokens}, decoder.config.vocab_size, 8), 512);
  if (dropout) batch.dropout = {.probability = 0.1, .seed = 1};
  Engine engine(decoder, keep, step.tokens, {plan.tile_tokens, plan.loss_chunk_rows, {}});
  engine.forward_backward(batch, 1.0 / static_cast<double>(step.tokens));
  const int64_t predicted = plan.inputs_bytes + plan.kept_bytes + plan.workspace_bytes;
  return static_cast<double>(allocator.peak_bytes()) / static_cast<double>(predicted);
}

// Of the six ways to keep results and to make tiles every other one is run, the others for the next kind.
void expect_predicted(const model::FormOfBlock& form, Kind kind, at::ScalarType dtype) {
  TrainedModel decoder = model_of(form, kind, dtype);
  bool in_tiles = static_cast<int>(kind) % 2 == 0;
  for (const Keep keep : kKeeps) {
    const int64_t tile_tokens = in_tiles ? 512 : 0;
    in_tiles = !in_tiles;
    EXPECT_NEAR(held_share(decoder, has_dropout(kind), {2048, tile_tokens, keep}), 1.0, 0.03)
        << form.architecture << ", " << form.activation << ", " << kKindNames[static_cast<size_t>(kind)]
        << ", " << c10::toString(dtype) << ", keep " << static_cast<int>(keep) << ", tiles of "
        << tile_tokens;
  }
}

TEST(MemoryPrediction, IsWhatAStepOfAnyBlockFormHolds) {
  test::CountingAllocator::instance();
  for (const model::FormOfBlock& form : kBlockForms)
    for (const Kind kind : kKinds) expect_predicted(form, kind, at::kBFloat16);
}

TEST(MemoryPrediction, IsWhatAStepInFloat32Holds) {
  test::CountingAllocator::instance();
  for (const model::FormOfBlock& form : kBlockForms)
    for (const Kind kind : {Kind::kAllPairs, Kind::kNf4, Kind::kEverything})
      expect_predicted(form, kind, at::kFloat);
}

// The kernels do not take such heads, and libtorch's operators in their place do not all run without values.
TEST(MemoryPrediction, IsMadeForHeadsOfAnOddWidth) {
  model::Decoder loaded = model::load_decoder(test::data_path("goldens/families/neox_odd_heads"), at::kFloat);
  ASSERT_EQ(loaded.config.head_dim % 2, 1);
  model::train_everything(loaded);
  TrainedModel decoder = std::move(loaded);
  for (const Keep keep : kKeeps) EXPECT_GT(held_share(decoder, false, {64, 0, keep}), 0.0);
}

TEST(MemoryPrediction, IsCarriedOnWhereTilesAreVeryMany) {
  test::CountingAllocator::instance();
  TrainedModel decoder = model_of(kBlockForms[0], Kind::kAllPairs, at::kBFloat16);
  for (const Keep keep : kKeeps)
    EXPECT_NEAR(held_share(decoder, false, {2 * forward::kMeasuredTiles * 64 + 7, 64, keep}), 1.0, 0.03)
        << static_cast<int>(keep);
}

}  // namespace
}  // namespace longlora::train
