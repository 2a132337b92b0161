#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <memory>
#include <optional>

#include "longlora/cli/flags.h"
#include "longlora/cli/model_flags.h"
#include "longlora/cli/verbs.h"
#include "longlora/core/error.h"
#include "longlora/core/json.h"
#include "longlora/core/log.h"
#include "longlora/eval/open_data.h"
#include "longlora/eval/perplexity.h"

namespace longlora::cli {
namespace {

struct EvalArguments {
  generate::RuntimeOptions model;
  eval::PerplexityOptions options;
  std::vector<std::filesystem::path> data_paths;
  std::string text_field = "text";
  std::string bin_dtype = "auto";
  std::string window = "all";
  std::optional<int64_t> max_windows;
  std::optional<double> memory_budget_gib;
  std::string label;
  std::filesystem::path json;
};

void check_lengths(const std::vector<int64_t>& seq_lens, int64_t context_size) {
  for (const int64_t seq_len : seq_lens)
    if (seq_len > context_size)
      throw UsageError(
          fmt::format("[--seq_len] expected at most --context_size ({}), got {}; raise --context_size or "
                      "shorten --seq_len",
                      context_size, seq_len));
}

void print_table(const std::vector<results::PerplexityPoint>& results) {
  fmt::print("{:>9}  {:>10}  {:>14}  {:>8}  {:>8}\n", "seq_len", "val_loss", "val_perplexity", "val_acc",
             "windows");
  for (const results::PerplexityPoint& result : results)
    fmt::print("{:>9}  {:>10.6f}  {:>14.5f}  {:>8.5f}  {:>8}\n", result.seq_len, result.loss,
               result.perplexity, result.accuracy, result.num_windows);
}

// Returns the size of the largest batch of windows.
generate::PassTokens tokens_at_once(const eval::PerplexityOptions& options, int64_t context_size) {
  std::vector<int64_t> seq_lens = options.seq_lens;
  if (seq_lens.empty()) seq_lens = {context_size};
  generate::PassTokens tokens;
  int64_t most_windows = 0;
  for (const int64_t seq_len : seq_lens) {
    const int64_t windows = eval::windows_at_once(options, seq_len);
    most_windows = std::max(most_windows, windows);
    tokens.all = std::max(tokens.all, seq_len * windows);
    tokens.row = std::max(tokens.row, seq_len);
  }
  if (options.windows.mode == eval::WindowMode::kSameTargets)
    tokens.wanted = std::min(tokens.all, most_windows * options.windows.target_tokens);
  return tokens;
}

void run_eval(EvalArguments& arguments) {
  arguments.options.windows.mode = eval::window_mode_from_name(arguments.window);
  arguments.options.windows.max_windows = arguments.max_windows;
  // The released script has -1 for a length that is not given, which other verbs could not replace.
  auto& seq_lens = arguments.options.seq_lens;
  if (arguments.model.context_size == -1 && !seq_lens.empty())
    arguments.model.context_size = *std::max_element(seq_lens.begin(), seq_lens.end());
  // Where the command line says the window, lengths are checked before the weights are read.
  if (arguments.model.context_size > 0) check_lengths(seq_lens, arguments.model.context_size);
  prepare_output_files({{"--json", arguments.json}},
                       model_inputs(arguments.model, named_paths("--data_path", arguments.data_paths)));
  arguments.model.memory_budget_bytes = memory_budget_bytes(arguments.memory_budget_gib);
  arguments.model.pass_tokens = [&](int64_t context_size) {
    return tokens_at_once(arguments.options, context_size);
  };
  const generate::Runtime model = generate::open_runtime(arguments.model);
  if (seq_lens.empty()) seq_lens = {model.context_size};
  check_lengths(seq_lens, model.context_size);
  const auto data = eval::open_data(
      arguments.data_paths, generate::tokenizer_path(arguments.model), model,
      {.text_field = arguments.text_field, .bin_type = data::id_type_from_choice(arguments.bin_dtype)});
  const auto found = eval::evaluate_perplexity(model.ready, *data, arguments.options);
  print_table(found);
  if (arguments.json.empty()) return;

  results::Perplexity result;
  result.model = evaluated_model(arguments.model, model, arguments.label);
  for (const auto& path : arguments.data_paths)
    result.data += (result.data.empty() ? "" : ", ") + path.string();
  result.window = arguments.window;
  if (arguments.options.windows.mode == eval::WindowMode::kSameTargets)
    result.target_tokens = arguments.options.windows.target_tokens;
  result.points = found;
  write_json(arguments.json, result.to_json());
}

}  // namespace

void add_eval_verb(CLI::App& app) {
  CLI::App& verb = *app.add_subcommand("eval", "Perplexity and next-token accuracy on held-out data");
  auto arguments = std::make_shared<EvalArguments>();
  add_runtime_flags(verb, arguments->model);
  add_paths(verb, "--data_path", arguments->data_paths,
            "Held-out data: .bin ids, text or JSON (a list or lines; also .gz, .zst), or folders of them")
      ->required();
  verb.add_option("--seq_len", arguments->options.seq_lens,
                  "Tokens of a window; several lengths make a table (default: --context_size)")
      ->delimiter(',')
      ->check(at_least(1));
  verb.add_option("--batch_size", arguments->options.batch_size,
                  "Windows computed at once; 0: about 8192 tokens. Changes speed and memory, not the result")
      ->check(at_least(0))
      ->capture_default_str();
  verb.add_option(
          "--window", arguments->window,
          "all: every token of windows 256 tokens apart (the released evaluation); last: only the last 256 "
          "of each window, all of the first; same-targets: the same tokens after more and more text")
      ->check(CLI::IsMember({"all", "last", "same-targets"}))
      ->capture_default_str();
  verb.add_option("--target_tokens", arguments->options.windows.target_tokens,
                  "same-targets: tokens scored at the end of each window")
      ->check(at_least(1))
      ->capture_default_str();
  verb.add_option(
          "--longest_seq_len", arguments->options.windows.longest_seq_len,
          "same-targets: score the tokens that are scored where this length is among --seq_len (default: "
          "the longest of --seq_len)")
      ->check(at_least(1));
  verb.add_option(
          "--max_windows", arguments->max_windows,
          "At most so many windows, spread evenly over the data; 0: all (default: all; same-targets: 64)")
      ->check(at_least(0));
  add_memory_budget(verb, arguments->memory_budget_gib);
  verb.add_option("--text_field", arguments->text_field, "Field of a JSON object that holds the text")
      ->capture_default_str();
  add_bin_dtype(verb, arguments->bin_dtype);
  verb.add_option("--label", arguments->label, "Name of the model in reports");
  verb.add_option("--json", arguments->json, "Write the result to this file")->type_name("FILE");
  verb.callback([arguments] { run_eval(*arguments); });
}

}  // namespace longlora::cli
