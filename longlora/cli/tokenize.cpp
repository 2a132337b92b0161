#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <memory>
#include <thread>

#include "longlora/cli/flags.h"
#include "longlora/cli/verbs.h"
#include "longlora/core/file.h"
#include "longlora/core/log.h"
#include "longlora/core/progress.h"
#include "longlora/data/tokenize_files.h"

namespace longlora::cli {
namespace {

struct TokenizeArguments {
  std::filesystem::path tokenizer;
  data::TokenizeOptions options;
  std::filesystem::path json;
};

void run_tokenize(TokenizeArguments& arguments) {
  const auto tokenizer = tokenizer::load_tokenizer(arguments.tokenizer);
  arguments.options.tokenizer = tokenizer.get();
  arguments.options.tokenizer_path = arguments.tokenizer.string();
  const data::TokenFileInfo info = data::tokenize_files(arguments.options);
  log_info(fmt::format("{}: {} tokens of {} documents", arguments.options.output.string(),
                       format_count(info.num_tokens), format_count(info.num_documents)));
  if (!arguments.json.empty()) write_file_atomic(arguments.json, data::format_token_file_info(info));
}

}  // namespace

void add_tokenize_verb(CLI::App& app) {
  CLI::App& verb =
      *app.add_subcommand("tokenize", "Turn text into a flat file of token ids, documents joined by EOS");
  auto arguments = std::make_shared<TokenizeArguments>();
  data::TokenizeOptions& options = arguments->options;
  options.num_threads = static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
  verb.add_option("--tokenizer", arguments->tokenizer, "Hugging Face directory or tokenizer.model")
      ->required();
  add_paths(verb, "--input", options.inputs, "Text files, .jsonl files, or folders of them")->required();
  verb.add_option("--output", options.output, "The .bin to write; X.bin.json is written beside it")
      ->required();
  verb.add_option("--text_field", options.text_field, "Field of a .jsonl line that holds the text")
      ->capture_default_str();
  add_bool(verb, "--add_bos", options.add_bos, "Put BOS before every document");
  verb.add_option("--threads", options.num_threads, "Documents tokenized at once")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  verb.add_option("--json", arguments->json, "Write what was done to this file");
  verb.callback([arguments] { run_tokenize(*arguments); });
}

}  // namespace longlora::cli
