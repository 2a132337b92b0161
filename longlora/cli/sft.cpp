#include <ATen/Parallel.h>
#include <fmt/format.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <memory>
#include <utility>

#include "longlora/cli/flags.h"
#include "longlora/cli/instruction_preview.h"
#include "longlora/cli/option_flags.h"
#include "longlora/cli/prompt_flag.h"
#include "longlora/cli/training_verb.h"
#include "longlora/cli/verbs.h"
#include "longlora/core/error.h"
#include "longlora/core/json.h"
#include "longlora/core/log.h"
#include "longlora/results/training_result.h"
#include "longlora/tokenizer/chat_template.h"

namespace longlora::cli {
namespace {

struct SftArguments : TrainingArguments {
  PromptFlags prompt;
  tokenizer::Prompt chosen_prompt = tokenizer::PromptForm::kLlama2;
  std::string order = "random";
  int64_t preview = 0;
};

void finish_sft_arguments(SftArguments& arguments) {
  train::TrainOptions& options = arguments.options;
  options.shuffle = arguments.order != "sequential";
  options.group_by_length = arguments.order == "length";
  set_tokenizer_path(options);
}

// The date that the templates of a run in this folder write; empty where there is none.
std::string date_of_run(const std::filesystem::path& folder) {
  const std::filesystem::path path = folder / "run.json";
  if (!std::filesystem::exists(path)) return "";
  const Json options = results::RunDescription::from_json(read_json(path), path.string()).options;
  return options.is_object() ? options.value("prompt_date", "") : "";
}

void choose_form(SftArguments& arguments, const tokenizer::Tokenizer& tokenizer) {
  train::TrainOptions& options = arguments.options;
  // A run that is resumed on another day goes on with the samples that it began with.
  if (options.resume && arguments.prompt.date.empty())
    arguments.prompt.date = date_of_run(options.output_dir);
  arguments.chosen_prompt =
      choose_prompt({arguments.prompt, options.model_name_or_path, options.peft_model, options.tokenizer_path,
                     tokenizer::find_chat_template({options.tokenizer_path, options.model_name_or_path})},
                    tokenizer);
  options.prompt = arguments.chosen_prompt.form();
  options.prompt_date = arguments.chosen_prompt.date();
}

data::InstructionSet read_set(const SftArguments& arguments, const std::vector<std::filesystem::path>& paths,
                              const tokenizer::Tokenizer& tokenizer, int64_t vocab_size) {
  const train::TrainOptions& options = arguments.options;
  return data::read_instruction_set(paths, {.tokenizer = &tokenizer,
                                            .prompt = arguments.chosen_prompt,
                                            .truncation = options.truncation,
                                            .max_tokens = options.model_max_length,
                                            .vocab_size = vocab_size,
                                            .skip_bad_samples = options.skip_bad_samples,
                                            .cache = options.cache_tokens,
                                            .num_threads = at::get_num_threads()});
}

std::unique_ptr<const data::InstructionRows> read_rows(const SftArguments& arguments,
                                                       const std::vector<std::filesystem::path>& paths,
                                                       const tokenizer::Tokenizer& tokenizer,
                                                       int64_t vocab_size, const char* what) {
  const train::TrainOptions& options = arguments.options;
  data::Packing packing = options.shuffle ? data::Packing::kBestFit : data::Packing::kInOrder;
  if (!options.packing) packing = data::Packing::kNone;
  auto rows = std::make_unique<const data::InstructionRows>(read_set(arguments, paths, tokenizer, vocab_size),
                                                            options.model_max_length, packing);
  log_info(fmt::format("{}: {}", what, rows->set().describe()));
  return rows;
}

// Prints the first samples instead of training.
void preview(SftArguments& arguments) {
  const train::TrainOptions& options = arguments.options;
  if (options.data_path.empty() || options.tokenizer_path.empty() || options.model_max_length < 2)
    throw UsageError(
        "[--preview] expected --data_path, --model_max_length and --model_name_or_path or "
        "--tokenizer, got less");
  const auto tokenizer = find_tokenizer(options, /*needed=*/true);
  choose_form(arguments, *tokenizer);
  const data::InstructionSet set =
      read_set(arguments, options.data_path, *tokenizer, tokenizer->vocab_size());
  log_info(set.describe());
  const auto count = std::min(static_cast<size_t>(arguments.preview), set.samples.size());
  for (size_t i = 0; i < count; ++i)
    fmt::print("{}\n", describe_sample(set, i, *tokenizer, ::isatty(STDOUT_FILENO) != 0));
}

void run_sft(SftArguments& arguments) {
  finish_sft_arguments(arguments);
  if (arguments.preview > 0) return preview(arguments);
  finish_arguments(arguments);
  const train::TrainOptions& options = arguments.options;
  const train::RunFolder folder = claim_outputs(arguments);
  // The data are read first, so that their faults show before a model is loaded.
  const auto tokenizer = find_tokenizer(options, /*needed=*/true);
  choose_form(arguments, *tokenizer);
  const auto config = options.init_random ? options.config_file : options.model_name_or_path;
  const int64_t vocab_size = model::read_model_config(config).vocab_size;
  auto rows = read_rows(arguments, options.data_path, *tokenizer, vocab_size, "training data");
  std::unique_ptr<const data::InstructionRows> eval_rows;
  if (!options.eval_data_path.empty())
    eval_rows = read_rows(arguments, options.eval_data_path, *tokenizer, vocab_size, "held-out data");
  train::BuiltRun run = build(arguments);
  run_training(arguments, run, std::move(rows), std::move(eval_rows));
}

void add_data_flags(CLI::App& verb, SftArguments& arguments) {
  OptionFlags flags(verb);
  flags.behind("--eval_data_path", [&] { add_prompt_flags(verb, arguments.prompt); });
  flags.behind("--packing", [&] {
    verb.add_option("--order", arguments.order,
                    "random; sequential: as in the files; length: like lengths together")
        ->check(CLI::IsMember({"random", "sequential", "length"}))
        ->capture_default_str();
  });
  train::DataOptions::list_fields(arguments.options, flags);
  verb.add_option("--preview", arguments.preview,
                  "Print this many samples with what is learned marked, and do not train")
      ->check(at_least(0));
}

}  // namespace

void add_sft_verb(CLI::App& app) {
  CLI::App& verb = *app.add_subcommand(
      "sft", "Teach a model to answer: supervised fine-tuning on long questions and answers");
  auto arguments = std::make_shared<SftArguments>();
  arguments->verb = "sft";
  arguments->options.supervised = true;
  add_trained_model_flags(verb, *arguments);
  add_context_flags(verb, *arguments);
  add_adapter_flags(verb, *arguments);
  add_data_flags(verb, *arguments);
  add_order_flags(verb, *arguments);
  add_step_flags(verb, *arguments);
  add_output_flags(verb, *arguments);
  verb.callback([arguments, &verb] {
    arguments->given = given_flags(verb);
    run_sft(*arguments);
  });
}

}  // namespace longlora::cli
