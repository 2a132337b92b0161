#include "longlora/eval/score.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cmath>
#include <memory>
#include <numeric>
#include <optional>

#include "longlora/cli/flags.h"
#include "longlora/cli/model_flags.h"
#include "longlora/cli/verbs.h"
#include "longlora/core/error.h"
#include "longlora/core/json.h"
#include "longlora/core/log.h"
#include "longlora/data/data_file.h"
#include "longlora/results/score.h"
#include "longlora/tokenizer/chat.h"

namespace longlora::cli {
namespace {

struct ScoreArguments {
  generate::RuntimeOptions model;
  std::string text;
  std::filesystem::path file;
  std::vector<int64_t> ids;
  std::optional<double> memory_budget_gib;
  std::filesystem::path json;
};

std::vector<int64_t> ids_to_score(const ScoreArguments& arguments, const tokenizer::Tokenizer* tokenizer) {
  if (!arguments.ids.empty()) return arguments.ids;
  const std::string text = arguments.file.empty() ? arguments.text : data::read_text(arguments.file);
  return tokenizer::encode_for_model(*tokenizer, text, /*add_special_tokens=*/true);
}

// Returns the text of a single id, in quotes and on one line, or an empty text without a tokenizer.
std::string piece(const tokenizer::Tokenizer* tokenizer, int64_t id) {
  if (tokenizer == nullptr || !tokenizer::has_text(*tokenizer, id)) return "";
  return Json(tokenizer::decode_written(*tokenizer, std::vector{id}))
      .dump(-1, ' ', false, Json::error_handler_t::replace);
}

void run_score(ScoreArguments& arguments) {
  const bool from_ids = !arguments.ids.empty();
  if (!from_ids && arguments.text.empty() && arguments.file.empty())
    throw UsageError("[score] expected one of --text, --file and --ids, got none");
  prepare_output_files({{"--json", arguments.json}},
                       model_inputs(arguments.model, {{"--file", arguments.file}}));
  std::unique_ptr<tokenizer::Tokenizer> tokenizer;
  const std::filesystem::path tokenizer_path = generate::tokenizer_path(arguments.model);
  if (!from_ids || tokenizer::has_tokenizer(tokenizer_path))
    tokenizer = tokenizer::load_tokenizer(tokenizer_path);
  const std::vector<int64_t> ids = ids_to_score(arguments, tokenizer.get());
  arguments.model.memory_budget_bytes = memory_budget_bytes(arguments.memory_budget_gib);
  arguments.model.pass_tokens = [&](int64_t context_size) {
    const int64_t tokens = std::min(std::ssize(ids), context_size);
    return generate::PassTokens{tokens, tokens};
  };
  const generate::Runtime model = generate::open_runtime(arguments.model);
  const std::vector<double> logprobs = eval::token_logprobs(model.ready, ids, model.context_size);

  fmt::print("{:>8}  {:>8}  {:>12}  {}\n", "position", "id", "logprob", "text");
  for (size_t i = 0; i < logprobs.size(); ++i)
    fmt::print("{:>8}  {:>8}  {:>12.6f}  {}\n", i + 1, ids[i + 1], logprobs[i],
               piece(tokenizer.get(), ids[i + 1]));
  results::Score result;
  result.model = evaluated_model(arguments.model, model);
  result.ids = ids;
  result.logprobs = logprobs;
  result.sum = std::accumulate(logprobs.begin(), logprobs.end(), 0.0);
  result.mean = result.sum / static_cast<double>(logprobs.size());
  log_info(fmt::format("{} tokens: log-probability {:.6f}, {:.6f} a token, perplexity {:.4f}",
                       logprobs.size(), result.sum, result.mean, std::exp(-result.mean)));
  if (!arguments.json.empty()) write_json(arguments.json, result.to_json());
}

}  // namespace

void add_score_verb(CLI::App& app) {
  CLI::App& verb = *app.add_subcommand("score", "Log-probability of every token of a text or a list of ids");
  auto arguments = std::make_shared<ScoreArguments>();
  add_runtime_flags(verb, arguments->model);
  CLI::Option* text = verb.add_option("--text", arguments->text, "The text");
  CLI::Option* file = verb.add_option("--file", arguments->file, "A file that holds the text, UTF-8")
                          ->type_name("FILE")
                          ->excludes(text);
  verb.add_option("--ids", arguments->ids, "Token ids 1,2,3, taken as they are")
      ->delimiter(',')
      ->check(at_least(0))
      ->excludes(text)
      ->excludes(file);
  add_memory_budget(verb, arguments->memory_budget_gib);
  verb.add_option("--json", arguments->json,
                  "Write ids and logprobs to this file: logprobs has one entry for each of ids[1:], and ids "
                  "of a text "
                  "begin with BOS where the tokenizer adds it")
      ->type_name("FILE");
  verb.callback([arguments] { run_score(*arguments); });
}

}  // namespace longlora::cli
