#include "longlora/cli/training_verb.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <charconv>
#include <utility>

#include "longlora/cli/flag_checks.h"
#include "longlora/cli/flags.h"
#include "longlora/core/error.h"
#include "longlora/core/log.h"
#include "longlora/ops/device.h"

namespace longlora::cli {

namespace {

constexpr int64_t kEvalSteps = 500;

// Turns --evaluation_strategy into a number of steps. Returns whether the run is evaluated only because
// held-out data were given.
bool decide_evaluation(TrainingArguments& arguments) {
  train::TrainOptions& options = arguments.options;
  const bool is_unsaid = arguments.evaluation_strategy.empty() && arguments.given.count("--eval_steps") == 0;
  const bool asks =
      arguments.evaluation_strategy == "steps" || (is_unsaid && !options.eval_data_path.empty());
  if (arguments.evaluation_strategy == "no") options.eval_steps = 0;
  if (asks && options.eval_steps == 0 && !options.eval_data_path.empty()) options.eval_steps = kEvalSteps;
  return is_unsaid && asks;
}

// Reads --group_size, a number of tokens or the name of the released rule.
void set_group_size(const std::string& text, train::TrainOptions& options) {
  if (text.empty()) return;
  options.reference_sft_groups = text == "reference-sft";
  if (options.reference_sft_groups) return;
  const char* end = text.data() + text.size();
  const auto parsed = std::from_chars(text.data(), end, options.group_size);
  if (parsed.ec != std::errc() || parsed.ptr != end)
    throw UsageError(
        fmt::format("[--group_size] expected a number of tokens or reference-sft, got {}", text));
}

}  // namespace

void set_tokenizer_path(train::TrainOptions& options) {
  if (!options.tokenizer_path.empty()) return;
  const bool is_beside = !options.peft_model.empty() && tokenizer::has_tokenizer(options.peft_model);
  options.tokenizer_path = is_beside ? options.peft_model : options.model_name_or_path;
}

void finish_arguments(TrainingArguments& arguments) {
  train::TrainOptions& options = arguments.options;
  apply_trainer_words(arguments);
  std::vector<std::string> problems = refused_flags(arguments);
  options.fp32 = options.fp32 || !arguments.bf16;
  if (arguments.save_strategy == "no") options.save_steps = 0;
  const bool evaluates = decide_evaluation(arguments);
  set_tokenizer_path(options);
  options.memory_budget_bytes = memory_budget_bytes(arguments.memory_budget_gib);
  set_group_size(arguments.group_size, options);
  set_target_modules(arguments.lora_target_modules, options.lora);
  options.lora.dropout = options.lora_dropout.value_or(0.0);
  options.trainable_params = parameter_patterns(options.trainable_params);
  for (std::string& problem : options.problems()) problems.push_back(std::move(problem));
  if (!problems.empty()) throw UsageError(fmt::format("{}", fmt::join(problems, "\n  ")));
  options.device = ops::open_device(arguments.device);
  options.attention_backend = arguments.device.attention_backend;
  if (options.adamw.moments_in_8_bits && !options.device.is_cpu())
    throw UsageError(
        fmt::format("[--optim {}] expected --device cpu with moments in 8 bits, got {}; take adamw_torch",
                    train::optimizer_name(options.adamw), options.device.str()));
  for (const std::string& line : idle_flags(arguments)) log_info(line);
  if (evaluates)
    log_info(fmt::format(
        "--eval_data_path is evaluated every {} steps and at the end; --evaluation_strategy no: never",
        options.eval_steps));
}

train::RunFolder claim_outputs(const TrainingArguments& arguments) {
  train::RunFolder folder(arguments.options);
  prepare_output_files({{"--json", arguments.json}}, train::run_inputs(arguments.options),
                       {"--output_dir", arguments.options.output_dir});
  return folder;
}

train::RunSetup set_up(const TrainingArguments& arguments, const std::optional<model::ModelConfig>& planned) {
  train::RunSetup setup = train::set_up_run(arguments.options, planned);
  check_model_type(arguments.model_type, setup.shape.config);
  if (setup.adapter) check_adapter_flags(arguments, *setup.adapter, setup.shape);
  return setup;
}

train::BuiltRun build(const TrainingArguments& arguments) {
  train::RunSetup setup = set_up(arguments);
  const train::MemoryPlan plan = train::plan_run(setup);
  return train::build_run(std::move(setup), plan);
}

std::unique_ptr<tokenizer::Tokenizer> find_tokenizer(const train::TrainOptions& options, bool needed) {
  if (options.tokenizer_path.empty() && !needed) return nullptr;
  const bool has_model = tokenizer::has_tokenizer(options.tokenizer_path) ||
                         std::filesystem::is_regular_file(options.tokenizer_path);
  return needed || has_model ? tokenizer::load_tokenizer(options.tokenizer_path) : nullptr;
}

}  // namespace longlora::cli
