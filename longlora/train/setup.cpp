#include "longlora/train/setup.h"

#include <algorithm>
#include <filesystem>
#include <utility>

#include "longlora/core/file.h"
#include "longlora/core/log.h"
#include "longlora/core/memory.h"
#include "longlora/forward/mapped_files.h"
#include "longlora/forward/memory_budget.h"
#include "longlora/gguf/gguf_model.h"
#include "longlora/model/adapter.h"
#include "longlora/model/adapter_plan.h"
#include "longlora/model/load.h"
#include "longlora/tensors/dtypes.h"

namespace longlora::train {
namespace {

// Whether there are weights beside a config.json, or in a GGUF file.
bool has_weights(const std::filesystem::path& directory) {
  if (gguf::find_model(directory)) return true;
  if (!std::filesystem::is_directory(directory)) return false;
  const auto files = list_directory(directory);
  return std::any_of(files.begin(), files.end(), [](const std::filesystem::path& file) {
    return file.extension() == ".safetensors" || file.extension() == ".bin" || file.extension() == ".pth";
  });
}

at::ScalarType compute_dtype(const TrainOptions& options) {
  return options.fp32 ? at::kFloat : at::kBFloat16;
}

// Opens the base, and returns the run's configuration as it is before an adapter changes it.
model::ModelConfig open_base(RunSetup& setup) {
  const TrainOptions& options = setup.options;
  if (options.init_random) return model::read_model_config(options.config_file);
  // A plan needs no weights. Where they are there, it reads them as a run does.
  if (options.only_planned && !has_weights(options.model_name_or_path))
    return model::read_model_config(options.model_name_or_path);
  setup.base = model::open_stored_model(options.model_name_or_path);
  return setup.base->config;
}

// Returns the base's shape with the vocabulary, the head, the window and the whole parameters that the
// adapter gives it.
model::Decoder with_adapter(const model::Decoder& base, const model::AdapterPlan& plan,
                            const checkpoint::PeftAdapter& adapter) {
  model::ModelConfig config = base.config;
  config.vocab_size = plan.vocab_size;
  config.tie_word_embeddings = plan.tied;
  model::Decoder shape = model::shape_decoder(config, base.dtype());
  model::visit_parameters(shape, [&](const std::string& name, model::Parameter& parameter) {
    const ops::Weight& value = parameter.value;
    if (plan.change_of(name)
            .replaces())  // the adapter holds it in full precision even where the base's is in four bits
      parameter.value = at::empty(value.sizes(), at::TensorOptions(value.scalar_type()).device(at::kMeta));
  });
  model::take_window(adapter.directory(), shape.config);
  return shape;
}

// Makes trainable what the options say, and adds low-rank pairs where no adapter has brought them. `source`
// brings the weights of the layers.
void choose_trained(model::Decoder& decoder, const TrainOptions& options, bool has_pairs,
                    const forward::LayerSource& source) {
  if (!options.low_rank_training) return model::train_everything(decoder);
  if (!has_pairs)
    model::add_lora(decoder, options.lora, options.seed,
                    [&](size_t layer) { return source.layer(decoder, layer); });
  model::train_adapter(decoder, options.trainable_params, options.lora);
}

// Fills in the options that the model and its adapter decide, gives the shape its window, and makes trainable
// what is trained.
void finish_shape(RunSetup& setup) {
  TrainOptions& options = setup.options;
  model::Decoder& shape = setup.shape;
  setup.window_change = model::stretch_window(shape.config, options.rope_scaling, options.model_max_length);
  const model::RopeType scaling = shape.config.rope_scaling.type;
  options.rope_scaling = scaling == model::RopeType::kDefault ? model::RopeType::kLinear : scaling;
  if (setup.adapter) {
    options.lora = setup.adapter->config();
    if (options.lora_dropout) options.lora.dropout = *options.lora_dropout;
  }
  if (options.low_rank_training) model::choose_targets(shape, options.lora);
  choose_trained(shape, options, /*has_pairs=*/false, *forward::resident());
}

// Whether the weights are stored as the run computes with them, so that they need not be converted. Where the
// files are missing, config.json says how they are stored.
bool are_stored_as_computed(const RunSetup& setup) {
  const at::ScalarType dtype = setup.shape.dtype();
  if (setup.base) return forward::are_stored_as(setup.base->weights, setup.streamable, dtype);
  const Json& raw = setup.shape.config.raw;
  const auto stored = raw.contains("dtype") ? raw.find("dtype") : raw.find("torch_dtype");
  return stored == raw.end() || *stored == tensors::dtype_name(dtype);
}

}  // namespace

RunSetup set_up_run(const TrainOptions& options, const std::optional<model::ModelConfig>& planned) {
  RunSetup setup = {.options = options, .program_bytes = current_rss_bytes()};
  model::ModelConfig config = planned ? *planned : open_base(setup);
  if (options.quantize && !config.quantization) config.quantization = options.quantize;
  setup.shape = model::shape_decoder(config, compute_dtype(options));
  std::set<std::string> replaced;
  if (!options.peft_model.empty()) {
    setup.adapter = checkpoint::PeftAdapter::open(options.peft_model);
    const model::Decoder base = std::exchange(setup.shape, {});
    const model::AdapterPlan plan = model::plan_adapter(base, *setup.adapter);
    model::require_trainable(plan, base, *setup.adapter);
    setup.shape = with_adapter(base, plan, *setup.adapter);
    replaced = model::replaced_parameters(plan, base);
  }
  finish_shape(setup);
  if (options.init_random) return setup;
  setup.streamable = forward::streamable_weights(setup.shape);
  for (const std::string& name : replaced) setup.streamable.erase(name);
  setup.copies = !planned && !are_stored_as_computed(setup);
  return setup;
}

PlanRequest run_request(const RunSetup& setup) {
  const TrainOptions& options = setup.options;
  PlanRequest request = options.plan_request();
  request.budget_bytes = forward::memory_budget(options.memory_budget_bytes, options.device);
  request.program_bytes = 0;
  if (!options.device.is_cpu()) return request;
  request.streamable = setup.streamable;
  request.copies = setup.copies;
  request.program_bytes = setup.program_bytes;
  return request;
}

MemoryPlan plan_run(const RunSetup& setup) {
  return make_memory_plan(setup.shape, run_request(setup));
}

BuiltRun build_run(RunSetup setup, const MemoryPlan& plan) {
  BuiltRun run = {.options = std::move(setup.options),
                  .plan = plan,
                  .decoder = {},
                  .source = forward::resident(),
                  .base = std::move(setup.base),
                  .adapter = std::move(setup.adapter)};
  const TrainOptions& options = run.options;
  const model::ModelConfig config = std::exchange(setup.shape, {}).config;
  const at::ScalarType dtype = compute_dtype(options);
  if (options.init_random) {
    run.decoder = model::random_decoder(config, dtype, options.seed, options.attention_init);
    model::move_decoder(run.decoder, options.device);
  } else {
    model::LoadOptions load = {.left_in_files = {}, .quantize = options.quantize, .device = options.device};
    if (plan.weights_streamed) load.left_in_files = std::move(setup.streamable);
    run.decoder = model::load_with_adapter(*run.base, run.adapter ? &*run.adapter : nullptr, dtype, load);
    if (plan.weights_streamed)
      run.source = std::make_shared<const forward::MappedFiles>(run.base->weights,
                                                                std::move(load.left_in_files), dtype);
  }
  run.decoder.config = config;
  if (plan.state_on_disk != StateOnDisk::kNone) make_directories(options.scratch_folder());
  choose_trained(run.decoder, options, run.adapter.has_value(), *run.source);
  if (!setup.window_change.empty()) log_info(setup.window_change);
  return run;
}

}  // namespace longlora::train
