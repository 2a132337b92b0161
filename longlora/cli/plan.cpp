#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <map>
#include <memory>
#include <utility>

#include "longlora/cli/flags.h"
#include "longlora/cli/training_verb.h"
#include "longlora/cli/verbs.h"
#include "longlora/core/error.h"
#include "longlora/core/format.h"
#include "longlora/core/log.h"
#include "longlora/model/load.h"
#include "longlora/results/plan.h"
#include "longlora/train/options.h"
#include "longlora/train/step_cost.h"
#include "longlora/train/trainer.h"

namespace longlora::cli {
namespace {

// The share of a GPU's memory that a plan may fill.
constexpr double kDeviceShare = 0.8;
// How much of a GPU's memory its driver and libraries take.
constexpr int64_t kDeviceProgramBytes = int64_t{500} << 20;
// The shares of its peak rate that a GPU reaches in such training (arXiv 2307.08691, and table 12 of arXiv
// 2309.12307).
constexpr double kGpuMatrixShare = 0.5, kGpuAttentionShare = 0.4;
// How many elements a GPU's optimizer is assumed to update a second: each takes 30 bytes, at 1 TB/s.
constexpr double kGpuUpdateRate = 3e10;
// Where measurements differ by more than this factor, other work disturbed them.
constexpr double kNoticedVariation = 1.5;

// A known shape of Llama models: hidden size, intermediate size, layers, heads, key/value heads, vocabulary.
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

// The flags of a run, and what it is planned for.
struct PlanArguments : TrainingArguments {
  std::string shape_name;
  std::optional<double> device_memory_gib;
  std::optional<double> device_tflops;
  bool measure = true;
  std::optional<model::ModelConfig> shape;  // of a model that is not on disk
};

model::ModelConfig named_shape(const std::string& name) {
  const Shape& shape = shapes().at(name);
  return model::parse_model_config({{"architectures", {"LlamaForCausalLM"}},
                                    {"hidden_size", shape.hidden},
                                    {"intermediate_size", shape.intermediate},
                                    {"num_hidden_layers", shape.layers},
                                    {"num_attention_heads", shape.heads},
                                    {"num_key_value_heads", shape.kv_heads},
                                    {"vocab_size", shape.vocab},
                                    {"max_position_embeddings", 4096}},
                                   name);
}

void finish_plan_arguments(PlanArguments& arguments) {
  const train::TrainOptions& options = arguments.options;
  const bool by_path = !options.model_name_or_path.empty() || options.init_random;
  if (by_path != arguments.shape_name.empty())
    throw UsageError("[plan] expected either --model_name_or_path or --shape");
  if (arguments.device_memory_gib.has_value() != arguments.device_tflops.has_value())
    throw UsageError("[plan] expected --device_memory and --device_tflops together");
  if (!by_path) arguments.shape = named_shape(arguments.shape_name);
  arguments.options.only_planned = true;
  finish_arguments(arguments);
}

// Returns the request of a run on this machine, or on a GPU that flags describe.
train::PlanRequest plan_request(const PlanArguments& arguments, train::RunSetup& run) {
  const int64_t asked = run.options.memory_budget_bytes;
  // A run on this machine may never take more than is free. A plan for a shape or a described GPU may be for
  // another machine, so that the budget counts as it is given.
  if (arguments.shape || arguments.device_memory_gib) run.options.memory_budget_bytes = 0;
  train::PlanRequest request = train::run_request(run);
  if (arguments.shape && asked > 0) request.budget_bytes = asked;
  if (!arguments.device_memory_gib) return request;
  request.budget_bytes = asked > 0 ? asked : memory_budget_bytes(*arguments.device_memory_gib * kDeviceShare);
  request.streamable.clear();
  request.on_gpu = true;
  request.disk = false;
  request.program_bytes = kDeviceProgramBytes;
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

// Copies what the memory plan says into the result.
void set_memory(const train::MemoryPlan& plan, results::Plan& result) {
  result.memory_bytes = plan.total_bytes();
  result.weights_bytes = plan.weights_bytes;
  result.optimizer_bytes = plan.optimizer_bytes;
  result.inputs_bytes = plan.inputs_bytes;
  result.kept_bytes = plan.kept_bytes;
  result.workspace_bytes = plan.workspace_bytes;
  result.program_bytes = plan.program_bytes;
  result.tile_tokens = plan.tile_tokens;
  result.inputs_on_disk = plan.inputs_on_disk;
  result.scratch_bytes = plan.scratch_bytes;
  result.weights_streamed = plan.weights_streamed;
  result.streamed_bytes = plan.streamed_bytes;
  result.state_on_disk = train::state_name(plan.state_on_disk);
  result.state_bytes = plan.state_bytes;
}

// Returns the rates of the GPU that flags describe, or those that are measured on this machine.
train::TrainingRates find_rates(const PlanArguments& arguments, const train::RunSetup& run,
                                double seen_tokens) {
  if (arguments.device_tflops)
    return {kGpuMatrixShare * *arguments.device_tflops * 1e12,
            kGpuAttentionShare * *arguments.device_tflops * 1e12, kGpuUpdateRate};
  const auto lora = run.options.low_rank_training ? std::optional(run.options.lora) : std::nullopt;
  return train::measure_training_rates(run.shape.config, run.shape.dtype(), lora, seen_tokens);
}

void describe_rates(const PlanArguments& arguments, const train::TrainingRates& rates) {
  const bool assumed = arguments.device_tflops.has_value();
  log_info(fmt::format("rates {}: {:.0f} GFLOP/s in matrix products, {:.0f} in attention{}",
                       assumed ? "assumed" : "measured here", rates.matrix / 1e9, rates.attention / 1e9,
                       assumed ? ""
                               : fmt::format("; the best of several, the slowest took {:.1f} times as long",
                                             rates.variation)));
  if (rates.variation > kNoticedVariation)
    log_warning(
        "the rates varied: other work runs on this machine, and beside it a run takes longer than planned");
}

// Predicts how long a run takes.
results::PlannedTime plan_time(const PlanArguments& arguments, const train::RunSetup& run,
                               const train::PlanRequest& request, const train::MemoryPlan& plan,
                               const train::StepFlops& flops) {
  const train::TrainOptions& options = run.options;
  const train::TrainingRates rates = find_rates(arguments, run, request.seen_tokens);
  describe_rates(arguments, rates);
  const double seconds = train::estimate_seconds(flops, rates);
  const auto accumulated = static_cast<double>(options.gradient_accumulation_steps);
  const auto trained = static_cast<double>(model::count_parameters(run.shape).trainable);
  const double step_seconds = seconds * accumulated + trained / rates.update +
                              static_cast<double>(plan.state_moved_bytes) / train::kStateBytesPerSecond;
  const double tokens_per_second = static_cast<double>(request.batch_tokens) * accumulated / step_seconds;
  log_info(
      fmt::format("time: {} a micro-batch, {} a step; {:.0f} tokens/s{}", format_duration(seconds),
                  format_duration(step_seconds), tokens_per_second,
                  options.max_steps > 0
                      ? fmt::format("; {} for {} steps",
                                    format_duration(step_seconds * static_cast<double>(options.max_steps)),
                                    options.max_steps)
                      : ""));
  return {.seconds_per_micro_batch = seconds,
          .seconds_per_step = step_seconds,
          .tokens_per_second = tokens_per_second,
          .matrix_flops_per_second = rates.matrix,
          .attention_flops_per_second = rates.attention,
          .rates_varied_by = rates.variation};
}

void run_plan(PlanArguments& arguments) {
  finish_plan_arguments(arguments);
  prepare_output_files({{"--json", arguments.json}}, train::run_inputs(arguments.options));
  train::RunSetup run = set_up(arguments, arguments.shape);
  const model::ParameterCounts counts = model::count_parameters(run.shape);
  const train::PlanRequest request = plan_request(arguments, run);
  const int64_t group_tokens = run.options.group_tokens();
  log_info(fmt::format("parameters: {}, of which {} train", format_count(counts.total),
                       format_count(counts.trainable)));
  log_info(fmt::format(
      "attention: {}, a token sees {:.0f} on average",
      group_tokens == 0 ? std::string("full") : fmt::format("shifted sparse in groups of {}", group_tokens),
      request.seen_tokens));
  const train::MemoryPlan plan = train::make_memory_plan(run.shape, request);
  log_info(fmt::format("memory: {}, of a budget of {}", plan.describe(), format_bytes(request.budget_bytes)));
  describe_layers(plan);
  const train::StepFlops flops =
      train::count_step_flops(run.shape, request.batch_tokens, request.seen_tokens, plan.keep);
  log_info(fmt::format("work of a micro-batch: {:.2f} TFLOP, {:.2f} TFLOP with what is computed again",
                       flops.model() / 1e12, flops.executed() / 1e12));
  results::Plan result = {.parameters = counts.total,
                          .trainable_parameters = counts.trainable,
                          .seen_tokens = request.seen_tokens,
                          .budget_bytes = request.budget_bytes,
                          .model_flops = flops.model(),
                          .executed_flops = flops.executed()};
  set_memory(plan, result);
  const bool has_rates = arguments.device_tflops || run.options.device.is_cpu();
  if (arguments.measure && has_rates) result.time = plan_time(arguments, run, request, plan, flops);
  if (!arguments.json.empty()) write_json(arguments.json, result.to_json());
}

std::vector<std::string> shape_names() {
  std::vector<std::string> names;
  for (const auto& [name, shape] : shapes()) names.push_back(name);
  return names;
}

void add_own_flags(CLI::App& verb, PlanArguments& arguments) {
  train::TrainOptions& options = arguments.options;
  verb.add_option("--shape", arguments.shape_name, "A well-known shape in place of --model_name_or_path")
      ->check(CLI::IsMember(shape_names()));
  verb.add_option("--device_memory", arguments.device_memory_gib,
                  "GiB of a GPU to plan for instead of this machine")
      ->check(memory_in_gib());
  verb.add_option("--device_tflops", arguments.device_tflops, "Its bfloat16 peak rate in TFLOP/s")
      ->check(positive_number());
  add_bool(verb, "--measure", arguments.measure, "Estimate the time by a few seconds of measurement");
  add_paths(verb, "--data_path", options.data_path, "Data of the run; not read");
  add_paths(verb, "--eval_data_path", options.eval_data_path, "Held-out data of the run; not read");
}

}  // namespace

void add_plan_verb(CLI::App& app) {
  CLI::App& verb = *app.add_subcommand("plan",
                                       "Memory and time of a training run before it starts: will it fit, how "
                                       "long will it take. Takes every flag "
                                       "of fine-tune and sft; weights are not read");
  auto arguments = std::make_shared<PlanArguments>();
  arguments->verb = "plan";
  add_own_flags(verb, *arguments);
  add_trained_model_flags(verb, *arguments);
  add_context_flags(verb, *arguments);
  add_adapter_flags(verb, *arguments);
  add_step_flags(verb, *arguments);
  add_order_flags(verb, *arguments);
  add_output_flags(verb, *arguments);
  verb.callback([arguments, &verb] {
    arguments->given = given_flags(verb);
    run_plan(*arguments);
  });
}

}  // namespace longlora::cli
