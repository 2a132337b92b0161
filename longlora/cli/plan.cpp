#include <fmt/format.h>
#include <fmt/ranges.h>

#include <CLI/CLI.hpp>
#include <map>
#include <memory>

#include "longlora/cli/flags.h"
#include "longlora/cli/model_flags.h"
#include "longlora/cli/training_verb.h"
#include "longlora/cli/verbs.h"
#include "longlora/core/error.h"
#include "longlora/core/log.h"
#include "longlora/core/memory.h"
#include "longlora/core/progress.h"
#include "longlora/model/adapter.h"
#include "longlora/model/load.h"
#include "longlora/train/options.h"
#include "longlora/train/step_cost.h"

namespace longlora::cli {
namespace {

constexpr double kGibibyte = 1024.0 * 1024.0 * 1024.0;
/// Share of a GPU's memory that a plan may fill.
constexpr double kDeviceShare = 0.8;
/// What a GPU's driver and libraries take of its memory.
constexpr int64_t kDeviceProgramBytes = int64_t{500} << 20;
/// Shares of its peak rate that a GPU reaches in such training (arXiv 2307.08691, table 12 of 2309.12307).
constexpr double kGpuMatrixShare = 0.5, kGpuAttentionShare = 0.4;
/// Elements a second of its optimizer: 30 bytes each at 1 TB/s.
constexpr double kGpuUpdateRate = 3e10;

/// Well-known Llama shapes: hidden, intermediate, layers, heads, key/value heads, vocabulary.
struct Shape {
  int64_t hidden, intermediate, layers, heads, kv_heads, vocab;
};
const std::map<std::string, Shape>& shapes() {
  static const std::map<std::string, Shape> all = {
      {"15m", {288, 768, 6, 6, 6, 32000}},      {"110m", {768, 2048, 12, 12, 12, 32000}},
      {"1b", {2048, 5632, 22, 32, 4, 32000}},   {"7b-2layers", {4096, 11008, 2, 32, 32, 32000}},
      {"7b", {4096, 11008, 32, 32, 32, 32000}}, {"13b", {5120, 13824, 40, 40, 40, 32000}},
      {"70b", {8192, 28672, 80, 64, 8, 32000}},
  };
  return all;
}

struct PlanArguments {
  train::TrainOptions options;
  std::string shape;
  std::vector<std::string> lora_target_modules;
  std::string optim = "adamw_torch";
  bool bf16 = true;
  std::string attention = "s2";
  std::string gradient_checkpointing = "auto";
  double memory_budget_gib = 0.0;
  double device_memory_gib = 0.0;
  double device_tflops = 0.0;
  bool measure = true;
  std::filesystem::path json;
};

model::ModelConfig find_config(const PlanArguments& arguments) {
  const bool by_shape = !arguments.shape.empty();
  if (by_shape == !arguments.options.model_name_or_path.empty())
    throw UsageError("[plan] expected either --model_name_or_path or --shape");
  if (!by_shape) return model::read_model_config(arguments.options.model_name_or_path);
  const Shape& shape = shapes().at(arguments.shape);
  return model::parse_model_config({{"architectures", {"LlamaForCausalLM"}},
                                    {"hidden_size", shape.hidden},
                                    {"intermediate_size", shape.intermediate},
                                    {"num_hidden_layers", shape.layers},
                                    {"num_attention_heads", shape.heads},
                                    {"num_key_value_heads", shape.kv_heads},
                                    {"vocab_size", shape.vocab},
                                    {"max_position_embeddings", 4096}},
                                   arguments.shape);
}

/// The decoder that a run would train, without its values; names its targets.
model::Decoder planned_decoder(PlanArguments& arguments, const model::ModelConfig& config) {
  train::TrainOptions& options = arguments.options;
  model::ModelConfig held = config;
  if (options.quantize && !held.quantization) held.quantization = options.quantize;
  model::Decoder decoder = model::shape_decoder(held, options.fp32 ? at::kFloat : at::kBFloat16);
  if (options.low_rank_training) {
    model::choose_targets(decoder, options.lora);
    model::add_lora(decoder, options.lora, options.seed);
    model::train_adapter(decoder, options.trainable_params);
  } else {
    model::train_everything(decoder);
  }
  return decoder;
}

int64_t find_budget(const PlanArguments& arguments) {
  if (arguments.memory_budget_gib > 0.0) return static_cast<int64_t>(arguments.memory_budget_gib * kGibibyte);
  if (arguments.device_memory_gib > 0.0)
    return static_cast<int64_t>(arguments.device_memory_gib * kDeviceShare * kGibibyte);
  return train::memory_budget(0);
}

train::PlanRequest plan_request(const PlanArguments& arguments) {
  train::PlanRequest request = arguments.options.plan_request();
  request.budget_bytes = find_budget(arguments);
  const bool on_device = arguments.device_memory_gib > 0.0;
  request.frozen_weights = on_device ? train::FrozenWeights::kInMemory : train::FrozenWeights::kMayStream;
  request.on_gpu = on_device;
  request.disk = !on_device;
  request.program_bytes = on_device ? kDeviceProgramBytes : current_rss_bytes();
  return request;
}

void describe_layers(const train::MemoryPlan& plan) {
  const auto name = [](train::Keep keep) {
    if (keep == train::Keep::kEverything) return "everything";
    return keep == train::Keep::kAttention ? "input and attention" : "input";
  };
  for (size_t first = 0; first < plan.keep.size();) {
    size_t last = first;
    while (last + 1 < plan.keep.size() && plan.keep[last + 1] == plan.keep[first]) ++last;
    log_info(fmt::format("  layers {} to {}: keep {}", first, last, name(plan.keep[first])));
    first = last + 1;
  }
}

void finish_arguments(PlanArguments& arguments) {
  train::TrainOptions& options = arguments.options;
  options.fp32 = options.fp32 || !arguments.bf16;
  options.attention =
      arguments.attention == "full" ? train::AttentionKind::kFull : train::AttentionKind::kShiftedSparse;
  set_target_modules(arguments.lora_target_modules, options.lora);
  options.adamw.moments_in_8_bits = train::moments_in_8_bits_from_name(arguments.optim);
  if (arguments.gradient_checkpointing == "true") options.recompute = train::Recompute::kAlways;
  if (arguments.gradient_checkpointing == "false") options.recompute = train::Recompute::kNever;
  if (options.model_max_length < 2)
    throw UsageError(
        fmt::format("[--model_max_length] expected at least 2, got {}", options.model_max_length));
  if (options.quantize && !options.low_rank_training)
    throw UsageError("[--quantize] expected --low_rank_training True: weights in four bits stay frozen");
  if (options.per_device_train_batch_size < 1 || options.gradient_accumulation_steps < 1)
    throw UsageError("[plan] expected a positive batch size and number of accumulation steps");
  if ((arguments.device_memory_gib > 0.0) != (arguments.device_tflops > 0.0))
    throw UsageError("[plan] expected --device_memory and --device_tflops together");
}

void run_plan(PlanArguments& arguments) {
  finish_arguments(arguments);
  const model::ModelConfig config = find_config(arguments);
  train::TrainOptions& options = arguments.options;
  const model::Decoder decoder = planned_decoder(arguments, config);
  const model::ParameterCounts counts = model::count_parameters(decoder);
  const train::PlanRequest request = plan_request(arguments);
  const double seen = request.seen_tokens;
  const int64_t batch_tokens = request.batch_tokens, group_tokens = options.group_tokens();
  log_info(fmt::format("parameters: {}, of which {} train", format_count(counts.total),
                       format_count(counts.trainable)));
  log_info(fmt::format(
      "attention: {}, a token sees {:.0f} on average",
      group_tokens == 0 ? std::string("full") : fmt::format("shifted sparse in groups of {}", group_tokens),
      seen));
  const train::MemoryPlan plan = train::make_memory_plan(decoder, request);
  log_info(fmt::format("memory: {}, of a budget of {}", plan.describe(), format_bytes(request.budget_bytes)));
  describe_layers(plan);
  const train::StepFlops flops = train::count_step_flops(decoder, batch_tokens, seen, plan.keep);
  log_info(fmt::format("work of a micro-batch: {:.2f} TFLOP, {:.2f} TFLOP with what is computed again",
                       flops.model() / 1e12, flops.executed() / 1e12));
  Json json = {{"verb", "plan"},
               {"parameters", counts.total},
               {"trainable_parameters", counts.trainable},
               {"seen_tokens", seen},
               {"budget_bytes", request.budget_bytes},
               {"memory_bytes", plan.total_bytes()},
               {"weights_bytes", plan.weights_bytes},
               {"optimizer_bytes", plan.optimizer_bytes},
               {"inputs_bytes", plan.inputs_bytes},
               {"kept_bytes", plan.kept_bytes},
               {"workspace_bytes", plan.workspace_bytes},
               {"program_bytes", plan.program_bytes},
               {"tile_rows", plan.tile_rows},
               {"inputs_on_disk", plan.inputs_on_disk},
               {"scratch_bytes", plan.scratch_bytes},
               {"weights_streamed", plan.weights_streamed},
               {"streamed_bytes", plan.streamed_bytes},
               {"state_on_disk", train::state_name(plan.state_on_disk)},
               {"state_bytes", plan.state_bytes},
               {"model_flops", flops.model()},
               {"executed_flops", flops.executed()}};
  if (arguments.measure) {
    const train::TrainingRates rates =
        arguments.device_tflops > 0.0
            ? train::TrainingRates{kGpuMatrixShare * arguments.device_tflops * 1e12,
                                   kGpuAttentionShare * arguments.device_tflops * 1e12, kGpuUpdateRate}
            : train::measure_training_rates(
                  config, decoder.dtype(),
                  options.low_rank_training ? std::optional(options.lora) : std::nullopt, seen);
    const double seconds = train::estimate_seconds(flops, rates);
    const auto accumulated = static_cast<double>(options.gradient_accumulation_steps);
    const double step_seconds = seconds * accumulated + static_cast<double>(counts.trainable) / rates.update +
                                static_cast<double>(plan.state_moved_bytes) / train::kStateBytesPerSecond;
    log_info(fmt::format("rates {}: {:.0f} GFLOP/s in matrix products, {:.0f} in attention",
                         arguments.device_tflops > 0.0 ? "assumed" : "measured here", rates.matrix / 1e9,
                         rates.attention / 1e9));
    log_info(fmt::format(
        "time: {} a micro-batch, {} a step; {:.0f} tokens/s{}", format_duration(seconds),
        format_duration(step_seconds), static_cast<double>(batch_tokens) * accumulated / step_seconds,
        options.max_steps > 0
            ? fmt::format("; {} for {} steps",
                          format_duration(step_seconds * static_cast<double>(options.max_steps)),
                          options.max_steps)
            : ""));
    json["seconds_per_micro_batch"] = seconds;
    json["seconds_per_step"] = step_seconds;
    json["tokens_per_second"] = static_cast<double>(batch_tokens) * accumulated / step_seconds;
    json["matrix_flops_per_second"] = rates.matrix;
    json["attention_flops_per_second"] = rates.attention;
  }
  if (!arguments.json.empty()) write_json(arguments.json, json);
}

std::vector<std::string> shape_names() {
  std::vector<std::string> names;
  for (const auto& [name, shape] : shapes()) names.push_back(name);
  return names;
}

void add_run_flags(CLI::App& verb, PlanArguments& arguments) {
  train::TrainOptions& options = arguments.options;
  verb.add_option("--model_max_length", options.model_max_length, "Tokens of a row")->required();
  verb.add_option("--attention", arguments.attention, "s2 or full, as in fine-tune")
      ->check(CLI::IsMember({"s2", "full"}))
      ->capture_default_str();
  verb.add_option("--group_size_ratio", options.group_size_ratio, "Group size of s2 as a share of the row")
      ->capture_default_str();
  verb.add_option("--group_size", options.group_size, "Group size of s2 in tokens (default: from the ratio)");
  add_bool(verb, "--low_rank_training", options.low_rank_training,
           "Train low-rank pairs and --trainable_params alone; False trains every weight");
  add_list(verb, "--trainable_params", options.trainable_params,
           "Also train parameters whose names contain one of these");
  add_pair_flags(verb, options.lora, arguments.lora_target_modules);
  verb.add_option("--lora_dropout", options.lora.dropout, "Share of what the pairs read that is left out")
      ->check(CLI::Range(0.0, 0.99))
      ->capture_default_str();
  add_optimizer_flag(verb, arguments.optim);
  add_bool(verb, "--bf16", arguments.bf16, "Compute in bfloat16, with float32 master weights");
  add_bool(verb, "--fp32", options.fp32, "Compute in float32");
  verb.add_option("--per_device_train_batch_size", options.per_device_train_batch_size,
                  "Rows computed at once")
      ->capture_default_str();
  verb.add_option("--gradient_accumulation_steps", options.gradient_accumulation_steps,
                  "Batches summed into one update")
      ->capture_default_str();
  verb.add_option("--max_steps", options.max_steps, "Updates, for the time of the whole run");
  verb.add_option("--gradient_checkpointing", arguments.gradient_checkpointing,
                  "Recompute layers in backward: true, false, or auto as memory allows")
      ->transform(CLI::IsMember({"auto", "true", "false"}, CLI::ignore_case))
      ->capture_default_str();
}

}  // namespace

void add_plan_verb(CLI::App& app) {
  CLI::App& verb = *app.add_subcommand(
      "plan", "Memory and time of a training run before it starts: will it fit, how long will it take");
  auto arguments = std::make_shared<PlanArguments>();
  verb.add_option("--model_name_or_path", arguments->options.model_name_or_path,
                  "Directory with a config.json; weights are not read")
      ->type_name("DIR");
  verb.add_option("--shape", arguments->shape, "A well-known shape instead")
      ->check(CLI::IsMember(shape_names()));
  add_run_flags(verb, *arguments);
  add_quantize_flags(verb, arguments->options.quantize);
  verb.add_option("--memory_budget", arguments->memory_budget_gib,
                  "GiB the run may take (default: 80 % of what is free)");
  verb.add_option("--device_memory", arguments->device_memory_gib,
                  "GiB of a GPU to plan for instead of this machine");
  verb.add_option("--device_tflops", arguments->device_tflops, "Its bfloat16 peak rate in TFLOP/s");
  add_bool(verb, "--measure", arguments->measure, "Estimate the time by a few seconds of measurement");
  verb.add_option("--json", arguments->json, "Write the plan to this file");
  verb.callback([arguments] { run_plan(*arguments); });
}

}  // namespace longlora::cli
