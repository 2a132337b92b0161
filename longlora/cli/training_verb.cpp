#include <fmt/format.h>
#include <fmt/ranges.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <charconv>
#include <csignal>
#include <memory>
#include <optional>
#include <string_view>

#include "longlora/cli/flags.h"
#include "longlora/cli/model_flags.h"
#include "longlora/cli/training_verb.h"
#include "longlora/core/error.h"
#include "longlora/core/log.h"
#include "longlora/core/progress.h"
#include "longlora/model/adapter.h"
#include "longlora/model/family.h"
#include "longlora/model/load.h"
#include "longlora/report/tensorboard.h"
#include "longlora/train/trainer.h"

namespace longlora::cli {

namespace {

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

void finish_arguments(TrainingArguments& arguments) {
  train::TrainOptions& options = arguments.options;
  options.init_random = arguments.init == "random";
  if (arguments.attention_init == "mimetic") options.attention_init = model::AttentionInit::kMimetic;
  options.fp32 = options.fp32 || !arguments.bf16;
  options.attention =
      arguments.attention == "full" ? train::AttentionKind::kFull : train::AttentionKind::kShiftedSparse;
  options.schedule = train::schedule_from_name(arguments.schedule);
  if (arguments.gradient_checkpointing == "true") options.recompute = train::Recompute::kAlways;
  if (arguments.gradient_checkpointing == "false") options.recompute = train::Recompute::kNever;
  if (arguments.save_strategy == "no") options.save_steps = 0;
  if (arguments.evaluation_strategy == "no") options.eval_steps = 0;
  if (arguments.evaluation_strategy == "steps" && options.eval_steps == 0) options.eval_steps = 500;
  if (options.tokenizer_path.empty()) options.tokenizer_path = options.model_name_or_path;
  options.memory_budget_bytes = static_cast<int64_t>(arguments.memory_budget_gib * 1024.0 * 1024.0 * 1024.0);
  set_group_size(arguments.group_size, options);
  train::validate(options);
}

model::Decoder prepare_decoder(TrainingArguments& arguments) {
  train::TrainOptions& options = arguments.options;
  const at::ScalarType dtype = options.fp32 ? at::kFloat : at::kBFloat16;
  model::Decoder decoder =
      options.init_random ? model::random_decoder(model::read_model_config(options.config_file), dtype,
                                                  options.seed, options.attention_init)
                          : model::load_with_adapter(options.model_name_or_path, options.peft_model, dtype);
  model::stretch_window(decoder.config, asked_rope_scaling(arguments.rope_scaling), options.model_max_length);
  if (decoder.config.rope_scaling.type != model::RopeType::kDefault)
    options.rope_scaling = decoder.config.rope_scaling.type;
  if (options.low_rank_training) {
    if (!options.peft_model.empty())
      options.lora = checkpoint::PeftAdapter::open(options.peft_model).config();
    if (options.lora.target_modules == std::vector<std::string>{"all-linear"})
      options.lora.target_modules = model::linear_names(decoder);
    if (options.lora.target_modules.empty())
      options.lora.target_modules = decoder.config.family().lora_targets;
    if (options.peft_model.empty()) model::add_lora(decoder, options.lora, options.seed);
    model::train_adapter(decoder, options.trainable_params);
  } else {
    model::train_everything(decoder);
  }
  if (!options.init_random) model::load_masters(decoder, options.model_name_or_path, options.peft_model);
  return decoder;
}

std::unique_ptr<tokenizer::Tokenizer> find_tokenizer(const train::TrainOptions& options, bool needed) {
  if (options.tokenizer_path.empty() && !needed) return nullptr;
  const bool has_model = tokenizer::has_tokenizer(options.tokenizer_path) ||
                         std::filesystem::is_regular_file(options.tokenizer_path);
  return needed || has_model ? tokenizer::load_tokenizer(options.tokenizer_path) : nullptr;
}

namespace {

/// One line per step on the terminal, and TensorBoard's event files.
class Reporter : public train::TrainObserver {
 public:
  explicit Reporter(const std::filesystem::path& directory) : directory_(directory / "runs") {}

  void on_step(const train::StepReport& report) override {
    if (!events_) events_.emplace(directory_, report.step);
    log_info(
        fmt::format("step {}/{}  loss {:.4f}  lr {:.2e}  grad norm {:.3f}  {} tokens/s  peak {}  {} left",
                    report.step, report.max_steps, report.loss, report.learning_rate, report.grad_norm,
                    format_count(static_cast<int64_t>(report.tokens_per_second)),
                    format_bytes(report.peak_memory_bytes), format_duration(report.seconds_left)));
    events_->scalar("train/loss", report.loss, report.step);
    events_->scalar("train/learning_rate", report.learning_rate, report.step);
    events_->scalar("train/grad_norm", report.grad_norm, report.step);
    events_->scalar("train/tokens_per_second", report.tokens_per_second, report.step);
    events_->flush();
    last_ = report;
  }

  void on_eval(const train::EvalReport& report) override {
    log_info(fmt::format("step {}  held-out loss {:.4f}  perplexity {:.3f}  accuracy {:.4f}", report.step,
                         report.loss, report.perplexity, report.accuracy));
    if (!events_) return;
    events_->scalar("eval/loss", report.loss, report.step);
    events_->scalar("eval/perplexity", report.perplexity, report.step);
    events_->flush();
  }

  const train::StepReport& last() const { return last_; }

 private:
  std::filesystem::path directory_;
  std::optional<report::TensorBoardWriter> events_;
  train::StepReport last_;
};

void describe_run(const train::TrainOptions& options, const model::Decoder& decoder,
                  const train::Trainer& trainer) {
  const model::ModelConfig& config = decoder.config;
  const model::ParameterCounts counts = model::count_parameters(decoder);
  const int64_t group = options.group_tokens();
  log_info(fmt::format("model: {}, {} layers, width {}, {} heads ({} key/value), vocabulary {}, {}",
                       config.architecture, config.num_hidden_layers, config.hidden_size,
                       config.num_attention_heads, config.num_key_value_heads, config.vocab_size,
                       model::dtype_name(decoder.dtype())));
  log_info(fmt::format("trainable: {} of {} parameters ({:.2f} %)", format_count(counts.trainable),
                       format_count(counts.total),
                       100.0 * static_cast<double>(counts.trainable) / static_cast<double>(counts.total)));
  log_info(fmt::format("window: {} tokens from {}, {}", options.model_max_length, config.original_window(),
                       model::describe_scaling(config.rope_scaling)));
  log_info(group == 0
               ? std::string("attention: full")
               : fmt::format("attention: shifted sparse, groups of {} tokens{}", group,
                             options.full_attention_steps > 0
                                 ? fmt::format(", full in the last {} steps", options.full_attention_steps)
                                 : ""));
  log_info(fmt::format("data: {} rows of {}{} tokens; {} steps of {} rows", format_count(trainer.num_rows()),
                       options.supervised ? "up to " : "", options.model_max_length, trainer.max_steps(),
                       options.per_device_train_batch_size * options.gradient_accumulation_steps));
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
  const std::string label = arguments.label.empty() ? folder_name(options.output_dir) : arguments.label;
  write_json(options.output_dir / "run.json", {{"verb", arguments.verb},
                                               {"label", label},
                                               {"version", version()},
                                               {"options", options.to_json()},
                                               {"parameters", counts.total},
                                               {"trainable_parameters", counts.trainable},
                                               {"max_steps", trainer.max_steps()},
                                               {"predicted_memory_bytes", trainer.plan().total_bytes()}});
}

/// SIGTERM and Ctrl-C end the run with a checkpoint; a second Ctrl-C ends it at once.
void stop_on_signals() {
  struct sigaction action = {};
  action.sa_flags = SA_RESTART;
  action.sa_handler = [](int) { train::Trainer::request_stop(); };
  sigaction(SIGTERM, &action, nullptr);
  action.sa_flags |= SA_RESETHAND;
  action.sa_handler = [](int) {
    constexpr std::string_view kMessage =
        "stopping with a checkpoint after this step; Ctrl-C again: at once\n";
    (void)!::write(STDERR_FILENO, kMessage.data(), kMessage.size());
    train::Trainer::request_stop();
  };
  sigaction(SIGINT, &action, nullptr);
}

}  // namespace

void run_training(TrainingArguments& arguments, model::Decoder& decoder,
                  std::unique_ptr<const data::TrainingRows> data,
                  std::unique_ptr<const data::TrainingRows> eval_data) {
  const train::TrainOptions& options = arguments.options;
  Reporter reporter(options.output_dir);
  train::Trainer trainer(options, decoder, std::move(data), std::move(eval_data), reporter);
  describe_run(options, decoder, trainer);
  write_run_json(arguments, decoder, trainer);

  stop_on_signals();
  const train::TrainOutcome outcome = trainer.run();
  const bool finished = outcome == train::TrainOutcome::kFinished;
  log_info(finished ? fmt::format("done: the result is in {}", options.output_dir.string())
                    : fmt::format("stopped after step {}: the same command with --resume goes on",
                                  trainer.step()));
  if (!arguments.json.empty())
    write_json(arguments.json, {{"verb", arguments.verb},
                                {"finished", finished},
                                {"step", trainer.step()},
                                {"loss", reporter.last().loss},
                                {"tokens", reporter.last().tokens},
                                {"tokens_per_second", reporter.last().tokens_per_second},
                                {"seconds", reporter.last().seconds},
                                {"peak_memory_bytes", reporter.last().peak_memory_bytes},
                                {"predicted_memory_bytes", trainer.plan().total_bytes()}});
}

void add_model_flags(CLI::App& verb, TrainingArguments& arguments) {
  train::TrainOptions& options = arguments.options;
  verb.add_option("--model_name_or_path", options.model_name_or_path, "Hugging Face directory to start from");
  verb.add_option("--init", arguments.init,
                  "Where weights come from: pretrained, or random to train from nothing")
      ->check(CLI::IsMember({"pretrained", "random"}))
      ->capture_default_str();
  verb.add_option("--attention_init", arguments.attention_init,
                  "How --init random begins attention: normal, or mimetic (queries like keys, the output the "
                  "transpose of the values: small models learn to copy sooner)")
      ->check(CLI::IsMember({"normal", "mimetic"}))
      ->capture_default_str();
  verb.add_option("--config", options.config_file, "config.json of a model trained from nothing");
  verb.add_option("--tokenizer", options.tokenizer_path,
                  "Tokenizer for text data (default: the model's directory)");
  verb.add_option("--peft_model", options.peft_model, "Go on from this adapter directory");
  add_bool(verb, "--bf16", arguments.bf16, "Compute in bfloat16, with float32 master weights");
  add_bool(verb, "--fp32", options.fp32, "Compute in float32");
}

void add_context_flags(CLI::App& verb, TrainingArguments& arguments) {
  train::TrainOptions& options = arguments.options;
  verb.add_option("--model_max_length", options.model_max_length, "Tokens of a row: the window to train for")
      ->required();
  verb.add_option("--rope_scaling", arguments.rope_scaling,
                  "How positions are stretched when the window is longer than the model's "
                  "(default: the kind the model carries, else linear)")
      ->check(CLI::IsMember(model::extension_rope_types()));
  verb.add_option("--attention", arguments.attention,
                  "s2: shifted sparse attention; full: every token sees all before it")
      ->check(CLI::IsMember({"s2", "full"}))
      ->capture_default_str();
  verb.add_option("--group_size_ratio", options.group_size_ratio, "Group size of s2 as a share of the row")
      ->capture_default_str();
  verb.add_option(
      "--group_size", arguments.group_size,
      "Group size of s2 in tokens (default: from the ratio); reference-sft: a quarter of a sample "
      "whose length 4096 divides, else 8192, as the released supervised fine-tuning");
  verb.add_option("--full_attention_steps", options.full_attention_steps,
                  "Use full attention in this many steps at the end")
      ->capture_default_str();
}

void add_adapter_flags(CLI::App& verb, TrainingArguments& arguments) {
  train::TrainOptions& options = arguments.options;
  add_bool(verb, "--low_rank_training", options.low_rank_training,
           "Train low-rank pairs and --trainable_params alone; False trains every weight");
  add_list(verb, "--trainable_params", options.trainable_params,
           "Also train parameters whose names contain one of these");
  verb.add_option("--lora_r", options.lora.rank, "Rank of the low-rank pairs")->capture_default_str();
  verb.add_option("--lora_alpha", options.lora.alpha, "Their scale times the rank")->capture_default_str();
  options.lora.target_modules.clear();  // prepare_decoder fills in those of the model's family
  add_list(
      verb, "--lora_target_modules", options.lora.target_modules,
      "Linear layers that get a pair, or all-linear (default: the attention's: q_proj,k_proj,v_proj,o_proj; "
      "GPT-NeoX: query_key_value,dense; Phi-3: qkv_proj,o_proj)");
  add_bool(verb, "--use_rslora", options.lora.use_rslora,
           "Scale the pairs by alpha / sqrt(rank), not alpha / rank");
  verb.add_option("--loraplus_lr_ratio", options.adamw.loraplus_lr_ratio,
                  "Learning rate of the pairs' B as a multiple of the rest's (LoRA+ of arXiv 2402.12354)")
      ->capture_default_str();
  verb.add_option("--neftune_noise_alpha", options.neftune_noise_alpha,
                  "Add noise of this size to the embeddings in training (NEFTune); 0: none")
      ->capture_default_str();
}

void add_step_flags(CLI::App& verb, TrainingArguments& arguments) {
  train::TrainOptions& options = arguments.options;
  verb.add_option("--max_steps", options.max_steps, "Updates to make (default: from --num_train_epochs)");
  verb.add_option("--num_train_epochs", options.num_train_epochs, "Passes over the data")
      ->capture_default_str();
  verb.add_option("--per_device_train_batch_size", options.per_device_train_batch_size,
                  "Rows computed at once")
      ->capture_default_str();
  verb.add_option("--per_device_eval_batch_size", options.per_device_eval_batch_size,
                  "The same in evaluation")
      ->capture_default_str();
  verb.add_option("--gradient_accumulation_steps", options.gradient_accumulation_steps,
                  "Batches summed into one update")
      ->capture_default_str();
  verb.add_option("--learning_rate", options.learning_rate, "Peak learning rate")->capture_default_str();
  verb.add_option("--lr_scheduler_type", arguments.schedule, "constant_with_warmup, linear or cosine")
      ->capture_default_str();
  verb.add_option("--warmup_steps", options.warmup_steps, "Updates over which the rate rises from 0")
      ->capture_default_str();
  verb.add_option("--weight_decay", options.adamw.weight_decay, "AdamW's decay (vectors are exempt)")
      ->capture_default_str();
  verb.add_option("--adam_beta1", options.adamw.beta1, "AdamW's first moment decay")->capture_default_str();
  verb.add_option("--adam_beta2", options.adamw.beta2, "AdamW's second moment decay")->capture_default_str();
  verb.add_option("--adam_epsilon", options.adamw.epsilon, "AdamW's epsilon")->capture_default_str();
  verb.add_option("--max_grad_norm", options.max_grad_norm, "Clip the gradient to this norm; 0: never")
      ->capture_default_str();
  verb.add_option("--gradient_checkpointing", arguments.gradient_checkpointing,
                  "Recompute layers in backward: true, false, or auto as memory allows")
      ->transform(CLI::IsMember({"auto", "true", "false"}, CLI::ignore_case))
      ->capture_default_str();
  verb.add_option("--memory_budget", arguments.memory_budget_gib,
                  "GiB the run may take (default: 80 % of what is free)");
}

void add_output_flags(CLI::App& verb, TrainingArguments& arguments) {
  train::TrainOptions& options = arguments.options;
  verb.add_option("--output_dir", options.output_dir, "Where checkpoints, logs and the result go (needed)");
  add_bool(verb, "--resume", options.resume,
           "Go on from the newest checkpoint of --output_dir, if there is one");
  add_bool(verb, "--overwrite_output_dir", options.overwrite_output_dir,
           "Discard the checkpoints of an earlier run");
  verb.add_option("--save_strategy", arguments.save_strategy, "steps, or no: at the end and on signals alone")
      ->check(CLI::IsMember({"steps", "no"}))
      ->capture_default_str();
  verb.add_option("--save_steps", options.save_steps, "Updates between checkpoints; 0: none")
      ->capture_default_str();
  verb.add_option("--save_total_limit", options.save_total_limit, "Checkpoints to keep; 0: all")
      ->capture_default_str();
  verb.add_option("--evaluation_strategy,--eval_strategy", arguments.evaluation_strategy,
                  "no, or steps: every --eval_steps")
      ->check(CLI::IsMember({"no", "steps"}));
  verb.add_option("--eval_steps", options.eval_steps,
                  "Updates between evaluations on --eval_data_path; 0: none")
      ->capture_default_str();
  verb.add_option("--logging_steps", options.logging_steps, "Updates between progress lines")
      ->capture_default_str();
  verb.add_option("--label,--run_name", arguments.label,
                  "Name of the run in reports (default: the name of --output_dir)");
  verb.add_option("--json", arguments.json, "Write the outcome to this file");
}

void add_released_flags(CLI::App& verb) {
  add_ignored(verb, "--cache_dir", "nothing is downloaded");
  add_ignored(verb, "--use_flash_attn", "attention never materialises its matrix");
  add_ignored(verb, "--deepspeed", "this version trains in one process");
  add_ignored(verb, "--tf32", "there is no TF32 on a CPU");
  add_ignored(verb, "--ddp_timeout", "this version trains in one process");
  add_ignored(verb, "--report_to", "TensorBoard files and train_log.jsonl are always written");
}

}  // namespace longlora::cli
