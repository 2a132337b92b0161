#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <memory>

#include "longlora/cli/flags.h"
#include "longlora/cli/model_flags.h"
#include "longlora/cli/prompt_flag.h"
#include "longlora/cli/verbs.h"
#include "longlora/core/error.h"
#include "longlora/core/log.h"
#include "longlora/eval/answers.h"
#include "longlora/eval/text_ends.h"
#include "longlora/tokenizer/chat_template.h"

namespace longlora::cli {
namespace {

struct AnswerArguments {
  generate::RuntimeOptions model;
  eval::AnswerOptions options;
  std::vector<std::filesystem::path> data_paths;
  std::string prompt;
  std::string label;
  std::filesystem::path json;
};

Json to_json(const eval::TaskResult& result) {
  return {
      {"task", result.task},
      {"questions", result.num_questions},
      {"exact", result.accuracy()},
      {"mean_tokens", static_cast<double>(result.num_tokens) / static_cast<double>(result.num_questions)}};
}

void print_table(const std::vector<eval::TaskResult>& tasks) {
  fmt::print("{:>20}  {:>9}  {:>11}  {:>8}\n", "task", "questions", "mean tokens", "exact");
  for (const eval::TaskResult& result : tasks)
    fmt::print("{:>20}  {:>9}  {:>11.1f}  {:>8.3f}\n", result.task, result.num_questions,
               static_cast<double>(result.num_tokens) / static_cast<double>(result.num_questions),
               result.accuracy());
}

void run_answer(AnswerArguments& arguments) {
  prepare_output_file({"--json", arguments.json},
                      model_inputs(arguments.model, named_paths("--data_path", arguments.data_paths)));
  const std::filesystem::path tokenizer_path = generate::tokenizer_path(arguments.model);
  const auto tokenizer = tokenizer::load_tokenizer(tokenizer_path);
  const std::string chat_template =
      tokenizer::find_chat_template({tokenizer_path, arguments.model.base_model});
  const tokenizer::PromptForm form = choose_prompt_form(
      {arguments.prompt, arguments.model.base_model, arguments.model.peft_model, chat_template}, *tokenizer);
  const auto settings = eval::read_settings(arguments.model.base_model, eval::Decoding::kGreedy);
  // Faults of the data show before a model is loaded.
  const auto questions = eval::read_questions(arguments.data_paths, *tokenizer, form);
  const generate::Runtime model = generate::open_runtime(arguments.model);
  arguments.options.context_size = model.context_size;
  arguments.options.ends =
      eval::find_text_ends({settings, *tokenizer, chat_template, form, model.vocab_size});
  const eval::AnswerResult result =
      eval::answer_questions(model.ready, *tokenizer, questions, arguments.options);
  if (result.answers.empty())
    throw UsageError(
        fmt::format("[--context_size] expected room for the shortest question, got {} tokens; raise it",
                    model.context_size));
  const auto tasks = eval::by_task(result);
  print_table(tasks);
  if (arguments.json.empty()) return;
  Json json = result_header("answer", arguments.label, arguments.model, model);
  json["prompt"] = tokenizer::prompt_form_name(form);
  json["exact"] = tasks.back().accuracy();
  json["skipped"] = result.num_skipped;
  json["results"] = Json::array();
  for (const auto& task : tasks) json["results"].push_back(to_json(task));
  json["answers"] = Json::array();
  for (const eval::Answer& answer : result.answers)
    json["answers"].push_back({{"place", answer.question->place},
                               {"task", answer.question->task},
                               {"tokens", answer.question->ids.size()},
                               {"expected", answer.question->answer},
                               {"answer", answer.text},
                               {"exact", answer.exact}});
  write_json(arguments.json, json);
}

}  // namespace

void add_answer_verb(CLI::App& app) {
  CLI::App& verb = *app.add_subcommand(
      "answer", "Answer questions whose answers are known, and count those that are right word for word");
  auto arguments = std::make_shared<AnswerArguments>();
  add_model_flags(verb, arguments->model);
  add_paths(verb, "--data_path", arguments->data_paths,
            "Questions and answers in the forms that sft reads; a field \"task\" makes a row of the table")
      ->required();
  add_prompt_flag(verb, arguments->prompt);
  verb.add_option("--max_new_tokens", arguments->options.max_new_tokens,
                  "Tokens of the longest answer (default: as many as the known one has, and 16)")
      ->check(at_least(1));
  verb.add_option("--label", arguments->label, "Name of the model in reports");
  verb.add_option("--json", arguments->json, "Write the result, every answer, to this file")
      ->type_name("FILE");
  verb.callback([arguments] { run_answer(*arguments); });
}

}  // namespace longlora::cli
