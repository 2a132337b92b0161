#include <fmt/format.h>
#include <fmt/ranges.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <charconv>
#include <cmath>
#include <csignal>
#include <memory>
#include <optional>
#include <set>
#include <string_view>

#include "longlora/cli/flag_checks.h"
#include "longlora/cli/flags.h"
#include "longlora/cli/model_flags.h"
#include "longlora/cli/training_verb.h"
#include "longlora/cli/verbs.h"
#include "longlora/core/error.h"
#include "longlora/core/file.h"
#include "longlora/core/format.h"
#include "longlora/core/log.h"
#include "longlora/core/memory.h"
#include "longlora/forward/mapped_files.h"
#include "longlora/model/adapter.h"
#include "longlora/model/adapter_plan.h"
#include "longlora/model/config_fields.h"
#include "longlora/model/family.h"
#include "longlora/model/load.h"
#include "longlora/model/stored_model.h"
#include "longlora/model/training_state.h"
#include "longlora/ops/device.h"
#include "longlora/results/training_result.h"
#include "longlora/tensors/dtypes.h"
#include "longlora/train/trainer.h"

namespace longlora::cli {

namespace {

constexpr int64_t kEvalSteps = 500;

/// Turns --evaluation_strategy into a number of steps. True where nothing but the held-out data itself asks
/// for its use.
bool decide_evaluation(TrainingArguments& arguments) {
  train::TrainOptions& options = arguments.options;
  const bool is_unsaid = arguments.evaluation_strategy.empty() && arguments.given.count("--eval_steps") == 0;
  const bool asks =
      arguments.evaluation_strategy == "steps" || (is_unsaid && !options.eval_data_path.empty());
  if (arguments.evaluation_strategy == "no") options.eval_steps = 0;
  if (asks && options.eval_steps == 0 && !options.eval_data_path.empty()) options.eval_steps = kEvalSteps;
  return is_unsaid && asks;
}

/// A number of tokens, or the name of the released rule.
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
  options.init_random = arguments.init == "random";
  if (arguments.attention_init == "mimetic") options.attention_init = model::AttentionInit::kMimetic;
  options.fp32 = options.fp32 || !arguments.bf16;
  options.attention =
      arguments.attention == "full" ? train::AttentionKind::kFull : train::AttentionKind::kShiftedSparse;
  options.schedule = train::schedule_from_name(arguments.schedule);
  if (arguments.gradient_checkpointing == "true" || arguments.gradient_checkpointing.empty())
    options.recompute = train::Recompute::kAlways;
  if (arguments.gradient_checkpointing == "false") options.recompute = train::Recompute::kNever;
  if (arguments.save_strategy == "no") options.save_steps = 0;
  const bool evaluates = decide_evaluation(arguments);
  set_tokenizer_path(options);
  options.memory_budget_bytes = memory_budget_bytes(arguments.memory_budget_gib);
  set_group_size(arguments.group_size, options);
  set_target_modules(arguments.lora_target_modules, options.lora);
  options.lora.dropout = arguments.lora_dropout.value_or(0.0);
  options.adamw.moments_in_8_bits = train::moments_in_8_bits_from_name(arguments.optim);
  options.trainable_params = parameter_patterns(options.trainable_params);
  for (std::string& problem : options.problems()) problems.push_back(std::move(problem));
  if (!problems.empty()) throw UsageError(fmt::format("{}", fmt::join(problems, "\n  ")));
  options.device = ops::open_device(arguments.device);
  options.attention_backend = arguments.device.attention_backend;
  if (options.adamw.moments_in_8_bits && !options.device.is_cpu())
    throw UsageError(
        fmt::format("[--optim {}] expected --device cpu with moments in 8 bits, got {}; take adamw_torch",
                    arguments.optim, options.device.str()));
  for (const std::string& line : idle_flags(arguments)) log_info(line);
  if (evaluates)
    log_info(fmt::format(
        "--eval_data_path is evaluated every {} steps and at the end; --evaluation_strategy no: never",
        options.eval_steps));
}

namespace {

/// Gives the decoder its scaling, low-rank pairs and trainable parameters; fills in the options that they
/// decide. The adapter of --peft_model is there already where `has_adapter` says so; `source` brings the
/// weights of the layers. Returns what stretch_window() has for the log.
std::string set_up_training(const TrainingArguments& arguments, train::TrainOptions& options,
                            bool has_adapter, model::Decoder& decoder,
                            const forward::LayerSource& source = *forward::resident()) {
  std::string window_change = model::stretch_window(
      decoder.config, asked_rope_scaling(arguments.rope_scaling), options.model_max_length);
  if (decoder.config.rope_scaling.type != model::RopeType::kDefault)
    options.rope_scaling = decoder.config.rope_scaling.type;
  if (options.low_rank_training) {
    if (!options.peft_model.empty()) {
      options.lora = checkpoint::PeftAdapter::open(options.peft_model).config();
      if (arguments.lora_dropout) options.lora.dropout = *arguments.lora_dropout;
    }
    model::choose_targets(decoder, options.lora);
    if (!has_adapter)
      model::add_lora(decoder, options.lora, options.seed,
                      [&](size_t layer) { return source.layer(decoder, layer); });
    model::train_adapter(decoder, options.trainable_params, options.lora);
  } else {
    model::train_everything(decoder);
  }
  return window_change;
}

/// Whether there are weights beside a config.json.
bool has_weights(const std::filesystem::path& directory) {
  if (!std::filesystem::is_directory(directory)) return false;
  const auto files = list_directory(directory);
  return std::any_of(files.begin(), files.end(), [](const std::filesystem::path& file) {
    return file.extension() == ".safetensors" || file.extension() == ".bin" || file.extension() == ".pth";
  });
}

/// The base's configuration; what its weights say about the head counts where they are there.
model::ModelConfig config_of_base(const TrainingArguments& arguments) {
  const train::TrainOptions& options = arguments.options;
  if (arguments.shape) return *arguments.shape;
  if (options.init_random) return model::read_model_config(options.config_file);
  const bool by_weights = !options.only_planned || has_weights(options.model_name_or_path);
  return by_weights ? model::read_stored_config(options.model_name_or_path)
                    : model::read_model_config(options.model_name_or_path);
}

/// The base of a run without values.
model::Decoder shape_of_base(const TrainingArguments& arguments) {
  const train::TrainOptions& options = arguments.options;
  model::ModelConfig config = config_of_base(arguments);
  check_model_type(arguments.model_type, config);
  if (options.quantize && !config.quantization) config.quantization = options.quantize;
  return model::shape_decoder(config, options.fp32 ? at::kFloat : at::kBFloat16);
}

/// The decoder of a run without values: the base with the vocabulary and the head that the adapter gives it.
model::Decoder shape_of_run(const TrainingArguments& arguments) {
  const train::TrainOptions& options = arguments.options;
  model::Decoder base = shape_of_base(arguments);
  if (options.peft_model.empty()) return base;
  const auto adapter = checkpoint::PeftAdapter::open(options.peft_model);
  model::require_trainable(base, adapter);
  const model::AdapterPlan plan = model::plan_adapter(base, adapter);
  model::ModelConfig config = base.config;
  config.vocab_size = plan.vocab_size;
  config.tie_word_embeddings = plan.tied;
  model::Decoder shape = model::shape_decoder(config, base.dtype());
  model::visit_parameters(shape, [&](const std::string& name, model::Parameter& parameter) {
    const ops::Weight& value = parameter.value;
    if (plan.change_of(name).replaces())  // the adapter has it in full precision
      parameter.value = at::empty(value.sizes(), at::TensorOptions(value.scalar_type()).device(at::kMeta));
  });
  return shape;
}

/// Takes those names out that are not in the base's files as the run has them: what the adapter replaces, and
/// the head where the adapter gives it other rows or makes it one of its own.
void leave_out_replaced(const TrainingArguments& arguments, std::set<std::string>& names) {
  const model::Decoder base = shape_of_base(arguments);
  const model::AdapterPlan plan =
      plan_adapter(base, checkpoint::PeftAdapter::open(arguments.options.peft_model));
  for (const std::string& name : model::replaced_parameters(plan, base)) names.erase(name);
}

/// Where the frozen weights of a run may be. Without the weights themselves config.json's word for how they
/// are stored counts.
train::FrozenWeights find_frozen_weights(const TrainingArguments& arguments, const model::Decoder& shape) {
  const train::TrainOptions& options = arguments.options;
  if (options.init_random) return train::FrozenWeights::kInMemory;
  bool as_stored = true;
  if (!arguments.shape && (!options.only_planned || has_weights(options.model_name_or_path))) {
    as_stored =
        forward::are_stored_as(options.model_name_or_path, forward::streamable_weights(shape), shape.dtype());
  } else if (!arguments.shape) {
    const Json& raw = shape.config.raw;
    const auto stored = raw.contains("dtype") ? raw.find("dtype") : raw.find("torch_dtype");
    as_stored = stored == raw.end() || *stored == tensors::dtype_name(shape.dtype());
  }
  return as_stored ? train::FrozenWeights::kMayStream : train::FrozenWeights::kMayStreamCopied;
}

}  // namespace

ShapedRun shape_run(const TrainingArguments& arguments) {
  const int64_t program_bytes = current_rss_bytes();
  ShapedRun run = {arguments.options, shape_of_run(arguments), train::FrozenWeights::kInMemory,
                   program_bytes};
  if (!run.options.peft_model.empty()) check_adapter_flags(arguments, run.decoder);
  set_up_training(arguments, run.options, /*has_adapter=*/false, run.decoder);
  run.frozen_weights = find_frozen_weights(arguments, run.decoder);
  return run;
}

train::MemoryPlan plan_before_loading(const TrainingArguments& arguments) {
  const ShapedRun run = shape_run(arguments);
  return train::plan_run(run.options, run.decoder, run.frozen_weights, run.program_bytes);
}

PreparedModel prepare_decoder(TrainingArguments& arguments, const train::MemoryPlan& plan) {
  train::TrainOptions& options = arguments.options;
  const at::ScalarType dtype = options.fp32 ? at::kFloat : at::kBFloat16;
  model::LoadOptions load = {.left_in_files = {}, .quantize = options.quantize, .device = options.device};
  if (plan.weights_streamed) {
    const model::Decoder shape = shape_run(arguments).decoder;
    load.left_in_files = forward::streamable_weights(shape);
    if (!options.peft_model.empty()) leave_out_replaced(arguments, load.left_in_files);
  }
  PreparedModel prepared;
  model::Decoder& decoder = prepared.decoder;
  decoder = options.init_random
                ? model::random_decoder(model::read_model_config(options.config_file), dtype, options.seed,
                                        options.attention_init)
                : model::load_with_adapter(options.model_name_or_path, options.peft_model, dtype, load);
  if (options.init_random) model::move_decoder(decoder, options.device);
  if (plan.weights_streamed)
    prepared.source = std::make_shared<const forward::MappedFiles>(
        model::open_stored_model(options.model_name_or_path).weights, load.left_in_files, dtype);
  if (plan.state_on_disk != model::StateOnDisk::kNone) {
    make_directories(options.scratch_folder());
    model::place_state(decoder, {plan.state_on_disk, options.scratch_folder()});
  }
  const std::string window_change =
      set_up_training(arguments, options, !options.peft_model.empty(), decoder, *prepared.source);
  if (!window_change.empty()) log_info(window_change);
  if (!options.init_random) model::load_masters(decoder, options.model_name_or_path, options.peft_model);
  return prepared;
}

std::unique_ptr<tokenizer::Tokenizer> find_tokenizer(const train::TrainOptions& options, bool needed) {
  if (options.tokenizer_path.empty() && !needed) return nullptr;
  const bool has_model = tokenizer::has_tokenizer(options.tokenizer_path) ||
                         std::filesystem::is_regular_file(options.tokenizer_path);
  return needed || has_model ? tokenizer::load_tokenizer(options.tokenizer_path) : nullptr;
}

namespace {

/// Tells the person at the terminal of every step that is logged.
class Reporter : public train::TrainObserver {
 public:
  void on_step(const train::StepReport& report) override {
    log_info(fmt::format(
        "step {}/{}  epoch {:.2f}  loss {}  lr {:.2e}  grad norm {:.3f}  {} tokens/s  peak {}  {} left",
        report.step, report.max_steps, report.epoch,
        std::isnan(report.loss) ? "none: no labels" : fmt::format("{:.4f}", report.loss),
        report.learning_rate, report.grad_norm, format_count(static_cast<int64_t>(report.tokens_per_second)),
        format_bytes(report.peak_memory_bytes), format_duration(report.seconds_left)));
    last_ = report;
  }

  void on_eval(const results::TrainEvaluation& evaluation) override {
    log_info(fmt::format("step {}  held-out loss {:.4f}  perplexity {:.3f}  accuracy {:.4f}", evaluation.step,
                         evaluation.loss, evaluation.perplexity, evaluation.accuracy));
  }

  /// The last step that was logged; nullopt before the first.
  const std::optional<results::TrainStep>& last() const { return last_; }

 private:
  std::optional<results::TrainStep> last_;
};

/// "data: 10 rows of up to 512 tokens; 6 steps of 8 rows, the last of an epoch of 2; 3 epochs".
std::string describe_rows(const train::TrainOptions& options, const train::Trainer& trainer) {
  const train::EpochUpdates& updates = trainer.updates();
  const int64_t num_steps = trainer.max_steps(), last = updates.rows_of_last_update();
  std::string line = fmt::format("data: {} rows of {}{} tokens; {} steps of {} rows",
                                 format_count(trainer.num_rows()), options.supervised ? "up to " : "",
                                 options.model_max_length, num_steps, updates.rows_of_full_update());
  if (num_steps >= updates.updates_per_epoch() && last != updates.rows_of_full_update())
    line += fmt::format(", the last of an epoch of {}", last);
  line += fmt::format("; {:.4g} epochs", updates.epochs_after(num_steps));
  if (updates.dropped_rows() > 0)
    line +=
        fmt::format(" without {} rows that fill no batch (--dataloader_drop_last)", updates.dropped_rows());
  const int64_t rest = trainer.num_tokens() - trainer.num_rows() * options.model_max_length;
  if (!options.supervised && rest > 0) line += fmt::format("; {} tokens at the end fill no row", rest);
  return line;
}

/// Warns where updates change nothing, or where the rate never gets to what was asked for.
void warn_of_idle_run(const train::TrainOptions& options, const train::Trainer& trainer) {
  const double highest = trainer.schedule().highest_learning_rate();
  const int64_t warmup = trainer.schedule().warmup_steps;
  if (highest == 0.0)
    log_warning(fmt::format(
        "nothing can be learned: the learning rate is 0 in all {} steps ({})", trainer.max_steps(),
        options.learning_rate == 0.0 ? std::string("--learning_rate 0")
                                     : fmt::format("a warm-up of {} begins with 0", warmup)));
  else if (trainer.max_steps() <= warmup && highest < options.learning_rate)
    log_warning(fmt::format(
        "all {} steps lie inside the warm-up of {}: the learning rate reaches {:.2e} of {:.2e}; give "
        "fewer warm-up steps",
        trainer.max_steps(), warmup, highest, options.learning_rate));
}

void describe_run(const TrainingArguments& arguments, const model::Decoder& decoder,
                  const train::Trainer& trainer) {
  const train::TrainOptions& options = arguments.options;
  const model::ModelConfig& config = decoder.config;
  const model::ParameterCounts counts = model::count_parameters(decoder);
  const int64_t group = options.group_tokens();
  log_info(fmt::format("model: {}, {} layers, width {}, {} heads ({} key/value), vocabulary {}, {}",
                       config.architecture, config.num_hidden_layers, config.hidden_size,
                       config.num_attention_heads, config.num_key_value_heads, config.vocab_size,
                       tensors::dtype_name(decoder.dtype())));
  if (counts.quantized > 0)
    log_info(fmt::format("4-bit weights: {} of {} parameters in {} ({:.2f} bits each)",
                         format_count(counts.quantized), format_count(counts.total),
                         format_bytes(counts.quantized_bytes), counts.bits_per_quantized()));
  log_info(fmt::format("trainable: {} of {} parameters ({:.2f} %)", format_count(counts.trainable),
                       format_count(counts.total),
                       100.0 * static_cast<double>(counts.trainable) / static_cast<double>(counts.total)));
  if (const std::string dropout = model::unapplied_dropout(config.raw, config.family()); !dropout.empty())
    log_warning(fmt::format("{} of config.json is not applied, as in LongLoRA's training; --lora_dropout is",
                            dropout));
  log_info(fmt::format("window: {} tokens from {}, {}", options.model_max_length, config.original_window(),
                       model::describe_scaling(config.rope_scaling)));
  log_info(group == 0
               ? std::string("attention: full")
               : fmt::format("attention: shifted sparse, groups of {} tokens{}", group,
                             options.full_attention_steps > 0
                                 ? fmt::format(", full in the last {} steps", options.full_attention_steps)
                                 : ""));
  const std::string& asked = arguments.rope_scaling;
  if (!asked.empty() && config.rope_scaling.type == model::RopeType::kDefault)
    log_info(fmt::format("--rope_scaling {} changes nothing: {} tokens lie within the model's window of {}",
                         asked, options.model_max_length, config.original_window()));
  if (options.full_attention_steps >= trainer.max_steps() && group > 0)
    log_warning(fmt::format("--full_attention_steps {} are all {} steps: attention is never sparse",
                            options.full_attention_steps, trainer.max_steps()));
  log_info(describe_rows(options, trainer));
  warn_of_idle_run(options, trainer);
  log_info(fmt::format("predicted memory: {}", trainer.plan().describe()));
}

/// The name of the folder itself, also of "runs/a/" and ".".
std::string folder_name(const std::filesystem::path& folder) {
  const auto path = std::filesystem::absolute(folder).lexically_normal();
  return (path.has_filename() ? path : path.parent_path()).filename().string();
}

void write_run_json(const TrainingArguments& arguments, const model::Decoder& decoder,
                    const train::Trainer& trainer) {
  const train::TrainOptions& options = arguments.options;
  const model::ParameterCounts counts = model::count_parameters(decoder);
  const results::RunDescription run = {
      .verb = arguments.verb,
      .label = arguments.label.empty() ? folder_name(options.output_dir) : arguments.label,
      .version = version(),
      .options = options.to_json(),
      .parameters = counts.total,
      .trainable_parameters = counts.trainable,
      .max_steps = trainer.max_steps(),
      .rows = trainer.num_rows(),
      .steps_per_epoch = trainer.updates().updates_per_epoch(),
      .predicted_memory_bytes = trainer.plan().total_bytes()};
  write_json(options.output_dir / "run.json", run.to_json());
}

void write_result(const TrainingArguments& arguments, const train::Trainer& trainer, bool finished,
                  const std::optional<results::TrainStep>& last) {
  results::TrainingResult result = {.verb = arguments.verb, .finished = finished, .step = trainer.step()};
  if (last) {
    result.loss = last->loss;
    result.tokens = last->tokens;
    result.tokens_per_second = last->tokens_per_second;
    result.seconds = last->seconds;
    result.peak_memory_bytes = last->peak_memory_bytes;
  }
  result.predicted_memory_bytes = trainer.plan().total_bytes();
  result.tile_rows = trainer.plan().tile_rows;
  result.inputs_on_disk = trainer.plan().inputs_on_disk;
  result.weights_streamed = trainer.plan().weights_streamed;
  result.state_on_disk = train::state_name(trainer.plan().state_on_disk);
  write_json(arguments.json, result.to_json());
}

/// The signal that asked the run to stop.
volatile std::sig_atomic_t stop_signal = SIGTERM;

/// SIGTERM and Ctrl-C end the run with a checkpoint; a second Ctrl-C ends it at once.
void stop_on_signals() {
  struct sigaction action = {};
  action.sa_flags = SA_RESTART;
  action.sa_handler = [](int signal) {
    stop_signal = signal;
    train::Trainer::request_stop();
  };
  sigaction(SIGTERM, &action, nullptr);
  action.sa_flags |= SA_RESETHAND;
  action.sa_handler = [](int signal) {
    stop_signal = signal;
    constexpr std::string_view kMessage =
        "stopping with a checkpoint after this step; Ctrl-C again: at once\n";
    (void)!::write(STDERR_FILENO, kMessage.data(), kMessage.size());
    train::Trainer::request_stop();
  };
  sigaction(SIGINT, &action, nullptr);
}

}  // namespace

train::RunFolder claim_outputs(const TrainingArguments& arguments) {
  train::RunFolder folder(arguments.options);
  prepare_output_file({"--json", arguments.json}, train::run_inputs(arguments.options));
  return folder;
}

void run_training(TrainingArguments& arguments, PreparedModel& prepared,
                  std::unique_ptr<const data::TrainingRows> data,
                  std::unique_ptr<const data::TrainingRows> eval_data, const train::MemoryPlan& plan) {
  const train::TrainOptions& options = arguments.options;
  model::Decoder& decoder = prepared.decoder;
  Reporter reporter;
  train::Trainer trainer(options, decoder, std::move(data), std::move(eval_data), reporter, plan,
                         prepared.source);
  describe_run(arguments, decoder, trainer);
  write_run_json(arguments, decoder, trainer);

  stop_on_signals();
  const train::TrainOutcome outcome = trainer.run();
  const bool finished = outcome == train::TrainOutcome::kFinished;
  log_info(finished ? fmt::format("done: the result is in {}", options.output_dir.string())
                    : fmt::format("stopped after step {}: the same command with --resume goes on",
                                  trainer.step()));
  if (!arguments.json.empty()) write_result(arguments, trainer, finished, reporter.last());
  if (!finished) throw StoppedBySignal{stop_signal};
}

}  // namespace longlora::cli
