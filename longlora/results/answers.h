// The result of `answer`: questions with known answers, and how many a model answers word for word.
#pragma once

#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "longlora/core/json_fwd.h"
#include "longlora/results/evaluated_model.h"

namespace longlora::results {

/// What the model wrote to one question.
struct Answer {
  std::string place = {};     // of the question: "file.jsonl:8"
  std::string task = {};      // that the question belongs to, or empty
  int64_t tokens = -1;        // of the question
  std::string expected = {};  // the known answer
  std::string answer = {};    // without space at its ends
  bool exact = false;

  template <typename Self, typename Fields>
  static void list_fields(Self& self, Fields& fields) {
    fields.optional("place", self.place);
    fields.optional("task", self.task);
    fields.optional("tokens", self.tokens);
    fields.optional("expected", self.expected);
    fields.optional("answer", self.answer);
    fields.required("exact", self.exact);
  }
};

/// The answers to the questions of one task.
struct AnswerTask {
  std::string task = {};  // "all": over the questions of all tasks
  int64_t num_questions = 0;
  double exact = 0.0;  // share of the questions that were answered word for word
  double mean_tokens = std::numeric_limits<double>::quiet_NaN();  // of a question; NaN: not known

  template <typename Task, typename Fields>
  static void list_fields(Task& task, Fields& fields) {
    fields.optional("task", task.task);
    fields.check(!task.task.empty(), "the name of a task under \"task\"", "none");
    fields.required("questions", task.num_questions, 1);
    fields.share("exact", task.exact);
    fields.optional("mean_tokens", task.mean_tokens);
  }
};

struct Answers {
  static constexpr const char* kVerb = "answer";

  EvaluatedModel model = {};
  std::string prompt = {};             // form that the questions were asked in
  double exact = 0.0;                  // share of all questions that were answered word for word
  int64_t num_skipped = -1;            // questions beyond the context; -1: not known
  std::vector<AnswerTask> tasks = {};  // the last is "all"
  std::vector<Answer> answers = {};

  template <typename Result, typename Fields>
  static void list_fields(Result& result, Fields& fields) {
    EvaluatedModel::list_fields(result.model, fields);
    fields.optional("prompt", result.prompt);
    fields.optional("exact", result.exact);
    fields.optional("skipped", result.num_skipped);
    fields.objects("results", result.tasks);
    fields.optional_objects("answers", result.answers);
  }

  /// Counts `answers` by task, in order of first appearance, and over all. Sets `tasks` and `exact`. Requires
  /// an answer.
  void sum_up();

  Json to_json() const;
  /// `where` names the file in errors. Throws InputError.
  static Answers from_json(const Json& json, const std::string& where);
};

}  // namespace longlora::results
