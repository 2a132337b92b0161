#include "longlora/generate/runtime.h"

#include <ATen/Parallel.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <optional>
#include <set>
#include <utility>

#include "longlora/checkpoint/peft_adapter.h"
#include "longlora/core/error.h"
#include "longlora/core/format.h"
#include "longlora/core/log.h"
#include "longlora/core/memory.h"
#include "longlora/forward/mapped_files.h"
#include "longlora/forward/memory_budget.h"
#include "longlora/forward/pass_memory.h"
#include "longlora/generate/decode_session.h"
#include "longlora/model/adapter.h"
#include "longlora/model/adapter_plan.h"
#include "longlora/model/load.h"
#include "longlora/model/stored_model.h"
#include "longlora/ops/device.h"
#include "longlora/tensors/dtypes.h"
#include "longlora/tokenizer/tokenizer.h"

namespace longlora::generate {
namespace {

namespace fs = std::filesystem;

at::ScalarType compute_dtype(const std::string& name) {
  const auto dtype = tensors::weight_dtype_from_name(name);
  if (!dtype || dtype == at::kHalf)
    throw UsageError(fmt::format("[--dtype] expected float32 or bfloat16, got {}", name));
  return *dtype;
}

// Sets the rotary scaling to use at `context_size`, given the scaling that the model carries.
void apply_scaling(model::ModelConfig& config, const RuntimeOptions& options, int64_t context_size) {
  const std::string& asked = options.rope_scaling;
  const auto& names = model::extension_rope_types();
  if (!asked.empty() && asked != "none" && std::find(names.begin(), names.end(), asked) == names.end())
    throw UsageError(
        fmt::format("[--rope_scaling] expected {} or none, got {}", fmt::join(names, ", "), asked));
  const model::RopeType carried = config.rope_scaling.type;
  if (carried != model::RopeType::kDefault) {
    if (!asked.empty() && asked != model::rope_type_name(carried))
      log_warning(fmt::format("--rope_scaling {} is left out: the model carries {}", asked,
                              model::describe_scaling(config.rope_scaling)));
    if (context_size > config.context_window())
      log_warning(
          fmt::format("--context_size {} is beyond the {} tokens that the model's own scaling was made for",
                      context_size, config.context_window()));
    return;
  }
  if (asked == "none" || context_size <= config.original_window()) return;
  const model::RopeType type = model::rope_type_from_name(asked.empty() ? "linear" : asked, "--rope_scaling");
  config.rope_scaling = model::scaling_for_window(config, type, context_size);
}

PassTokens tokens_of_pass(const RuntimeOptions& options, int64_t context_size) {
  if (options.pass_tokens) return options.pass_tokens(context_size);
  return tokens_of_generation(context_size, context_size, 0);
}

int64_t context_of(const RuntimeOptions& options, const model::ModelConfig& config) {
  return options.context_size > 0 ? options.context_size : config.context_window();
}

// The base and the adapter on it, opened once.
struct OpenedModel {
  model::StoredModel base;
  std::optional<checkpoint::PeftAdapter> adapter;

  explicit OpenedModel(const RuntimeOptions& options) : base(model::open_stored_model(options.base_model)) {
    if (!options.peft_model.empty()) adapter = checkpoint::PeftAdapter::open(options.peft_model);
  }
  const checkpoint::PeftAdapter* adapter_or_null() const { return adapter ? &*adapter : nullptr; }
};

// The names of the large weights that the base's files hold as the model has them.
std::set<std::string> weights_in_files(const OpenedModel& opened, const model::Decoder& base) {
  std::set<std::string> names = forward::streamable_weights(base);
  if (!opened.adapter) return names;
  const auto plan = model::plan_adapter(base, *opened.adapter);
  for (const std::string& name : model::replaced_parameters(plan, base)) names.erase(name);
  return names;
}

[[noreturn]] void refuse(const forward::PassRequest& request, const forward::PassPlan& least) {
  throw ResourceError(fmt::format(
      "[memory] expected the run to fit in {}, but it needs at least {} (weights {}, program {}, the rest "
      "for "
      "{} tokens that go through the model at once); give fewer tokens at once, or raise --memory_budget "
      "where "
      "the machine has more",
      format_bytes(request.budget_bytes), format_bytes(least.total_bytes()),
      format_bytes(least.weights_bytes), format_bytes(least.program_bytes), format_count(request.tokens)));
}

// How the model is run, and which of its weights stay in their files for that.
struct Placement {
  forward::PassPlan plan;
  std::set<std::string> left_in_files;
};

// Plans before anything large is loaded. Where no budget was asked for, what does not fit is tried with the
// least memory.
Placement place(const RuntimeOptions& options, const OpenedModel& opened, at::ScalarType dtype,
                at::Device device) {
  model::ModelConfig config = opened.base.config;
  if (options.quantize && !config.quantization) config.quantization = options.quantize;
  const model::Decoder shape = model::shape_decoder(config, dtype);
  model::take_window(options.peft_model, config);
  const auto tokens = tokens_of_pass(options, context_of(options, config));
  forward::PassRequest request = {.tokens = tokens.all,
                                  .row_tokens = tokens.row,
                                  .wanted_tokens = tokens.wanted,
                                  .cache_tokens = tokens.cached,
                                  .budget_bytes = forward::memory_budget(options.memory_budget_bytes, device),
                                  .program_bytes = device.is_cpu() ? current_rss_bytes() : 0,
                                  .num_threads = at::get_num_threads()};
  Placement found = {.plan = forward::plan_pass(shape, request), .left_in_files = {}};
  if (!found.plan.fits && device.is_cpu()) {
    request.streamable = weights_in_files(opened, shape);
    request.copies = !forward::are_stored_as(opened.base.weights, request.streamable, dtype);
    found.plan = forward::plan_pass(shape, request);
    if (found.plan.weights_streamed) found.left_in_files = std::move(request.streamable);
  }
  const bool asked = options.memory_budget_bytes > 0;
  if (asked && !found.plan.fits) refuse(request, found.plan);
  if (asked || found.plan.weights_streamed || found.plan.tile_tokens > 0)
    log_info(fmt::format("memory: {}", found.plan.describe()));
  return found;
}

}  // namespace

PassTokens tokens_of_generation(int64_t context_size, int64_t prompt_tokens, int64_t answer_tokens) {
  return {.all = std::min({context_size, prompt_tokens, kPrefillChunkTokens}),
          .row = context_size,
          .wanted = 1,
          .cached = std::min(context_size, prompt_tokens + answer_tokens)};
}

fs::path tokenizer_path(const RuntimeOptions& options) {
  const bool brings_one = !options.peft_model.empty() && tokenizer::has_tokenizer(options.peft_model);
  return brings_one ? options.peft_model : options.base_model;
}

Runtime open_runtime(const RuntimeOptions& options) {
  const at::ScalarType dtype = compute_dtype(options.dtype);
  if (options.context_size < -1)
    throw UsageError(
        fmt::format("[--context_size] expected a positive number of tokens, got {}", options.context_size));
  const at::Device device = ops::open_device(options.device);
  const OpenedModel opened(options);
  const Placement placement = place(options, opened, dtype, device);
  auto decoder = std::make_shared<model::Decoder>(model::load_with_adapter(
      opened.base, opened.adapter_or_null(), dtype,
      {.left_in_files = placement.left_in_files, .quantize = options.quantize, .device = device}));
  auto source = forward::resident();
  if (!placement.left_in_files.empty())
    source =
        std::make_shared<const forward::MappedFiles>(opened.base.weights, placement.left_in_files, dtype);
  // Merged weights need one multiplication in place of three. In bfloat16 the sum would round the update
  // away.
  if (dtype == at::kFloat) model::merge_lora(*decoder);
  model::keep_weight_norms(*decoder, [&](size_t layer) { return source->layer(*decoder, layer); });
  const int64_t context_size = context_of(options, decoder->config);
  apply_scaling(decoder->config, options, context_size);
  const model::ParameterCounts counts = model::count_parameters(*decoder);
  Runtime runtime = {.decoder = decoder,
                     .ready = {*decoder, source, placement.plan.tile_tokens},
                     .context_size = context_size,
                     .vocab_size = decoder->embed_tokens.value.size(0),
                     .quantized = counts.quantized > 0,
                     .scaling = model::describe_scaling(decoder->config.rope_scaling)};
  log_info(fmt::format("model: {}{}, window {} tokens, evaluated up to {}, {}, {}",
                       options.base_model.string(),
                       options.peft_model.empty() ? "" : " with " + options.peft_model.string(),
                       decoder->config.original_window(), context_size, runtime.scaling, options.dtype));
  if (runtime.quantized)
    log_info(fmt::format("4-bit weights: {} of {} parameters in {} ({:.2f} bits each)",
                         format_count(counts.quantized), format_count(counts.total),
                         format_bytes(counts.quantized_bytes), counts.bits_per_quantized()));
  return runtime;
}

}  // namespace longlora::generate
