#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <memory>
#include <utility>

#include "longlora/cli/flags.h"
#include "longlora/cli/model_flags.h"
#include "longlora/cli/prompt_flag.h"
#include "longlora/cli/verbs.h"
#include "longlora/core/error.h"
#include "longlora/core/json.h"
#include "longlora/core/log.h"
#include "longlora/eval/answers.h"
#include "longlora/generate/generation_settings.h"
#include "longlora/generate/run_jobs.h"
#include "longlora/generate/text_ends.h"
#include "longlora/tokenizer/chat_template.h"

namespace longlora::cli {
namespace {

struct AnswerArguments {
  generate::RuntimeOptions model;
  eval::AnswerOptions options;
  std::vector<std::filesystem::path> data_paths;
  PromptFlags prompt;
  std::string label;
  std::filesystem::path json;
};

void print_table(const std::vector<results::AnswerTask>& tasks) {
  fmt::print("{:>20}  {:>9}  {:>11}  {:>8}\n", "task", "questions", "mean tokens", "exact");
  for (const results::AnswerTask& task : tasks)
    fmt::print("{:>20}  {:>9}  {:>11.1f}  {:>8.3f}\n", task.task, task.num_questions, task.mean_tokens,
               task.exact);
}

// The length of answers that memory is planned for where --max_new_tokens is not given.
constexpr int64_t kUsualAnswerTokens = 512;

void run_answer(AnswerArguments& arguments) {
  prepare_output_files({{"--json", arguments.json}},
                       model_inputs(arguments.model, named_paths("--data_path", arguments.data_paths)));
  const std::filesystem::path tokenizer_path = generate::tokenizer_path(arguments.model);
  const auto tokenizer = tokenizer::load_tokenizer(tokenizer_path);
  const std::string chat_template =
      tokenizer::find_chat_template({tokenizer_path, arguments.model.base_model});
  const tokenizer::Prompt prompt = choose_prompt({arguments.prompt, arguments.model.base_model,
                                                  arguments.model.peft_model, tokenizer_path, chat_template},
                                                 *tokenizer);
  const auto settings =
      generate::read_and_log_settings(arguments.model.base_model, generate::Decoding::kGreedy);
  // The data are read first, so that their faults show before a model is loaded.
  const auto questions = eval::read_questions(arguments.data_paths, *tokenizer, prompt);
  arguments.model.pass_tokens = [&](int64_t context_size) {
    int64_t longest = 0;
    for (const eval::Question& question : questions) longest = std::max(longest, std::ssize(question.ids));
    const int64_t answer = arguments.options.max_new_tokens;
    return generate::tokens_of_generation(context_size, longest, answer > 0 ? answer : kUsualAnswerTokens);
  };
  const generate::Runtime model = generate::open_runtime(arguments.model);
  arguments.options.context_size = model.context_size;
  arguments.options.ends = generate::find_text_ends(
      {settings, *tokenizer, chat_template, tokenizer_path, prompt.form(), model.vocab_size});
  eval::AnsweredQuestions answered =
      eval::answer_questions(*generate::open_generator(model), *tokenizer, questions, arguments.options);
  if (answered.answers.empty())
    throw UsageError(
        fmt::format("[--context_size] expected room for the shortest question, got {} tokens; raise it",
                    model.context_size));
  results::Answers result;
  result.answers = std::move(answered.answers);
  result.sum_up();
  print_table(result.tasks);
  if (arguments.json.empty()) return;
  result.model = evaluated_model(arguments.model, model, arguments.label);
  result.prompt = tokenizer::prompt_form_name(prompt.form());
  result.num_skipped = answered.num_skipped;
  write_json(arguments.json, result.to_json());
}

}  // namespace

void add_answer_verb(CLI::App& app) {
  CLI::App& verb = *app.add_subcommand(
      "answer", "Answer questions whose answers are known, and count those that are right word for word");
  auto arguments = std::make_shared<AnswerArguments>();
  add_runtime_flags(verb, arguments->model);
  add_paths(verb, "--data_path", arguments->data_paths,
            "Questions and answers in the forms that sft reads; a field \"task\" makes a row of the table")
      ->required();
  add_prompt_flags(verb, arguments->prompt);
  verb.add_option("--max_new_tokens", arguments->options.max_new_tokens,
                  "Tokens of the longest answer (default: as many as the known one has, and 16)")
      ->check(at_least(1));
  verb.add_option("--label", arguments->label, "Name of the model in reports");
  verb.add_option("--json", arguments->json, "Write the result, every answer, to this file")
      ->type_name("FILE");
  verb.callback([arguments] { run_answer(*arguments); });
}

}  // namespace longlora::cli
