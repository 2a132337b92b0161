// Questions with known answers: how many does a model answer word for word?
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "longlora/forward/ready_decoder.h"
#include "longlora/generate/text_generation.h"
#include "longlora/tokenizer/prompt_form.h"
#include "longlora/tokenizer/tokenizer.h"

namespace longlora::eval {

/// A sample of an instruction file (docs/sft.md); of a conversation the last answer is wanted.
struct Question {
  std::string place;   // "file.jsonl:8"
  std::string task;    // its field "task", or empty
  tokenizer::Ids ids;  // after which the answer is written
  std::string answer;
};

/// Reads files and folders of samples. Throws InputError: broken samples, a path that does not exist, and
/// UsageError for a tokenizer without EOS.
std::vector<Question> read_questions(const std::vector<std::filesystem::path>& paths,
                                     const tokenizer::Tokenizer& tokenizer, tokenizer::PromptForm form);

struct AnswerOptions {
  generate::TextEnds ends = {};  // of an answer
  int64_t context_size = 0;      // tokens of question and answer together
  int64_t max_new_tokens = 0;    // 0: as many as the known answer has, and 16
};

/// What the model wrote.
struct Answer {
  const Question* question = nullptr;
  std::string text;  // without space at its ends
  bool exact = false;
};

struct AnswerResult {
  std::vector<Answer> answers;
  int64_t num_skipped = 0;  // longer than the context
};

/// Greedy answers up to one of the ends. Exact: the same text as the known answer, but for space at the ends.
/// `questions` must outlive the result.
AnswerResult answer_questions(const forward::ReadyDecoder& ready, const tokenizer::Tokenizer& tokenizer,
                              const std::vector<Question>& questions, const AnswerOptions& options);

/// Sums over the answers to one task's questions; the last entry, with the name "all", is over all of them.
struct TaskResult {
  std::string task;
  int64_t num_questions = 0;
  int64_t num_exact = 0;
  int64_t num_tokens = 0;  // of the questions

  double accuracy() const;
};
std::vector<TaskResult> by_task(const AnswerResult& result);

}  // namespace longlora::eval
