#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <memory>

#include "longlora/cli/flags.h"
#include "longlora/cli/model_flags.h"
#include "longlora/cli/verbs.h"
#include "longlora/core/error.h"
#include "longlora/core/file.h"
#include "longlora/core/json.h"
#include "longlora/core/log.h"
#include "longlora/eval/passkey.h"
#include "longlora/generate/generation_settings.h"
#include "longlora/generate/run_jobs.h"
#include "longlora/generate/text_ends.h"
#include "longlora/tokenizer/chat_template.h"

namespace longlora::cli {
namespace {

struct PasskeyArguments {
  generate::RuntimeOptions model;
  std::vector<int64_t> lengths;
  int64_t max_tokens = 0;
  int64_t interval = 1000;
  int64_t num_tests = 10;
  std::string label;
  std::filesystem::path json;
  std::filesystem::path csv;
};

void print_table(const std::vector<results::PasskeyLength>& lengths) {
  fmt::print("{:>13}  {:>13}  {:>11}  {:>8}  {:>6}\n", "target tokens", "garbage chars", "mean tokens",
             "accuracy", "trials");
  for (const results::PasskeyLength& length : lengths)
    fmt::print("{:>13}  {:>13}  {:>11.1f}  {:>8.2f}  {:>6}\n", length.target_tokens, length.garbage_chars,
               length.mean_tokens, length.accuracy, length.trials.size());
}

void run_passkey(const PasskeyArguments& arguments) {
  prepare_output_files({{"--json", arguments.json}, {"--csv", arguments.csv, results::Passkey::is_csv}},
                       model_inputs(arguments.model));
  const generate::Runtime model = generate::open_runtime(arguments.model);
  const std::filesystem::path tokenizer_path = generate::tokenizer_path(arguments.model);
  const auto tokenizer = tokenizer::load_tokenizer(tokenizer_path);
  const auto settings =
      generate::read_and_log_settings(arguments.model.base_model, generate::Decoding::kGreedy);
  const std::string chat_template =
      tokenizer::find_chat_template({tokenizer_path, arguments.model.base_model});
  eval::PasskeyOptions options;
  options.stop_ids =
      generate::find_text_ends({settings, *tokenizer, chat_template, tokenizer_path, {}, model.vocab_size})
          .ids;
  options.num_tests = arguments.num_tests;
  options.context_size = model.context_size;
  options.target_tokens = arguments.lengths;
  if (options.target_tokens.empty())
    options.target_tokens = eval::passkey_lengths_up_to(
        arguments.max_tokens > 0 ? arguments.max_tokens : model.context_size, arguments.interval);
  results::Passkey result;
  result.lengths = eval::run_passkey(*generate::open_generator(model), *tokenizer, options);
  // A length without a single trial is left out of the result. A warning has said so.
  std::erase_if(result.lengths, [](const auto& length) { return length.trials.empty(); });
  if (result.lengths.empty())
    throw UsageError(
        fmt::format("[--context_size] expected room for the shortest prompt, got {} tokens; raise it or "
                    "choose shorter --lengths",
                    model.context_size));
  print_table(result.lengths);
  if (!arguments.csv.empty()) write_file_atomic(arguments.csv, result.to_csv());
  if (arguments.json.empty()) return;
  result.model = evaluated_model(arguments.model, model, arguments.label);
  result.num_tests = arguments.num_tests;
  write_json(arguments.json, result.to_json());
}

}  // namespace

void add_passkey_verb(CLI::App& app) {
  CLI::App& verb =
      *app.add_subcommand("passkey", "Find a number hidden in a long text: accuracy by length and depth");
  auto arguments = std::make_shared<PasskeyArguments>();
  add_runtime_flags(verb, arguments->model);
  verb.add_option("--max_tokens", arguments->max_tokens,
                  "Longest text, in tokens of Llama's tokenizer (default: --context_size)")
      ->check(at_least(1));
  verb.add_option("--interval", arguments->interval, "Tokens from one length to the next, and the shortest")
      ->check(at_least(1))
      ->capture_default_str();
  CLI::Option* lengths = verb.add_option("--lengths", arguments->lengths,
                                         "The lengths themselves, in place of --max_tokens and --interval")
                             ->delimiter(',')
                             ->check(at_least(1));
  lengths->excludes("--max_tokens")->excludes("--interval");
  verb.add_option("--num_tests", arguments->num_tests, "Trials for each length")
      ->check(at_least(1))
      ->capture_default_str();
  verb.add_option("--label", arguments->label, "Name of the model in reports");
  verb.add_option("--json", arguments->json, "Write the result, every trial, to this file")
      ->type_name("FILE");
  verb.add_option("--csv", arguments->csv, "Write the table to this file")->type_name("FILE");
  verb.callback([arguments] { run_passkey(*arguments); });
}

}  // namespace longlora::cli
