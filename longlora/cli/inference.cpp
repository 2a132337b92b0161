#include <fmt/format.h>
#include <fmt/ranges.h>

#include <CLI/CLI.hpp>
#include <chrono>
#include <cstdio>
#include <memory>
#include <optional>
#include <utility>

#include "longlora/cli/flags.h"
#include "longlora/cli/model_flags.h"
#include "longlora/cli/prompt_flag.h"
#include "longlora/cli/verbs.h"
#include "longlora/core/error.h"
#include "longlora/core/format.h"
#include "longlora/core/json.h"
#include "longlora/core/log.h"
#include "longlora/core/progress.h"
#include "longlora/core/utf8.h"
#include "longlora/data/data_file.h"
#include "longlora/generate/generation_settings.h"
#include "longlora/generate/text_ends.h"
#include "longlora/generate/text_generation.h"
#include "longlora/model/decoder.h"
#include "longlora/results/inference.h"
#include "longlora/tokenizer/chat.h"
#include "longlora/tokenizer/chat_template.h"

namespace longlora::cli {
namespace {

struct InferenceArguments {
  generate::RuntimeOptions model;
  std::string question;
  std::filesystem::path material;
  PromptFlags prompt;
  std::optional<int64_t> max_gen_len;
  generate::SamplingWishes sampling;
  std::filesystem::path json;
};

// Reads the text that the question is about.
std::string read_material(const std::filesystem::path& path) {
  std::string text = data::read_text(path);
  if (text.find_first_not_of(" \t\r\n") == std::string::npos)
    throw InputError(
        fmt::format("[{}] expected a text that the question is about, got an empty file; leave "
                    "--material out to ask without one",
                    path.string()));
  return text;
}

// Returns the seconds since this object was made.
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
    case generate::StopReason::kStopText:
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

struct Written : generate::TextGeneration {
  double prompt_seconds = 0.0, answer_seconds = 0.0;

  double tokens_per_second() const {
    // The first token is part of the time of the prompt.
    const auto later = static_cast<double>(generation.ids.size()) - 1.0;
    return later > 0.0 && answer_seconds > 0.0 ? later / answer_seconds : 0.0;
  }
};

// Writes the answer to standard output while it is generated.
Written write_answer(const generate::Runtime& model, const tokenizer::Tokenizer& tokenizer,
                     const std::vector<int64_t>& question, const generate::TextEnds& ends,
                     int64_t max_new_tokens, const generate::PickToken& pick) {
  generate::DecodeSession session(model.ready, model.context_size);
  auto reading = std::make_unique<Progress>("reading", static_cast<int64_t>(question.size()), "tokens");
  session.on_progress([&](int64_t done) {
    if (reading) reading->update(done);
  });
  Written written;
  Watch watch;
  const generate::PickToken timed_pick = [&](const at::Tensor& logits) {
    if (reading) {
      reading.reset();
      written.prompt_seconds = std::exchange(watch, {}).seconds();
    }
    return pick(logits);
  };
  static_cast<generate::TextGeneration&>(written) = generate::generate_text(
      session, question, ends, max_new_tokens, tokenizer, timed_pick, [](std::string_view piece) {
        fmt::print("{}", piece);
        std::fflush(stdout);
      });
  written.answer_seconds = watch.seconds();
  fmt::print("\n");
  return written;
}

constexpr int64_t kDefaultAnswerTokens = 512;

void run_inference(InferenceArguments& arguments) {
  if (find_invalid_utf8(arguments.question) != std::string::npos)
    throw UsageError("[--question] expected UTF-8, got bytes that are none");
  prepare_output_files({{"--json", arguments.json}},
                       model_inputs(arguments.model, {{"--material", arguments.material}}));
  const std::string material = arguments.material.empty() ? "" : read_material(arguments.material);
  const auto settings =
      generate::read_and_log_settings(arguments.model.base_model, generate::Decoding::kSampled);
  const generate::SamplingOptions sampling = generate::choose_sampling(settings, arguments.sampling);
  generate::make_sampler(sampling);  // throws for flags that are out of range
  log_info(fmt::format("sampling: {}{}", generate::describe_sampling(sampling),
                       settings.sampling.empty()
                           ? ""
                           : fmt::format(" ({}: {})", settings.source, fmt::join(settings.sampling, ", "))));
  const std::filesystem::path tokenizer_path = generate::tokenizer_path(arguments.model);
  const auto tokenizer = tokenizer::load_tokenizer(tokenizer_path);
  const std::string chat_template =
      tokenizer::find_chat_template({tokenizer_path, arguments.model.base_model});
  const tokenizer::Prompt prompt = choose_prompt({arguments.prompt, arguments.model.base_model,
                                                  arguments.model.peft_model, tokenizer_path, chat_template},
                                                 *tokenizer);
  const std::vector<int64_t> question = tokenizer::tokenize_question(
      *tokenizer, prompt, tokenizer::ask(prompt.form(), arguments.question, material));
  const auto num_tokens = std::ssize(question);
  const int64_t answer_tokens =
      arguments.max_gen_len.value_or(settings.max_new_tokens.value_or(kDefaultAnswerTokens));
  arguments.model.pass_tokens = [&](int64_t context_size) {
    return generate::tokens_of_generation(context_size, num_tokens, answer_tokens);
  };
  const generate::Runtime model = generate::open_runtime(arguments.model);
  if (num_tokens >= model.context_size)
    throw InputError(
        fmt::format("[{}] expected material and question to leave room for an answer in the context of {} "
                    "tokens, got {}; "
                    "raise --context_size or shorten the material",
                    arguments.material.empty() ? "--question" : arguments.material.string(),
                    format_count(model.context_size), format_count(num_tokens)));
  const generate::TextEnds ends = generate::find_text_ends(
      {settings, *tokenizer, chat_template, tokenizer_path, prompt.form(), model.vocab_size});
  const Written written = write_answer(model, *tokenizer, question, ends, answer_tokens,
                                       generate::make_sampler(sampling, question));
  log_info(fmt::format("{} tokens read in {}, {} written at {:.1f} tokens/s; {}", format_count(num_tokens),
                       format_duration(written.prompt_seconds),
                       format_count(std::ssize(written.generation.ids)), written.tokens_per_second(),
                       describe(written.generation.reason)));
  if (arguments.json.empty()) return;
  results::Inference result;
  result.model = evaluated_model(arguments.model, model);
  result.prompt = tokenizer::prompt_form_name(prompt.form());
  result.question = arguments.question;
  if (!arguments.material.empty()) result.material = arguments.material.string();
  result.answer = replace_invalid_utf8(written.text);
  result.prompt_tokens = num_tokens;
  result.answer_ids = written.generation.ids;
  result.stopped_by_model = generate::was_ended(written.generation.reason);
  result.prompt_seconds = written.prompt_seconds;
  result.tokens_per_second = written.tokens_per_second();
  write_json(arguments.json, result.to_json());
}

}  // namespace

namespace {

void add_sampling_flags(CLI::App& verb, generate::SamplingWishes& wishes) {
  const auto add = [&](const char* flag, auto& value, const char* help, const char* otherwise) {
    verb.add_option(flag, value,
                    fmt::format("{} (default: as generation_config.json says, else {})", help, otherwise));
  };
  add("--temperature", wishes.temperature, "Higher: more varied; 0: always the likeliest token", "0.6");
  add("--top_p", wishes.top_p, "Draw among the likeliest tokens that reach this probability", "0.9");
  add("--top_k", wishes.top_k, "Draw among this many of the likeliest tokens; 0: all", "0");
  add("--min_p", wishes.min_p, "Draw among tokens of at least this share of the likeliest one's probability",
      "0");
  add("--repetition_penalty", wishes.repetition_penalty,
      "Above 1: ids that came before, in question or answer, become less likely", "1");
}

}  // namespace

void add_inference_verb(CLI::App& app) {
  CLI::App& verb = *app.add_subcommand(
      "inference", "Answer one question, about a book or a paper where --material names one");
  auto arguments = std::make_shared<InferenceArguments>();
  arguments->model.dtype = "bfloat16";
  add_runtime_flags(verb, arguments->model);
  verb.add_option("--question", arguments->question, "The question")->required();
  verb.add_option("--material", arguments->material,
                  "A text that it is about, UTF-8; it goes in front of the question")
      ->type_name("FILE");
  add_prompt_flags(verb, arguments->prompt);
  verb.add_option(
          "--max_gen_len", arguments->max_gen_len,
          "Tokens of the longest answer (default: max_new_tokens of generation_config.json, else 512)")
      ->check(at_least(1));
  add_sampling_flags(verb, arguments->sampling);
  verb.add_option("--seed", arguments->sampling.seed, "Of the draws; the same seed writes the same answer")
      ->capture_default_str();
  verb.add_option("--json", arguments->json, "Write question, answer and speed to this file")
      ->type_name("FILE");
  verb.callback([arguments] { run_inference(*arguments); });
}

}  // namespace longlora::cli
