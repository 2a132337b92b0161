// What the tests of training share: reference models made ready to train, and token data in memory.
#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "longlora/data/token_data.h"
#include "longlora/data/training_rows.h"
#include "longlora/forward/memory_budget.h"
#include "longlora/model/adapter.h"
#include "longlora/model/load.h"
#include "longlora/train/batch.h"
#include "longlora/train/engine.h"
#include "longlora/train/memory_prediction.h"
#include "longlora/train/options.h"
#include "longlora/train/trained_parameters.h"
#include "longlora/train/trainer.h"
#include "tests/support/temporary_directory.h"
#include "tests/support/tensors.h"

namespace longlora::train {

/// Ids held in a vector.
class MemoryTokens : public data::TokenData {
 public:
  explicit MemoryTokens(std::vector<int64_t> ids) : ids_(std::move(ids)) {}
  /// `count` ids below `vocab_size`: a noisy walk that a model can learn something about.
  static MemoryTokens walk(int64_t count, int64_t vocab_size) {
    std::vector<int64_t> ids(count);
    for (int64_t i = 1; i < count; ++i) ids[i] = (ids[i - 1] + (i % 5 == 0 ? 7 : 1)) % vocab_size;
    return MemoryTokens(std::move(ids));
  }
  /// The uint16 ids of a file.
  static MemoryTokens from_file(const std::filesystem::path& path) {
    const std::string bytes = read_file(path);
    std::vector<int64_t> ids;
    for (size_t i = 0; i + 1 < bytes.size(); i += 2)
      ids.push_back(static_cast<uint8_t>(bytes[i]) | static_cast<uint8_t>(bytes[i + 1]) << 8);
    return MemoryTokens(std::move(ids));
  }
  int64_t size() const override { return static_cast<int64_t>(ids_.size()); }
  void read(int64_t start, std::span<int64_t> out) const override {
    ASSERT_LE(start + static_cast<int64_t>(out.size()), size());
    std::copy_n(ids_.begin() + start, out.size(), out.begin());
  }
  std::string describe() const override { return "ids in memory"; }

 private:
  std::vector<int64_t> ids_;
};

inline std::filesystem::path tiny_model(const std::string& name) {
  return test::data_path("goldens/tiny_models") / name;
}

/// A decoder and, made when they are first asked for, what training keeps of the parameters that train by
/// then.
struct TrainedModel : model::Decoder {
  TrainedModel(model::Decoder decoder, const TrainingStateOptions& state = {})
      : model::Decoder(std::move(decoder)), options(state) {}
  TrainedModel(const TrainedModel&) = delete;
  TrainedModel& operator=(const TrainedModel&) = delete;

  TrainedParameters& trained() {
    if (!parameters) parameters.emplace(*this, options);
    return *parameters;
  }
  operator TrainedParameters&() { return trained(); }
  /// One that trains.
  TrainedParameter& of(const model::Parameter& parameter) { return *trained().find(parameter); }

  TrainingStateOptions options;
  std::optional<TrainedParameters> parameters;
};

/// A reference model of which every weight trains.
inline model::Decoder full_model(const std::string& name, at::ScalarType dtype = at::kFloat) {
  model::Decoder decoder = model::load_decoder(tiny_model(name), dtype);
  model::train_everything(decoder);
  return decoder;
}

/// Puts a model under LoRA+, with pairs that are not zero.
inline void add_lora_plus(model::Decoder& decoder) {
  const at::ScalarType dtype = decoder.dtype();
  model::add_lora(decoder, {}, 1);
  uint64_t seed = 40;
  model::visit_linears(decoder, [&](const std::string&, model::Linear& linear) {
    if (linear.lora)
      linear.lora->b.value = test::random_tensor(linear.lora->b.value.sizes(), seed++).mul(0.05).to(dtype);
  });
  model::train_adapter(decoder, {"embed", "norm"});
}

/// A reference model under LoRA+.
inline model::Decoder lora_plus_model(const std::string& name, at::ScalarType dtype = at::kFloat) {
  model::Decoder decoder = model::load_decoder(tiny_model(name), dtype);
  add_lora_plus(decoder);
  return decoder;
}

/// Options of a short run on gqa_untied: LoRA+ under S² attention, 16 tokens a row.
inline TrainOptions small_run(const std::filesystem::path& output_dir) {
  TrainOptions options;
  options.model_name_or_path = tiny_model("gqa_untied");
  options.fp32 = true;
  options.model_max_length = 16;
  options.group_size = 6;
  options.data_path = {"memory"};
  options.output_dir = output_dir;
  options.max_steps = 7;
  options.per_device_train_batch_size = 2;
  options.gradient_accumulation_steps = 2;
  options.learning_rate = 1e-3;
  options.warmup_steps = 2;
  options.save_steps = 0;
  return options;
}

/// The predicted memory where everything is in memory, layers keep what `keep` says and tiles have
/// `tile_tokens` tokens (0: all).
inline MemoryPlan predict_memory(const model::Decoder& decoder, const PlanRequest& request,
                                 std::vector<Keep> keep, int64_t tile_tokens) {
  const Prediction prediction(decoder, request);
  return prediction.plan({tile_tokens, prediction.loss_chunk_rows()}, std::move(keep));
}

/// A run of a decoder that is in memory already, whose tensors the run's decoder shares. The memory plan is
/// that of the options.
inline BuiltRun run_in_memory(const TrainOptions& options, model::Decoder decoder) {
  PlanRequest request = options.plan_request();
  request.budget_bytes = forward::memory_budget(options.memory_budget_bytes, options.device);
  const MemoryPlan plan = make_memory_plan(decoder, request);
  return {options, plan, std::move(decoder), forward::resident(), {}, {}};
}

/// A trainer on rows of consecutive ids. `run`, `data` and `eval_data`, which may be null, must outlive it.
inline Trainer trainer_on_tokens(BuiltRun& run, const data::TokenData& data, const data::TokenData* eval_data,
                                 TrainObserver& observer) {
  return Trainer(run, data::consecutive_rows(&data, run.options.model_max_length),
                 data::consecutive_rows(eval_data, run.options.model_max_length), observer);
}

/// Trains a decoder that is in memory on rows of consecutive ids.
inline TrainOutcome train_on_tokens(const TrainOptions& options, const model::Decoder& decoder,
                                    const data::TokenData& data, const data::TokenData* eval_data,
                                    TrainObserver& observer) {
  BuiltRun run = run_in_memory(options, decoder);
  return trainer_on_tokens(run, data, eval_data, observer).run();
}

/// The gradient of a whole parameter.
inline at::Tensor gradient_of(const TrainedParameter& trained) {
  if (!trained.grad_rows) return trained.grad.clone();
  const std::vector<int64_t>& rows = trained.grad_rows->rows();
  return at::zeros(trained.master.sizes(), trained.grad.options())
      .index_copy_(0, at::tensor(rows, at::kLong),
                   trained.grad.slice(0, 0, static_cast<int64_t>(rows.size())));
}

/// Gradients by parameter name.
inline std::vector<std::pair<std::string, at::Tensor>> gradients_of(const TrainedParameters& trained) {
  std::vector<std::pair<std::string, at::Tensor>> grads;
  for (const TrainedParameter& parameter : trained.all())
    grads.emplace_back(parameter.name, gradient_of(parameter));
  return grads;
}

/// Sets all gradients to zero.
inline void zero_gradients(TrainedParameters& trained) {
  for (TrainedParameter& parameter : trained.all()) parameter.zero_grad();
}

}  // namespace longlora::train
