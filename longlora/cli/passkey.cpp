#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <memory>

#include "longlora/cli/flags.h"
#include "longlora/cli/model_flags.h"
#include "longlora/cli/verbs.h"
#include "longlora/core/error.h"
#include "longlora/core/file.h"
#include "longlora/core/log.h"
#include "longlora/eval/passkey.h"
#include "longlora/eval/text_ends.h"
#include "longlora/tokenizer/chat_template.h"

namespace longlora::cli {
namespace {

using Results = std::vector<eval::PasskeyLengthResult>;

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

Json to_json(const eval::PasskeyLengthResult& result) {
  Json trials = Json::array();
  for (const eval::PasskeyTrial& trial : result.trials)
    trials.push_back({{"seed", trial.seed},
                      {"depth", trial.depth},
                      {"correct", trial.correct},
                      {"tokens", trial.tokens},
                      {"pass_key", trial.pass_key},
                      {"answer", trial.answer}});
  return {{"tokens", result.mean_tokens()},        {"target_tokens", result.target_tokens},
          {"garbage_chars", result.garbage_chars}, {"accuracy", result.accuracy()},
          {"skipped", result.num_skipped},         {"trials", trials}};
}

std::string to_csv(const Results& results) {
  std::string text = "target_tokens,garbage_chars,tokens,accuracy,trials,skipped\n";
  for (const auto& result : results)
    text += fmt::format("{},{},{:.1f},{:.4f},{},{}\n", result.target_tokens, result.garbage_chars,
                        result.mean_tokens(), result.accuracy(), result.trials.size(), result.num_skipped);
  return text;
}

void print_table(const Results& results) {
  fmt::print("{:>13}  {:>13}  {:>11}  {:>8}  {:>6}\n", "target tokens", "garbage chars", "mean tokens",
             "accuracy", "trials");
  for (const auto& result : results)
    fmt::print("{:>13}  {:>13}  {:>11.1f}  {:>8.2f}  {:>6}\n", result.target_tokens, result.garbage_chars,
               result.mean_tokens(), result.accuracy(), result.trials.size());
}

void run_passkey(const PasskeyArguments& arguments) {
  prepare_output_file({"--json", arguments.json}, model_inputs(arguments.model));
  prepare_output_file({"--csv", arguments.csv}, model_inputs(arguments.model));
  const generate::Runtime model = generate::open_runtime(arguments.model);
  const std::filesystem::path tokenizer_path = generate::tokenizer_path(arguments.model);
  const auto tokenizer = tokenizer::load_tokenizer(tokenizer_path);
  const auto settings = eval::read_settings(arguments.model.base_model, eval::Decoding::kGreedy);
  const std::string chat_template =
      tokenizer::find_chat_template({tokenizer_path, arguments.model.base_model});
  eval::PasskeyOptions options;
  options.stop_ids = eval::find_text_ends({settings, *tokenizer, chat_template, {}, model.vocab_size}).ids;
  options.num_tests = arguments.num_tests;
  options.context_size = model.context_size;
  options.target_tokens = arguments.lengths;
  if (options.target_tokens.empty())
    options.target_tokens = eval::passkey_lengths(
        arguments.max_tokens > 0 ? arguments.max_tokens : model.context_size, arguments.interval);
  Results results = eval::run_passkey(model.ready, *tokenizer, options);
  // A length without a single trial has nothing to report; its warning was given.
  std::erase_if(results, [](const auto& result) { return result.trials.empty(); });
  if (results.empty())
    throw UsageError(
        fmt::format("[--context_size] expected room for the shortest prompt, got {} tokens; raise it or "
                    "choose shorter --lengths",
                    model.context_size));
  print_table(results);
  if (!arguments.csv.empty()) write_file_atomic(arguments.csv, to_csv(results));
  if (arguments.json.empty()) return;
  Json json = result_header("passkey", arguments.label, arguments.model, model);
  json["num_tests"] = arguments.num_tests;
  json["results"] = Json::array();
  for (const auto& result : results) json["results"].push_back(to_json(result));
  write_json(arguments.json, json);
}

}  // namespace

void add_passkey_verb(CLI::App& app) {
  CLI::App& verb =
      *app.add_subcommand("passkey", "Find a number hidden in a long text: accuracy by length and depth");
  auto arguments = std::make_shared<PasskeyArguments>();
  add_model_flags(verb, arguments->model);
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
