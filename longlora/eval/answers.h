// Questions with known answers: how many does a model answer word for word?
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "longlora/forward/ready_decoder.h"
#include "longlora/generate/text_generation.h"
#include "longlora/results/answers.h"
#include "longlora/tokenizer/prompt_form.h"
#include "longlora/tokenizer/tokenizer.h"

namespace longlora::eval {

/// A sample of an instruction file (docs/sft.md); of a conversation the last answer is wanted.
struct Question {
  std::string place;         // "file.jsonl:8"
  std::string task;          // its field "task", or empty
  std::vector<int64_t> ids;  // after which the answer is written
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

struct AnsweredQuestions {
  std::vector<results::Answer> answers;
  int64_t num_skipped = 0;  // questions longer than the context
};

/// Greedy answers up to one of the ends. Exact: the same text as the known answer, but for space at the ends.
AnsweredQuestions answer_questions(const forward::ReadyDecoder& ready, const tokenizer::Tokenizer& tokenizer,
                                   const std::vector<Question>& questions, const AnswerOptions& options);

}  // namespace longlora::eval
