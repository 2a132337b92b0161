#include "longlora/eval/answers.h"

#include <fmt/format.h>

#include <algorithm>

#include "longlora/core/error.h"
#include "longlora/core/json.h"
#include "longlora/core/log.h"
#include "longlora/core/progress.h"
#include "longlora/data/instruction_file.h"
#include "longlora/data/instruction_tokens.h"
#include "longlora/data/unread_fields.h"

namespace longlora::eval {
namespace {

/// Tokens that an answer may be longer than the known one before it is cut off.
constexpr int64_t kSpareTokens = 16;

std::string trimmed(const std::string& text) {
  constexpr const char* kSpace = " \t\r\n";
  const size_t begin = text.find_first_not_of(kSpace);
  return begin == std::string::npos ? "" : text.substr(begin, text.find_last_not_of(kSpace) + 1 - begin);
}

std::string task_of(const Json& sample) {
  const auto task = sample.find("task");
  return task != sample.end() && task->is_string() ? task->get<std::string>() : "";
}

}  // namespace

std::vector<Question> read_questions(const std::vector<std::filesystem::path>& paths,
                                     const tokenizer::Tokenizer& tokenizer, tokenizer::PromptForm form) {
  if (!tokenizer.eos_id())
    throw UsageError("[answer] expected a tokenizer with an end-of-sequence token, got one without");
  std::vector<Question> questions;
  for (const auto& path : data::expand_folders(paths, data::FolderContents::kSamples)) {
    const data::InstructionFile file(path);
    data::UnreadFields unread;
    questions.reserve(questions.size() + file.size());
    for (size_t i = 0; i < file.size(); ++i) {
      std::vector<std::string> names;
      const data::Conversation turns = file.read(i, &names);
      std::erase(names, "task");
      unread.add(names);
      const Json sample = data::parse_sample(file.text(i), file.place(i));
      questions.push_back({file.place(i), task_of(sample), data::tokenize_question(tokenizer, form, turns),
                           trimmed(turns.back().text)});
    }
    unread.log(path.string());
  }
  return questions;
}

AnswerResult answer_questions(const forward::ReadyDecoder& ready, const tokenizer::Tokenizer& tokenizer,
                              const std::vector<Question>& questions, const AnswerOptions& options) {
  generate::DecodeSession session(ready, options.context_size);
  int64_t end_tokens = 0;  // of an end that is spelled in several
  for (const std::string& text : options.ends.texts)
    end_tokens = std::max(end_tokens, static_cast<int64_t>(tokenizer.encode(text, false).size()));
  AnswerResult result;
  result.answers.reserve(questions.size());
  int64_t num_exact = 0;
  Progress progress("answering", static_cast<int64_t>(questions.size()), "questions");
  for (const Question& question : questions) {
    const auto expected = static_cast<int64_t>(tokenizer.encode(question.answer, false).size());
    const auto asked = static_cast<int64_t>(question.ids.size());
    if (asked + expected > options.context_size) {
      ++result.num_skipped;
      continue;
    }
    const int64_t most =
        options.max_new_tokens > 0 ? options.max_new_tokens : expected + end_tokens + kSpareTokens;
    session.reset();
    const std::vector<int64_t> prompt(question.ids.begin(), question.ids.end());
    const generate::TextGeneration written =
        generate::generate_text(session, prompt, options.ends, most, tokenizer);
    Answer answer = {&question, trimmed(written.text), false};
    // A text that goes on is another answer.
    answer.exact = generate::was_ended(written.generation.reason) && answer.text == question.answer;
    num_exact += answer.exact ? 1 : 0;
    result.answers.push_back(std::move(answer));
    const auto done = static_cast<int64_t>(result.answers.size());
    progress.update(done + result.num_skipped,
                    fmt::format("exact {:.3f}", static_cast<double>(num_exact) / static_cast<double>(done)));
  }
  progress.finish();
  if (result.num_skipped > 0)
    log_warning(fmt::format("{} of {} questions are longer than the context of {} tokens and were left out",
                            result.num_skipped, questions.size(), format_count(options.context_size)));
  return result;
}

double TaskResult::accuracy() const {
  return num_questions > 0 ? static_cast<double>(num_exact) / static_cast<double>(num_questions) : 0.0;
}

std::vector<TaskResult> by_task(const AnswerResult& result) {
  std::vector<TaskResult> tasks;
  TaskResult all;
  all.task = "all";
  const auto add = [](const Answer& answer, TaskResult& sums) {
    ++sums.num_questions;
    sums.num_exact += answer.exact ? 1 : 0;
    sums.num_tokens += static_cast<int64_t>(answer.question->ids.size());
  };
  for (const Answer& answer : result.answers) {
    add(answer, all);
    const std::string& task = answer.question->task;
    if (task.empty()) continue;
    auto found =
        std::find_if(tasks.begin(), tasks.end(), [&](const auto& sums) { return sums.task == task; });
    if (found == tasks.end()) found = tasks.insert(tasks.end(), TaskResult{task});
    add(answer, *found);
  }
  tasks.push_back(all);
  return tasks;
}

}  // namespace longlora::eval
