#include "longlora/eval/answers.h"

#include <fmt/format.h>

#include <algorithm>
#include <span>
#include <utility>

#include "longlora/core/error.h"
#include "longlora/core/format.h"
#include "longlora/core/json.h"
#include "longlora/core/log.h"
#include "longlora/core/progress.h"
#include "longlora/core/text.h"
#include "longlora/data/instruction_file.h"
#include "longlora/data/unread_fields.h"
#include "longlora/tokenizer/chat.h"

namespace longlora::eval {
namespace {

// How many tokens an answer may be longer than the known one before it is cut off.
constexpr int64_t kSpareTokens = 16;
// How many questions are answered together. Those about the same material read it once.
constexpr size_t kQuestionsAtOnce = 8;

std::string task_of(const Json& sample) {
  const auto task = sample.find("task");
  return task != sample.end() && task->is_string() ? task->get<std::string>() : "";
}

}  // namespace

std::vector<Question> read_questions(const std::vector<std::filesystem::path>& paths,
                                     const tokenizer::Tokenizer& tokenizer, const tokenizer::Prompt& prompt) {
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
      questions.push_back({file.place(i), task_of(sample), {}, trimmed(turns.back().text)});
      try {
        questions.back().ids = tokenizer::tokenize_question(tokenizer, prompt, turns);
      } catch (const InputError& error) {
        throw InputError(fmt::format("[{}] {}", file.place(i), error.what()));
      }
    }
    unread.log(path.string());
  }
  return questions;
}

AnsweredQuestions answer_questions(generate::Generator& generator, const tokenizer::Tokenizer& tokenizer,
                                   const std::vector<Question>& questions, const AnswerOptions& options) {
  int64_t end_tokens = 0;  // the length of the longest end that is spelled in several tokens
  for (const std::string& text : options.ends.texts)
    end_tokens = std::max(end_tokens, static_cast<int64_t>(tokenizer.encode(text, false).size()));
  AnsweredQuestions result;
  result.answers.reserve(questions.size());
  int64_t num_exact = 0;
  Progress progress("answering", static_cast<int64_t>(questions.size()), "questions");
  for (size_t begin = 0; begin < questions.size(); begin += kQuestionsAtOnce) {
    std::vector<const Question*> asked;
    std::vector<generate::Job> jobs;
    for (const Question& question :
         std::span(questions).subspan(begin, std::min(kQuestionsAtOnce, questions.size() - begin))) {
      const auto expected = static_cast<int64_t>(tokenizer.encode(question.answer, false).size());
      if (std::ssize(question.ids) + expected > options.context_size) {
        ++result.num_skipped;
        continue;
      }
      asked.push_back(&question);
      jobs.push_back({.prompt = question.ids,
                      .max_new_tokens = options.max_new_tokens > 0 ? options.max_new_tokens
                                                                   : expected + end_tokens + kSpareTokens,
                      .sampling = {.temperature = 0.0}});
    }
    const auto written = generate::generate_texts(generator, std::move(jobs), options.ends, tokenizer);
    for (size_t i = 0; i < asked.size(); ++i) {
      results::Answer answer = {.place = asked[i]->place,
                                .task = asked[i]->task,
                                .tokens = std::ssize(asked[i]->ids),
                                .expected = asked[i]->answer,
                                .answer = trimmed(written[i].text)};
      // A text that goes on behind the known answer is another answer.
      answer.exact = generate::was_ended(written[i].generation.reason) && answer.answer == asked[i]->answer;
      num_exact += answer.exact ? 1 : 0;
      result.answers.push_back(std::move(answer));
    }
    const auto done = std::max<int64_t>(1, std::ssize(result.answers));
    progress.update(std::ssize(result.answers) + result.num_skipped,
                    fmt::format("exact {:.3f}", static_cast<double>(num_exact) / static_cast<double>(done)));
  }
  progress.finish();
  if (result.num_skipped > 0)
    log_warning(fmt::format("{} of {} questions are longer than the context of {} tokens and were left out",
                            result.num_skipped, questions.size(), format_count(options.context_size)));
  return result;
}

}  // namespace longlora::eval
