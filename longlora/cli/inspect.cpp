#include "longlora/inspect/inspect.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <CLI/CLI.hpp>
#include <memory>
#include <utility>

#include "longlora/cli/flags.h"
#include "longlora/cli/model_flags.h"
#include "longlora/cli/prompt_flag.h"
#include "longlora/cli/verbs.h"
#include "longlora/core/error.h"
#include "longlora/core/json.h"
#include "longlora/core/processors.h"
#include "longlora/inspect/expectations.h"
#include "longlora/model/config.h"
#include "longlora/report/inspection.h"
#include "longlora/tokenizer/chat_template.h"

namespace longlora::cli {
namespace {

struct InspectArguments {
  std::filesystem::path model;
  std::filesystem::path tokenizer;
  PromptFlags prompt;
  std::string truncation = "middle";
  std::string bin_dtype = "auto";
  std::filesystem::path json;
  inspect::Options options;

  std::filesystem::path tokenizer_path() const { return tokenizer.empty() ? model : tokenizer; }
};

void check_arguments(const InspectArguments& arguments) {
  if (arguments.prompt.form != PromptFlags().form && arguments.tokenizer_path().empty())
    throw UsageError(
        "[--prompt] expected --model or --tokenizer beside it, by which tokens are counted, got neither");
  for (const std::filesystem::path& held_out : arguments.options.against)
    for (const std::filesystem::path& input : arguments.options.inputs) {
      std::error_code ignored;
      if (std::filesystem::equivalent(held_out, input, ignored))
        throw UsageError(fmt::format(
            "[--against] expected other data than what is inspected, got {} for both", held_out.string()));
    }
}

// Opens the tokenizer and chooses the form of prompts as sft does.
std::unique_ptr<tokenizer::Tokenizer> set_tokenizer(InspectArguments& arguments) {
  const std::filesystem::path path = arguments.tokenizer_path();
  if (path.empty()) return nullptr;
  auto tokenizer = tokenizer::load_tokenizer(path);
  if (!tokenizer->eos_id())
    throw InputError(
        "[tokenizer] expected an end-of-sequence token, which ends answers and documents, got none; set "
        "eos_token in tokenizer_config.json");
  data::InstructionOptions& instructions = arguments.options.instructions;
  instructions.tokenizer = tokenizer.get();
  instructions.prompt = choose_prompt(
      {arguments.prompt, arguments.model, {}, path, tokenizer::find_chat_template({path, arguments.model})},
      *tokenizer);
  arguments.options.token_data.vocab_size = arguments.model.empty()
                                                ? tokenizer->vocab_size()
                                                : model::read_model_config(arguments.model).vocab_size;
  return tokenizer;
}

void print_tables(const std::vector<report::NamedTable>& tables) {
  for (const report::NamedTable& table : tables)
    fmt::print("{}\n{}\n", table.name, report::to_text(table.table));
}

void print_result(const results::Inspection& result) {
  for (const results::InspectedFile& file : result.files) {
    print_tables(report::file_tables(file));
    const report::Table histogram = report::histogram_text(file);
    if (!histogram.rows.empty()) fmt::print("{}\n", report::to_text(histogram));
  }
  print_tables(report::duplicate_tables(result.duplicates));
  print_tables(report::overlap_tables(result.overlaps));
  print_tables(report::expectation_tables(result.expectations));
  for (const std::string& finding : report::inspection_findings(result)) fmt::print("{}\n", finding);
}

// Throws where something that --expect asked for does not hold.
void require_expected(const std::string& name, const std::vector<results::Expectation>& expectations) {
  std::vector<std::string> failures;
  for (const results::Expectation& expectation : expectations)
    if (!expectation.holds)
      failures.push_back(fmt::format("expected {}, got {}", expectation.expected, expectation.found));
  if (!failures.empty()) throw InputError(fmt::format("[--expect {}] {}", name, fmt::join(failures, "; ")));
}

void run_inspect(InspectArguments& arguments) {
  check_arguments(arguments);
  inspect::Options& options = arguments.options;
  std::vector<NamedPath> inputs = named_paths("FILE", options.inputs);
  for (const NamedPath& held_out : named_paths("--against", options.against)) inputs.push_back(held_out);
  inputs.push_back({"--model", arguments.model});
  inputs.push_back({"--tokenizer", arguments.tokenizer});
  prepare_output_files({{"--json", arguments.json}}, inputs);
  options.token_data.bin_type = data::id_type_from_choice(arguments.bin_dtype);
  options.instructions.truncation = data::truncation_from_name(arguments.truncation);
  const auto tokenizer = set_tokenizer(arguments);
  results::Inspection result = inspect::inspect(options);
  result.tokenizer = arguments.tokenizer_path().string();
  if (tokenizer != nullptr) {
    result.prompt = tokenizer::prompt_form_name(options.instructions.prompt.form());
    result.truncation = arguments.truncation;
  }
  print_result(result);
  if (!arguments.json.empty()) write_json(arguments.json, result.to_json());
  require_expected(options.expect, result.expectations);
}

}  // namespace

void add_inspect_verb(CLI::App& app) {
  CLI::App& verb = *app.add_subcommand(
      "inspect",
      "Tell what files of data hold: samples, lengths, what is cut off, duplicates, leaked test data");
  auto arguments = std::make_shared<InspectArguments>();
  inspect::Options& options = arguments->options;
  options.num_threads = available_processors();
  add_paths(verb, "inputs,--input,--data_path", options.inputs,
            "Files that sft, fine-tune or eval read, or folders of them")
      ->required();
  add_paths(verb, "--against", options.against,
            "Held-out files: count how much of them is in the inspected ones, and quote it");
  verb.add_option("--model,--model_name_or_path,--base_model", arguments->model,
                  "Model whose tokenizer, prompt form and vocabulary are taken");
  verb.add_option("--tokenizer", arguments->tokenizer,
                  "Tokenizer by which tokens are counted (default: the model's; without either, words are)");
  add_prompt_flags(verb, arguments->prompt);
  verb.add_option("--model_max_length", options.max_lengths,
                  "Tokens of a row, one or several: what stays at each (default: powers of 2)")
      ->delimiter(',')
      ->check(at_least(2));
  verb.add_option("--truncate", arguments->truncation, "What sft does with samples that are too long")
      ->check(CLI::IsMember(data::truncation_names()))
      ->capture_default_str();
  verb.add_option("--text_field", options.token_data.text_field, "Field of a JSON object that holds a text")
      ->capture_default_str();
  add_bin_dtype(verb, arguments->bin_dtype);
  verb.add_option("--expect", options.expect,
                  "Check the form, and fail where it is another: longalpaca (the released LongAlpaca-12k)")
      ->check(CLI::IsMember(inspect::expectation_names()));
  verb.add_option("--threads", options.num_threads, "Samples read at once")
      ->check(at_least(1))
      ->capture_default_str();
  verb.add_option("--json", arguments->json, "Write the result to this file, which report takes, too")
      ->type_name("FILE");
  verb.callback([arguments] { run_inspect(*arguments); });
}

}  // namespace longlora::cli
