#include <fmt/format.h>
#include <fmt/ranges.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <iostream>
#include <iterator>
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
#include "longlora/generate/run_jobs.h"
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
  std::vector<std::string> questions;
  std::filesystem::path material;
  bool chat = false;
  PromptFlags prompt;
  std::optional<int64_t> max_gen_len;
  generate::SamplingWishes sampling;
  std::filesystem::path json;
};

// The path and the question that stand for standard input.
constexpr const char* kStandardInput = "-";

std::string read_standard_input() {
  const std::string bytes(std::istreambuf_iterator<char>(std::cin), {});
  if (const size_t at = find_invalid_utf8(bytes); at != std::string::npos)
    throw InputError(fmt::format("[standard input] expected UTF-8, got another byte at offset {}", at));
  return bytes;
}

// Reads the text that the questions are about.
std::string read_material(const std::filesystem::path& path) {
  std::string text = path == kStandardInput ? read_standard_input() : data::read_text(path);
  if (text.find_first_not_of(" \t\r\n") == std::string::npos)
    throw InputError(
        fmt::format("[{}] expected a text that the question is about, got an empty file; leave "
                    "--material out to ask without one",
                    path.string()));
  return text;
}

volatile std::sig_atomic_t stop_requested = 0;

// While it lives, Ctrl-C ends the answer in hand and not the program.
class StopsAtInterrupt {
 public:
  StopsAtInterrupt() : before_(std::signal(SIGINT, [](int) { stop_requested = 1; })) { stop_requested = 0; }
  ~StopsAtInterrupt() { std::signal(SIGINT, before_); }
  StopsAtInterrupt(const StopsAtInterrupt&) = delete;
  StopsAtInterrupt& operator=(const StopsAtInterrupt&) = delete;

 private:
  void (*before_)(int);
};

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

// Everything that answers have in common.
struct Answerer {
  const InferenceArguments& arguments;
  const tokenizer::Tokenizer& tokenizer;
  const tokenizer::Prompt& prompt;
  const generate::TextEnds& ends;
  generate::SamplingOptions sampling;
  int64_t answer_tokens;
  generate::Generator& generator;

  std::vector<int64_t> ids_of(const tokenizer::Conversation& conversation) const {
    return tokenizer::tokenize_question(tokenizer, prompt, conversation);
  }

  // Writes the answer to standard output while it is generated, and a line about it to the log.
  Written answer(const std::vector<int64_t>& question) const;
};

void require_room(const InferenceArguments& arguments, int64_t num_tokens, int64_t context_size) {
  if (num_tokens < context_size) return;
  throw InputError(
      fmt::format("[{}] expected material and question to leave room for an answer in the context of {} "
                  "tokens, got {}; "
                  "raise --context_size or shorten the material",
                  arguments.material.empty() ? "--question" : arguments.material.string(),
                  format_count(context_size), format_count(num_tokens)));
}

Written Answerer::answer(const std::vector<int64_t>& question) const {
  require_room(arguments, std::ssize(question), generator.context_size());
  const StopsAtInterrupt stops;
  auto reading = std::make_unique<Progress>("reading", std::ssize(question), "tokens");
  int64_t cached = 0;
  Written written;
  Watch watch;
  const auto hear = [&](const generate::JobEvent& event) {
    if (const auto* read = std::get_if<generate::Reading>(&event)) {
      cached = read->cached;
      if (reading) reading->update(read->done);
    }
    if (std::holds_alternative<generate::Wrote>(event) && reading) {
      reading.reset();
      written.prompt_seconds = std::exchange(watch, {}).seconds();
    }
    return stop_requested == 0;
  };
  static_cast<generate::TextGeneration&>(written) = generate::generate_text(
      generator, {.prompt = question, .max_new_tokens = answer_tokens, .sampling = sampling}, ends, tokenizer,
      [](std::string_view piece) {
        fmt::print("{}", piece);
        std::fflush(stdout);
      },
      hear);
  // Where the answer ended before its first token, all of the time was that of the prompt.
  if (reading) written.prompt_seconds = std::exchange(watch, {}).seconds();
  reading.reset();
  written.answer_seconds = watch.seconds();
  fmt::print("\n");
  std::fflush(stdout);
  log_info(fmt::format("{} tokens read in {}{}, {} written at {:.1f} tokens/s; {}",
                       format_count(std::ssize(question)), format_duration(written.prompt_seconds),
                       cached > 0 ? fmt::format(" ({} of them before)", format_count(cached)) : "",
                       format_count(std::ssize(written.generation.ids)), written.tokens_per_second(),
                       describe(written.generation.reason)));
  return written;
}

constexpr int64_t kDefaultAnswerTokens = 512;

results::Inference result_of(const Answerer& answerer, const generate::Runtime& model,
                             const std::string& question, int64_t num_tokens, const Written& written) {
  results::Inference result;
  result.model = evaluated_model(answerer.arguments.model, model);
  result.prompt = tokenizer::prompt_form_name(answerer.prompt.form());
  result.question = question;
  if (!answerer.arguments.material.empty()) result.material = answerer.arguments.material.string();
  result.answer = replace_invalid_utf8(written.text);
  result.prompt_tokens = num_tokens;
  result.answer_ids = written.generation.ids;
  result.stopped_by_model = generate::was_ended(written.generation.reason);
  result.prompt_seconds = written.prompt_seconds;
  result.tokens_per_second = written.tokens_per_second();
  return result;
}

// Asks what the user types, line by line, until the input ends. Earlier questions and answers are part of the
// conversation.
void run_chat(const Answerer& answerer, const std::string& material) {
  const bool is_terminal = isatty(STDIN_FILENO) != 0;
  if (is_terminal) log_info("type a question; /forget begins a new conversation, /quit or Ctrl-D ends");
  tokenizer::Conversation conversation;
  std::string line;
  while (true) {
    if (is_terminal) fmt::print("> ");
    std::fflush(stdout);
    if (!std::getline(std::cin, line) || line == "/quit") break;
    if (line == "/forget") {
      conversation.clear();
      continue;
    }
    if (line.find_first_not_of(" \t\r") == std::string::npos) continue;
    if (find_invalid_utf8(line) != std::string::npos) {
      log_warning("expected a question in UTF-8; it was left out");
      continue;
    }
    tokenizer::Conversation next = conversation;
    if (next.empty())
      next = tokenizer::ask(answerer.prompt.form(), line, material);
    else
      next.push_back({.role = tokenizer::Role::kUser, .text = line});
    try {
      const Written written = answerer.answer(answerer.ids_of(next));
      next.push_back({.role = tokenizer::Role::kAssistant, .text = replace_invalid_utf8(written.text)});
      conversation = std::move(next);
    } catch (const InputError& error) {
      log_warning(error.what());
    }
  }
}

std::vector<std::string> read_questions(const InferenceArguments& arguments) {
  std::vector<std::string> questions = arguments.questions;
  if (questions.empty() && !arguments.chat)
    throw UsageError("[--question] expected a question, or --chat, got neither");
  for (std::string& question : questions) {
    if (question == kStandardInput) {
      if (arguments.material == kStandardInput || arguments.chat)
        throw UsageError("[--question] expected standard input to be asked for once");
      question = read_standard_input();
      while (!question.empty() && (question.back() == '\n' || question.back() == '\r')) question.pop_back();
    }
    if (find_invalid_utf8(question) != std::string::npos)
      throw UsageError("[--question] expected UTF-8, got bytes that are none");
  }
  return questions;
}

void run_inference(InferenceArguments& arguments) {
  const std::vector<std::string> questions = read_questions(arguments);
  if (arguments.chat && arguments.material == kStandardInput)
    throw UsageError("[--material] expected a file beside --chat, whose questions come from standard input");
  std::vector<NamedPath> inputs;
  if (arguments.material != kStandardInput) inputs.push_back({"--material", arguments.material});
  prepare_output_files({{"--json", arguments.json}}, model_inputs(arguments.model, inputs));
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
  std::vector<std::vector<int64_t>> asked;
  asked.reserve(questions.size());
  for (const std::string& question : questions)
    asked.push_back(
        tokenizer::tokenize_question(*tokenizer, prompt, tokenizer::ask(prompt.form(), question, material)));
  int64_t longest = 1;
  for (const auto& ids : asked) longest = std::max(longest, std::ssize(ids));
  const int64_t answer_tokens =
      arguments.max_gen_len.value_or(settings.max_new_tokens.value_or(kDefaultAnswerTokens));
  arguments.model.pass_tokens = [&](int64_t context_size) {
    return generate::tokens_of_generation(context_size, arguments.chat ? context_size : longest,
                                          answer_tokens);
  };
  const generate::Runtime model = generate::open_runtime(arguments.model);
  for (const auto& ids : asked) require_room(arguments, std::ssize(ids), model.context_size);
  const generate::TextEnds ends = generate::find_text_ends(
      {settings, *tokenizer, chat_template, tokenizer_path, prompt.form(), model.vocab_size});
  const auto generator = generate::open_generator(model);
  const Answerer answerer = {arguments, *tokenizer, prompt, ends, sampling, answer_tokens, *generator};
  std::vector<results::Inference> results;
  results.reserve(questions.size());
  for (size_t i = 0; i < questions.size(); ++i) {
    if (questions.size() > 1) fmt::print("{}{}\n\n", i > 0 ? "\n" : "", questions[i]);
    const Written written = answerer.answer(asked[i]);
    results.push_back(result_of(answerer, model, questions[i], std::ssize(asked[i]), written));
    if (stop_requested != 0) break;
  }
  if (arguments.chat) run_chat(answerer, material);
  if (arguments.json.empty() || results.empty()) return;
  if (questions.size() == 1) return write_json(arguments.json, results.front().to_json());
  Json list = Json::array();
  for (const results::Inference& result : results) list.push_back(result.to_json());
  write_json(arguments.json, list);
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
      "inference", "Answer questions, about a book or a paper where --material names one");
  auto arguments = std::make_shared<InferenceArguments>();
  arguments->model.dtype = "bfloat16";
  add_runtime_flags(verb, arguments->model);
  verb.add_option(
          "--question", arguments->questions,
          "The question, or -, which reads it from standard input; several are answered one after the "
          "other, and their material is read once")
      ->allow_extra_args(false);
  verb.add_option(
          "--material", arguments->material,
          "A text that they are about, UTF-8, or - for standard input; it goes in front of the question")
      ->type_name("FILE");
  add_bool(verb, "--chat", arguments->chat,
           "Answer questions that are typed, each with what was said before in mind");
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
