#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <memory>

#include "longlora/cli/flags.h"
#include "longlora/cli/model_flags.h"
#include "longlora/cli/tokenize_ids.h"
#include "longlora/cli/verbs.h"
#include "longlora/core/error.h"
#include "longlora/core/file.h"
#include "longlora/core/format.h"
#include "longlora/core/log.h"
#include "longlora/core/processors.h"
#include "longlora/data/tokenize_files.h"

namespace longlora::cli {
namespace {

struct TokenizeArguments {
  std::filesystem::path tokenizer;
  bool prints_ids = false;
  bool decodes = false;
  data::TokenizeOptions options;
  TokenizeIdsArguments ids;
};

void check_arguments(const TokenizeArguments& arguments) {
  if (arguments.prints_ids && arguments.decodes)
    throw UsageError("[tokenize] expected --ids or --decode, got both; they are opposites");
  if (arguments.prints_ids && !arguments.options.output.empty()) {
    throw UsageError(
        "[tokenize] expected no --output with --ids, which prints; use --json FILE, or --output without "
        "--ids");
  }
  if (arguments.prints_ids || arguments.decodes) return;
  if (!arguments.ids.texts.empty())
    throw UsageError("[tokenize] expected --ids or --decode with --text, got neither");
  if (arguments.options.inputs.empty() || arguments.options.output.empty()) {
    throw UsageError(
        "[tokenize] expected --input and --output to write a .bin, or --ids or --decode, got none of these");
  }
}

// Claims the outputs before any work.
void prepare_outputs(const TokenizeArguments& arguments) {
  std::vector<NamedPath> inputs = named_paths("--input", arguments.options.inputs);
  inputs.push_back({"--tokenizer", arguments.tokenizer});
  const std::filesystem::path& output = arguments.options.output;
  std::vector<OutputFile> files = {{"--json", arguments.ids.json}};
  if (arguments.decodes) {
    // Nothing in a text shows that it is an earlier result, so that none is replaced.
    files.push_back({"--output", output, [](const auto&) { return false; }});
  } else if (!output.empty()) {
    files.push_back({"--output", output, data::is_described_token_file});
    files.push_back({"--output", data::info_path(output)});
  }
  prepare_output_files(files, inputs);
}

void write_bin(TokenizeArguments* arguments, const tokenizer::Tokenizer& tokenizer) {
  arguments->options.tokenizer = &tokenizer;
  arguments->options.tokenizer_path = arguments->tokenizer.string();
  const data::TokenFileInfo info = data::tokenize_files(arguments->options);
  log_info(fmt::format("{}: {} tokens of {} documents", arguments->options.output.string(),
                       format_count(info.num_tokens), format_count(info.num_documents)));
  if (!arguments->ids.json.empty())
    write_file_atomic(arguments->ids.json, data::format_token_file_info(info));
}

void run_tokenize(TokenizeArguments* arguments) {
  check_arguments(*arguments);
  prepare_outputs(*arguments);
  const auto tokenizer = tokenizer::load_tokenizer(arguments->tokenizer);
  if (!arguments->prints_ids && !arguments->decodes) return write_bin(arguments, *tokenizer);
  TokenizeIdsArguments& ids = arguments->ids;
  ids.inputs = arguments->options.inputs;
  ids.output = arguments->options.output;
  ids.num_threads = arguments->options.num_threads;
  if (arguments->prints_ids)
    print_ids(*tokenizer, ids);
  else
    print_texts(*tokenizer, ids);
}

void add_ids_flags(CLI::App& verb, TokenizeArguments* arguments) {
  verb.add_option("--text", arguments->ids.texts,
                  "A text (with --ids) or ids (with --decode); may be repeated")
      ->allow_extra_args(false);
  verb.add_flag(
      "--ids", arguments->prints_ids,
      "Print the ids of each --text and --input file (without byte order mark, with LF line ends), as "
      "Hugging Face's tokenizer(text).input_ids");
  verb.add_flag(
      "--decode", arguments->decodes,
      "Print the text of ids: numbers, what --ids --json wrote, or a .bin; to --output where given");
  add_bool(verb, "--add_special_tokens", arguments->ids.add_special_tokens,
           "With --ids: what the tokenizer puts around a text (BOS)");
  add_bin_dtype(verb, arguments->ids.bin_dtype);
  add_bool(verb, "--skip_special_tokens", arguments->ids.skip_special_tokens,
           "With --decode: leave special tokens out");
}

}  // namespace

void add_tokenize_verb(CLI::App& app) {
  CLI::App& verb = *app.add_subcommand("tokenize",
                                       "Turn text into a flat file of token ids, documents joined by EOS; or "
                                       "print ids (--ids) and text (--decode)");
  auto arguments = std::make_shared<TokenizeArguments>();
  data::TokenizeOptions& options = arguments->options;
  options.num_threads = available_processors();
  verb.add_option(
          "--tokenizer", arguments->tokenizer,
          "Hugging Face directory, tokenizer.json, tokenizer.model (SentencePiece, tiktoken), or a GGUF file")
      ->required();
  add_paths(verb, "--input", options.inputs,
            "Files of text or JSON (a list or lines), also .gz or .zst, or folders of them");
  verb.add_option("--output", options.output, "The .bin to write; X.bin.json is written beside it");
  add_ids_flags(verb, arguments.get());
  verb.add_option("--text_field", options.text_field, "Field of a JSON object that holds the text")
      ->capture_default_str();
  add_bool(verb, "--add_bos", options.add_bos, "Put BOS before every document");
  verb.add_option("--threads", options.num_threads, "Documents tokenized at once")
      ->check(at_least(1))
      ->capture_default_str();
  verb.add_option("--json", arguments->ids.json,
                  "Write what was done to this file; with --ids: a list ids per input");
  verb.callback([arguments] { run_tokenize(arguments.get()); });
}

}  // namespace longlora::cli
