#include "longlora/cli/run_description.h"

#include <fmt/format.h>

#include "longlora/core/format.h"
#include "longlora/core/log.h"
#include "longlora/model/config_fields.h"
#include "longlora/tensors/dtypes.h"

namespace longlora::cli {
namespace {

// Describes the data: "data: 10 rows of up to 512 tokens; 6 steps of 8 rows, the last of an epoch of 2; 3
// epochs".
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

// Warns where updates change nothing, or where the learning rate never reaches the one that was asked for.
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

}  // namespace

void describe_run(const TrainingArguments& arguments, const train::BuiltRun& run,
                  const train::Trainer& trainer) {
  const train::TrainOptions& options = run.options;
  const model::ModelConfig& config = run.decoder.config;
  const model::ParameterCounts counts = model::count_parameters(run.decoder);
  const int64_t group = options.group_tokens();
  log_info(fmt::format("model: {}, {} layers, width {}, {} heads ({} key/value), vocabulary {}, {}",
                       config.architecture, config.num_hidden_layers, config.hidden_size,
                       config.num_attention_heads, config.num_key_value_heads, config.vocab_size,
                       tensors::dtype_name(run.decoder.dtype())));
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
  const auto& asked = arguments.options.rope_scaling;
  if (asked && config.rope_scaling.type == model::RopeType::kDefault)
    log_info(fmt::format("--rope_scaling {} changes nothing: {} tokens lie within the model's window of {}",
                         model::rope_type_name(*asked), options.model_max_length, config.original_window()));
  if (options.full_attention_steps >= trainer.max_steps() && group > 0)
    log_warning(fmt::format("--full_attention_steps {} are all {} steps: attention is never sparse",
                            options.full_attention_steps, trainer.max_steps()));
  log_info(describe_rows(options, trainer));
  warn_of_idle_run(options, trainer);
  log_info(fmt::format("predicted memory: {}", trainer.plan().describe()));
}

}  // namespace longlora::cli
