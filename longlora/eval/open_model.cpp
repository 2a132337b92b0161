#include "longlora/eval/open_model.h"

#include <ATen/Parallel.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "longlora/core/error.h"
#include "longlora/core/format.h"
#include "longlora/core/log.h"
#include "longlora/model/adapter.h"
#include "longlora/model/load.h"
#include "longlora/ops/device.h"
#include "longlora/tensors/dtypes.h"

namespace longlora::eval {
namespace {

namespace fs = std::filesystem;

at::ScalarType compute_dtype(const std::string& name) {
  const auto dtype = tensors::weight_dtype_from_name(name);
  if (!dtype || dtype == at::kHalf)
    throw UsageError(fmt::format("[--dtype] expected float32 or bfloat16, got {}", name));
  return *dtype;
}

/// The scaling to use at `context_size`, given what the model carries.
void apply_scaling(model::ModelConfig& config, const ModelOptions& options, int64_t context_size) {
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

}  // namespace

fs::path tokenizer_path(const ModelOptions& options) {
  const bool brings_one = !options.peft_model.empty() && tokenizer::has_tokenizer(options.peft_model);
  return brings_one ? options.peft_model : options.base_model;
}

LoadedModel open_model(const ModelOptions& options) {
  const at::ScalarType dtype = compute_dtype(options.dtype);
  if (options.context_size < -1)
    throw UsageError(
        fmt::format("[--context_size] expected a positive number of tokens, got {}", options.context_size));
  const at::Device device = ops::open_device(options.device);
  auto decoder = std::make_shared<model::Decoder>(model::load_with_adapter(
      options.base_model, options.peft_model, dtype, {.quantize = options.quantize, .device = device}));
  // One multiplication in place of three; in bfloat16 the sum would round the update away.
  if (dtype == at::kFloat) model::merge_lora(*decoder);
  model::keep_weight_norms(*decoder);
  LoadedModel loaded;
  loaded.context_size = options.context_size > 0 ? options.context_size : decoder->config.context_window();
  apply_scaling(decoder->config, options, loaded.context_size);
  loaded.vocab_size = decoder->embed_tokens.value.size(0);
  loaded.scaling = model::describe_scaling(decoder->config.rope_scaling);
  log_info(
      fmt::format("model: {}{}, window {} tokens, evaluated up to {}, {}, {}", options.base_model.string(),
                  options.peft_model.empty() ? "" : " with " + options.peft_model.string(),
                  decoder->config.original_window(), loaded.context_size, loaded.scaling, options.dtype));
  const model::ParameterCounts counts = model::count_parameters(*decoder);
  loaded.quantized = counts.quantized > 0;
  if (loaded.quantized)
    log_info(fmt::format("4-bit weights: {} of {} parameters in {} ({:.2f} bits each)",
                         format_count(counts.quantized), format_count(counts.total),
                         format_bytes(counts.quantized_bytes), counts.bits_per_quantized()));
  loaded.decoder = std::move(decoder);
  return loaded;
}

std::unique_ptr<data::TokenData> open_data(const std::vector<fs::path>& paths, const fs::path& tokenizer_path,
                                           const LoadedModel& loaded, data::TokenDataOptions reading) {
  std::unique_ptr<tokenizer::Tokenizer> tokenizer;
  bool all_ids = true;
  for (const fs::path& path : paths) all_ids = all_ids && path.extension() == ".bin";
  // Ids need no tokenizer, but where there is one it tells whose ids they are.
  if (!all_ids || tokenizer::has_tokenizer(tokenizer_path))
    tokenizer = tokenizer::load_tokenizer(tokenizer_path);
  reading.vocab_size = loaded.vocab_size;
  reading.tokenizer = tokenizer.get();
  reading.num_threads = at::get_num_threads();
  auto data = data::open_token_data(paths, reading);
  log_info(fmt::format("data: {}", data->describe()));
  return data;
}

}  // namespace longlora::eval
