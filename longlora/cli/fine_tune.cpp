#include <ATen/Parallel.h>
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <memory>

#include "longlora/cli/flags.h"
#include "longlora/cli/option_flags.h"
#include "longlora/cli/training_verb.h"
#include "longlora/cli/verbs.h"
#include "longlora/core/log.h"

namespace longlora::cli {
namespace {

std::unique_ptr<data::TokenData> open_data(const std::vector<std::filesystem::path>& paths,
                                           const train::TrainOptions& options, int64_t vocab_size,
                                           const char* what) {
  bool all_bins = true;
  for (const auto& path : paths) all_bins = all_bins && path.extension() == ".bin";
  const auto tokenizer = find_tokenizer(options, !all_bins);
  auto data = data::open_token_data(paths, {.vocab_size = vocab_size,
                                            .tokenizer = tokenizer.get(),
                                            .text_field = options.text_field,
                                            .bin_type = data::id_type_from_choice(options.bin_dtype),
                                            .num_threads = at::get_num_threads()});
  log_info(fmt::format("{}: {}", what, data->describe()));
  return data;
}

void run_fine_tune(TrainingArguments& arguments) {
  finish_arguments(arguments);
  const train::RunFolder folder = claim_outputs(arguments);
  train::BuiltRun run = build(arguments);
  const train::TrainOptions& options = run.options;
  const int64_t vocab_size = run.decoder.config.vocab_size;
  const auto data = open_data(options.data_path, options, vocab_size, "training data");
  const auto eval_data = options.eval_data_path.empty()
                             ? nullptr
                             : open_data(options.eval_data_path, options, vocab_size, "held-out data");
  run_training(arguments, run, data::consecutive_rows(data.get(), options.model_max_length),
               data::consecutive_rows(eval_data.get(), options.model_max_length));
}

void add_data_flags(CLI::App& verb, train::TrainOptions& options) {
  OptionFlags flags(verb);
  flags.behind("--text_field", [&] { add_bin_dtype(verb, options.bin_dtype); });
  train::DataOptions::list_fields(options, flags);
}

}  // namespace

void add_fine_tune_verb(CLI::App& app) {
  CLI::App& verb = *app.add_subcommand(
      "fine-tune",
      "Extend the context window of a model: shifted sparse attention, LoRA or full fine-tuning");
  auto arguments = std::make_shared<TrainingArguments>();
  arguments->verb = "fine-tune";
  add_trained_model_flags(verb, *arguments);
  add_context_flags(verb, *arguments);
  add_adapter_flags(verb, *arguments);
  add_data_flags(verb, arguments->options);
  add_order_flags(verb, *arguments);
  add_step_flags(verb, *arguments);
  add_output_flags(verb, *arguments);
  verb.callback([arguments, &verb] {
    arguments->given = given_flags(verb);
    run_fine_tune(*arguments);
  });
}

}  // namespace longlora::cli
