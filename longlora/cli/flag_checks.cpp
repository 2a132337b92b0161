#include "longlora/cli/flag_checks.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <set>

#include "longlora/cli/flags.h"
#include "longlora/core/error.h"
#include "longlora/model/adapter.h"

namespace longlora::cli {
namespace {

// The flags that were given, and a line for each of them that is wrong.
class Flags {
 public:
  explicit Flags(const TrainingArguments& arguments) : given_(arguments.given) {}

  bool has(const std::string& flag) const { return given_.count(flag) != 0; }
  // Adds a line where `holds` is true and the flag was given.
  void note(bool holds, const std::string& flag, const std::string& why) {
    if (holds && has(flag)) lines_.push_back(fmt::format("{} {}", flag, why));
  }
  std::vector<std::string> take() { return std::move(lines_); }

 private:
  const std::set<std::string>& given_;
  std::vector<std::string> lines_;
};

void refuse_of_full_training(const TrainingArguments& arguments, Flags& flags) {
  const train::TrainOptions& options = arguments.options;
  if (options.low_rank_training) return;
  const char* of_pairs = "is of low-rank pairs: it needs --low_rank_training True";
  for (const char* flag : {"--lora_r", "--lora_alpha", "--lora_target_modules"})
    flags.note(true, flag, of_pairs);
  flags.note(options.lora.use_rslora, "--use_rslora", of_pairs);
  flags.note(options.adamw.loraplus_lr_ratio != 1.0, "--loraplus_lr_ratio", of_pairs);
  flags.note(!parameter_patterns(options.trainable_params).empty(), "--trainable_params",
             "says what trains beside low-rank pairs: --low_rank_training False trains every weight");
}

void refuse_of_attention(const TrainingArguments& arguments, Flags& flags) {
  const bool is_full = arguments.options.attention == train::AttentionKind::kFull;
  for (const char* flag : {"--group_size", "--group_size_ratio"})
    flags.note(is_full, flag, "is of shifted sparse attention: it needs --attention s2");
  flags.note(is_full && arguments.options.full_attention_steps > 0, "--full_attention_steps",
             "ends a sparse run: with --attention full every step has full attention");
  flags.note(flags.has("--group_size") && !is_full, "--group_size_ratio",
             "and --group_size both say the size of a group: give one");
}

void refuse_of_output(const TrainingArguments& arguments, Flags& flags) {
  const train::TrainOptions& options = arguments.options;
  flags.note(arguments.save_strategy == "no" && options.save_steps > 0, "--save_steps",
             "contradicts --save_strategy no, which saves at the end and on signals alone");
  flags.note(arguments.evaluation_strategy == "no" && options.eval_steps > 0, "--eval_steps",
             "contradicts --evaluation_strategy no");
  flags.note(arguments.evaluation_strategy == "steps" && options.eval_data_path.empty(),
             flags.has("--evaluation_strategy") ? "--evaluation_strategy" : "--eval_strategy",
             "steps needs --eval_data_path, held-out data");
  flags.note(options.resume && options.overwrite_output_dir, "--resume",
             "goes on with what --overwrite_output_dir discards: give one");
}

// Returns the names of the linear layers that get a pair.
std::set<std::string> layers_with_pairs(const model::Decoder& shape, checkpoint::LoraConfig config) {
  model::choose_targets(shape, config);
  std::set<std::string> names;
  model::visit_linears(shape, [&](const std::string& name, const model::Linear&) {
    if (config.targets(name)) names.insert(name);
  });
  return names;
}

}  // namespace

std::vector<std::string> refused_flags(const TrainingArguments& arguments) {
  Flags flags(arguments);
  flags.note(arguments.bf16 && arguments.options.fp32 && flags.has("--bf16"), "--fp32",
             "and --bf16 both say what is computed in: give one");
  flags.note(!arguments.bf16 && !arguments.options.fp32 && flags.has("--fp32"), "--bf16",
             "False and --fp32 False leave nothing to compute in: give one of them as True");
  refuse_of_full_training(arguments, flags);
  refuse_of_attention(arguments, flags);
  refuse_of_output(arguments, flags);
  return flags.take();
}

std::vector<std::string> idle_flags(const TrainingArguments& arguments) {
  const train::TrainOptions& options = arguments.options;
  const bool all_ids =
      std::all_of(options.data_path.begin(), options.data_path.end(),
                  [](const std::filesystem::path& path) { return path.extension() == ".bin"; });
  Flags flags(arguments);
  flags.note(options.max_steps > 0, "--num_train_epochs", "changes nothing: --max_steps decides");
  flags.note(options.eval_data_path.empty(), "--per_device_eval_batch_size",
             "changes nothing without --eval_data_path");
  flags.note(options.eval_steps == 0, "--eval_data_path", "is not evaluated, as was asked for");
  flags.note(arguments.save_strategy == "no", "--save_total_limit",
             "counts the checkpoints of signals and of the end alone: --save_strategy is no");
  flags.note(all_ids, "--text_field", "changes nothing: .bin files hold no text");
  flags.note(!options.device.is_cpu(), "--scratch_dir", "changes nothing: a GPU's run uses no disk");
  flags.note(options.device.is_cpu(), "--attention_backend", "changes nothing: it is a GPU's");
  return flags.take();
}

void check_adapter_flags(const TrainingArguments& arguments, const checkpoint::PeftAdapter& adapter,
                         const model::Decoder& shape) {
  const checkpoint::LoraConfig& present = adapter.config();
  const checkpoint::LoraConfig& asked = arguments.options.lora;
  Flags flags(arguments);
  const auto compare = [&](const char* flag, const auto& mine, const auto& its) {
    flags.note(mine != its, flag, fmt::format("{}: the adapter has {}", mine, its));
  };
  compare("--lora_r", asked.rank, present.rank);
  compare("--lora_alpha", asked.alpha, present.alpha);
  compare("--use_rslora", asked.use_rslora, present.use_rslora);
  compare("--use_dora", asked.use_dora, present.use_dora);
  const std::set<std::string> layers(adapter.modules().begin(), adapter.modules().end());
  if (flags.has("--lora_target_modules") && layers_with_pairs(shape, asked) != layers)
    flags.note(
        true, "--lora_target_modules",
        present.target_pattern.empty()
            ? fmt::format("names other layers than the adapter's {}", fmt::join(present.target_modules, ","))
            : fmt::format("names other layers than the adapter's {}", present.target_pattern));
  const auto problems = flags.take();
  if (problems.empty()) return;
  throw UsageError(
      fmt::format("[--peft_model {}] expected flags as the adapter has them, since its pairs go on as they "
                  "are, got {}; leave "
                  "them out, or merge the adapter into the base and train a new one",
                  arguments.options.peft_model.string(), fmt::join(problems, "; ")));
}

}  // namespace longlora::cli
