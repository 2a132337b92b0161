#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <chrono>
#include <cstdio>
#include <memory>
#include <utility>

#include "longlora/cli/flags.h"
#include "longlora/cli/model_flags.h"
#include "longlora/cli/verbs.h"
#include "longlora/core/error.h"
#include "longlora/core/file.h"
#include "longlora/core/log.h"
#include "longlora/core/progress.h"
#include "longlora/core/utf8.h"
#include "longlora/data/instruction_tokens.h"
#include "longlora/eval/answers.h"
#include "longlora/generate/sampler.h"
#include "longlora/tokenizer/text_stream.h"

namespace longlora::cli {
namespace {

struct InferenceArguments {
  eval::ModelOptions model;
  std::string question;
  std::filesystem::path material;
  std::string prompt = "llama2";
  int64_t max_gen_len = 512;
  generate::SamplingOptions sampling;
  std::filesystem::path json;
};

/// The text that the question is about.
std::string read_material(const std::filesystem::path& path) {
  if (path.extension() == ".pdf")
    throw InputError(
        fmt::format("[{}] expected a text file, got a PDF; turn it into text first, for example with "
                    "pdftotext",
                    path.string()));
  std::string text = read_file(path);
  if (const size_t place = find_invalid_utf8(text); place != std::string::npos)
    throw InputError(
        fmt::format("[{}] expected UTF-8, got another byte at offset {}; convert the file to UTF-8",
                    path.string(), place));
  return text;
}

/// Material and question as the released scripts join them; Alpaca's form has a place of its own for
/// material.
data::Conversation conversation(tokenizer::PromptForm form, const std::string& question,
                                const std::string& material) {
  tokenizer::Turn asked = {tokenizer::Role::kUser, question};
  if (form == tokenizer::PromptForm::kAlpaca)
    asked.input = material;
  else if (!material.empty())
    asked.text = fmt::format("{}\n{}", material, question);
  return {asked, {tokenizer::Role::kAssistant, ""}};
}

/// Seconds since it was made.
class Watch {
 public:
  double seconds() const {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count();
  }

 private:
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

const char* describe(generate::StopReason reason) {
  switch (reason) {
    case generate::StopReason::kStopId:
      return "the model ended its answer";
    case generate::StopReason::kMaxTokens:
      return "--max_gen_len was reached";
    case generate::StopReason::kContextFull:
      return "the context is full";
    case generate::StopReason::kCaller:
      break;
  }
  return "it was stopped";
}

struct Written {
  std::string text;
  generate::Generation generation;
  double prompt_seconds = 0.0, answer_seconds = 0.0;

  double tokens_per_second() const {
    // The first token comes with the prompt.
    const auto later = static_cast<double>(generation.ids.size()) - 1.0;
    return later > 0.0 && answer_seconds > 0.0 ? later / answer_seconds : 0.0;
  }
};

/// Writes the answer to standard output as it comes.
Written write_answer(const eval::LoadedModel& model, const tokenizer::Tokenizer& tokenizer,
                     const tokenizer::Ids& question, const generate::StopRules& rules,
                     const generate::PickToken& pick) {
  generate::DecodeSession session(*model.decoder, model.context_size);
  auto reading = std::make_unique<Progress>("reading", static_cast<int64_t>(question.size()), "tokens");
  session.on_progress([&](int64_t done) {
    if (reading) reading->update(done);
  });
  Written written;
  tokenizer::TextStream stream(tokenizer);
  const auto show = [&](const std::string& piece) {
    written.text += piece;
    fmt::print("{}", piece);
    std::fflush(stdout);
  };
  Watch watch;
  const generate::PickToken timed_pick = [&](const at::Tensor& logits) {
    if (reading) {
      reading.reset();
      written.prompt_seconds = std::exchange(watch, {}).seconds();
    }
    return pick(logits);
  };
  const std::vector<int64_t> ids(question.begin(), question.end());
  written.generation = generate::generate(session, ids, rules, timed_pick, [&](int64_t id) {
    // A model may have more rows than its tokenizer has pieces.
    if (id < tokenizer.vocab_size()) show(stream.push(static_cast<int32_t>(id)));
    return true;
  });
  written.answer_seconds = watch.seconds();
  show(stream.finish());
  fmt::print("\n");
  return written;
}

void run_inference(InferenceArguments& arguments) {
  const tokenizer::PromptForm form = tokenizer::prompt_form_from_name(arguments.prompt);
  const generate::PickToken pick = generate::make_sampler(arguments.sampling);
  if (find_invalid_utf8(arguments.question) != std::string::npos)
    throw UsageError("[--question] expected UTF-8, got bytes that are none");
  const std::string material = arguments.material.empty() ? "" : read_material(arguments.material);
  const auto tokenizer = tokenizer::load_tokenizer(arguments.model.base_model);
  const generate::StopRules rules = {eval::stop_ids(*tokenizer, form), arguments.max_gen_len};
  const tokenizer::Ids question =
      data::tokenize_question(*tokenizer, form, conversation(form, arguments.question, material));
  const eval::LoadedModel model = eval::open_model(arguments.model);
  const auto num_tokens = static_cast<int64_t>(question.size());
  if (num_tokens >= model.context_size)
    throw InputError(
        fmt::format("[{}] expected material and question to leave room for an answer in the context of {} "
                    "tokens, got {}; "
                    "raise --context_size or shorten the material",
                    arguments.material.empty() ? "--question" : arguments.material.string(),
                    format_count(model.context_size), format_count(num_tokens)));
  const Written written = write_answer(model, *tokenizer, question, rules, pick);
  log_info(fmt::format("{} tokens read in {}, {} written at {:.1f} tokens/s; {}", format_count(num_tokens),
                       format_duration(written.prompt_seconds),
                       format_count(std::ssize(written.generation.ids)), written.tokens_per_second(),
                       describe(written.generation.reason)));
  if (arguments.json.empty()) return;
  Json json = result_header("inference", "", arguments.model, model);
  json.erase("label");
  json["prompt"] = arguments.prompt;
  json["question"] = arguments.question;
  if (!arguments.material.empty()) json["material"] = arguments.material.string();
  json["answer"] = replace_invalid_utf8(written.text);
  json["prompt_tokens"] = num_tokens;
  json["answer_ids"] = written.generation.ids;
  json["stopped_by_model"] = written.generation.reason == generate::StopReason::kStopId;
  json["prompt_seconds"] = written.prompt_seconds;
  json["tokens_per_second"] = written.tokens_per_second();
  write_json(arguments.json, json);
}

}  // namespace

void add_inference_verb(CLI::App& app) {
  CLI::App& verb = *app.add_subcommand(
      "inference", "Answer one question, about a book or a paper where --material names one");
  auto arguments = std::make_shared<InferenceArguments>();
  arguments->model.dtype = "bfloat16";
  add_model_flags(verb, arguments->model);
  verb.add_option("--question", arguments->question, "The question")->required();
  verb.add_option("--material", arguments->material,
                  "A text that it is about, UTF-8; it goes in front of the question")
      ->type_name("FILE");
  verb.add_option("--prompt", arguments->prompt,
                  "Form in which the model is asked, as in sft: llama2, alpaca, chatml, none")
      ->check(CLI::IsMember(tokenizer::prompt_form_names()))
      ->capture_default_str();
  verb.add_option("--max_gen_len", arguments->max_gen_len, "Tokens of the longest answer")
      ->check(at_least(1))
      ->capture_default_str();
  verb.add_option("--temperature", arguments->sampling.temperature,
                  "Higher: more varied; 0: always the likeliest token")
      ->capture_default_str();
  verb.add_option("--top_p", arguments->sampling.top_p,
                  "Draw among the likeliest tokens that reach this probability")
      ->capture_default_str();
  verb.add_option("--seed", arguments->sampling.seed, "Of the draws; the same seed writes the same answer")
      ->capture_default_str();
  verb.add_option("--json", arguments->json, "Write question, answer and speed to this file")
      ->type_name("FILE");
  verb.callback([arguments] { run_inference(*arguments); });
}

}  // namespace longlora::cli
