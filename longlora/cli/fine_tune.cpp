#include <ATen/Parallel.h>
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <memory>

#include "longlora/cli/flags.h"
#include "longlora/cli/training_verb.h"
#include "longlora/cli/verbs.h"
#include "longlora/core/log.h"

namespace longlora::cli {
namespace {

std::unique_ptr<data::TokenData> open_data(const std::vector<std::filesystem::path>& paths,
                                           const train::TrainOptions& options, const model::Decoder& decoder,
                                           const char* what) {
  bool all_bins = true;
  for (const auto& path : paths) all_bins = all_bins && path.extension() == ".bin";
  const auto tokenizer = find_tokenizer(options, !all_bins);
  auto data = data::open_token_data(paths, {.vocab_size = decoder.config.vocab_size,
                                            .tokenizer = tokenizer.get(),
                                            .text_field = options.text_field,
                                            .bin_type = data::id_type_from_choice(options.bin_dtype),
                                            .num_threads = at::get_num_threads()});
  log_info(fmt::format("{}: {}", what, data->describe()));
  return data;
}

std::unique_ptr<const data::TrainingRows> rows_of(const data::TokenData* data, int64_t row_tokens) {
  return data ? std::make_unique<const data::ConsecutiveRows>(*data, row_tokens) : nullptr;
}

void run_fine_tune(TrainingArguments& arguments) {
  finish_arguments(arguments);
  const train::TrainOptions& options = arguments.options;
  const train::RunFolder folder = claim_outputs(arguments);
  const train::MemoryPlan plan = plan_before_loading(arguments);
  PreparedModel prepared = prepare_decoder(arguments, plan);
  const auto data = open_data(options.data_path, options, prepared.decoder, "training data");
  const auto eval_data = options.eval_data_path.empty()
                             ? nullptr
                             : open_data(options.eval_data_path, options, prepared.decoder, "held-out data");
  run_training(arguments, prepared, rows_of(data.get(), options.model_max_length),
               rows_of(eval_data.get(), options.model_max_length), plan);
}

void add_data_flags(CLI::App& verb, train::TrainOptions& options) {
  add_paths(verb, "--data_path", options.data_path,
            "Ids (.bin), text or JSON (a list or lines; also .gz, .zst), or folders of them");
  add_paths(verb, "--eval_data_path", options.eval_data_path, "Held-out data, in the same forms");
  verb.add_option("--text_field", options.text_field, "Field of a JSON object that holds the text")
      ->capture_default_str();
  add_bin_dtype(verb, options.bin_dtype);
  add_bool(verb, "--shuffle", options.shuffle, "Visit the rows in a random order that --seed decides");
}

}  // namespace

void add_fine_tune_verb(CLI::App& app) {
  CLI::App& verb = *app.add_subcommand(
      "fine-tune",
      "Extend the context window of a model: shifted sparse attention, LoRA or full fine-tuning");
  auto arguments = std::make_shared<TrainingArguments>();
  arguments->verb = "fine-tune";
  add_model_flags(verb, *arguments);
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
