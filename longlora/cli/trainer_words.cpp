// Reads flags by which Hugging Face's Trainer and the released scripts state options in other words.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cctype>
#include <cmath>

#include "longlora/cli/flags.h"
#include "longlora/cli/option_flags.h"
#include "longlora/cli/training_verb.h"
#include "longlora/core/error.h"
#include "longlora/core/file.h"

namespace longlora::cli {
namespace {

namespace fs = std::filesystem;

constexpr const char* kCheckpointPrefix = "checkpoint-";

// Sets how many updates are warm-up, or which share of all, as the Trainer reads the two flags.
void set_warmup(const TrainingArguments& arguments, train::TrainOptions& options) {
  if (!arguments.warmup_steps && !arguments.warmup_ratio) return;
  const double steps = arguments.warmup_steps.value_or(0.0);
  const bool is_share = steps < 1.0;
  if (!is_share && (steps != std::floor(steps) || steps > 1e15))
    throw UsageError(fmt::format(
        "[--warmup_steps] expected a whole number of updates, or a share of them below 1, got {}", steps));
  options.warmup_steps = is_share ? 0 : static_cast<int64_t>(steps);
  options.warmup_ratio = is_share ? (steps > 0.0 ? steps : arguments.warmup_ratio.value_or(0.0)) : 0.0;
}

void set_order(const TrainingArguments& arguments, train::TrainOptions& options) {
  const std::string& sampling = arguments.group_by_length ? "group_by_length" : arguments.sampling;
  if (sampling.empty()) return;
  options.shuffle = sampling != "sequential";
  // All rows of fine-tune have one length, so that it has nothing to group.
  options.group_by_length = options.supervised && sampling == "group_by_length";
}

// Throws UsageError unless `asked` is the newest checkpoint in the run's own folder, which is the one that
// --resume takes.
void check_resumed_path(const fs::path& asked, const fs::path& output_dir) {
  const fs::path path = asked.has_filename() ? asked : asked.parent_path();
  const auto number_of = [](const fs::path& checkpoint) {
    const std::string name = checkpoint.filename().string();
    const bool is_one =
        name.starts_with(kCheckpointPrefix) && name.find_first_not_of("0123456789", 11) == std::string::npos;
    return is_one && name.size() > 11 && name.size() < 29 ? std::stoll(name.substr(11)) : -1;
  };
  std::error_code ignored;
  const bool is_own = fs::equivalent(path.has_parent_path() ? path.parent_path() : ".", output_dir, ignored);
  int64_t newest = -1;
  if (is_own)
    for (const fs::path& entry : list_directory(output_dir))
      newest = std::max<int64_t>(newest, number_of(entry));
  if (is_own && newest >= 0 && number_of(path) == newest) return;
  throw UsageError(
      fmt::format("[--resume_from_checkpoint] expected True or the newest checkpoint-N of --output_dir, got "
                  "{}; a run goes "
                  "on from its own newest checkpoint: --resume True",
                  asked.string()));
}

void set_resumption(const TrainingArguments& arguments, train::TrainOptions& options) {
  std::string word = arguments.resume_from_checkpoint;
  std::transform(word.begin(), word.end(), word.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  if (word == "false" || word == "none" || word == "no" || word == "0") return;
  const bool is_path = !word.empty() && word != "true" && word != "yes" && word != "1";
  if (is_path) check_resumed_path(arguments.resume_from_checkpoint, options.output_dir);
  options.resume = true;
}

}  // namespace

void add_order_flags(CLI::App& verb, TrainingArguments& arguments) {
  OptionFlags flags(verb);
  train::SeedOptions::list_fields(arguments.options, flags);
  CLI::Option* sampling = verb.add_option("--train_sampling_strategy", arguments.sampling,
                                          "The order of rows in the Trainer's words")
                              ->check(CLI::IsMember({"random", "sequential", "group_by_length"}));
  CLI::Option* grouped = add_bool(verb, "--group_by_length", arguments.group_by_length,
                                  "Like lengths together, where rows differ in length");
  for (const char* own : {"--shuffle", "--order"})
    if (CLI::Option* option = verb.get_option_no_throw(own)) {
      sampling->excludes(option);
      grouped->excludes(option);
    }
  grouped->excludes(sampling);
}

void apply_trainer_words(TrainingArguments& arguments) {
  train::TrainOptions& options = arguments.options;
  set_warmup(arguments, options);
  set_order(arguments, options);
  set_resumption(arguments, options);
  if (arguments.use_full_attn) options.attention = train::AttentionKind::kFull;
  if (arguments.use_cpu) arguments.device.device = "cpu";
  if (options.max_steps == -1) options.max_steps = 0;
  if (options.save_total_limit == -1) options.save_total_limit = 0;
}

void check_model_type(const std::string& asked, const model::ModelConfig& config) {
  const bool is_neox = config.architecture.starts_with("GPTNeoX");
  const bool asks_neox = asked == "gpt-neox" || asked == "gpt_neox";
  const auto found = config.raw.find("model_type");
  const bool is_said = found != config.raw.end() && found->is_string();
  const std::string own = is_said ? found->get<std::string>() : is_neox ? "gpt_neox" : "llama";
  // The released scripts know two types: gpt-neox, and llama for all others that attend as Llama does.
  if (asked.empty() || asked == own || (asks_neox ? is_neox : asked == "llama" && !is_neox)) return;
  throw UsageError(fmt::format(
      "[--model_type] expected what the model's config.json says ({}), got {}; leave the flag out", own,
      asked));
}

}  // namespace longlora::cli
