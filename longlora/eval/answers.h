// Asks a model questions with known answers, and counts those that it answers word for word.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "longlora/generate/generator.h"
#include "longlora/generate/text_generation.h"
#include "longlora/results/answers.h"
#include "longlora/tokenizer/prompt.h"
#include "longlora/tokenizer/tokenizer.h"

namespace longlora::eval {

/// A sample of an instruction file (docs/sft.md). In a conversation the last answer is wanted.
struct Question {
  std::string place;         // "file.jsonl:8"
  std::string task;          // the content of its field "task", or empty
  std::vector<int64_t> ids;  // the ids after which the answer is to be written
  std::string answer;
};

/// Reads files of samples, and folders of them. Throws InputError for broken samples and for a path that does
/// not exist, and UsageError for a tokenizer without EOS.
std::vector<Question> read_questions(const std::vector<std::filesystem::path>& paths,
                                     const tokenizer::Tokenizer& tokenizer, const tokenizer::Prompt& prompt);

struct AnswerOptions {
  generate::TextEnds ends = {};  // what ends an answer
  int64_t context_size = 0;      // the most tokens that question and answer may have together
  int64_t max_new_tokens = 0;    // 0: as many as the known answer has, and 16
};

struct AnsweredQuestions {
  std::vector<results::Answer> answers;
  int64_t num_skipped = 0;  // how many questions were longer than the context
};

/// Answers questions greedily, several at once, each up to one of the ends. An answer is exact when it is the
/// text of the known answer, apart from space at the ends.
AnsweredQuestions answer_questions(generate::Generator& generator, const tokenizer::Tokenizer& tokenizer,
                                   const std::vector<Question>& questions, const AnswerOptions& options);

}  // namespace longlora::eval
