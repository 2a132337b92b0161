// The result of `answer`: questions with known answers, and how many of them a model answers word for word.
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
  std::string place = {};     // where the question stands: "file.jsonl:8"
  std::string task = {};      // the task that the question belongs to, or empty
  int64_t tokens = -1;        // the length of the question
  std::string expected = {};  // the known answer
  std::string answer = {};    // what the model wrote, without space at its ends
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
  std::string task = {};  // its name; "all" for the questions of all tasks
  int64_t num_questions = 0;
  double exact = 0.0;  // the share of the questions that were answered word for word
  double mean_tokens =
      std::numeric_limits<double>::quiet_NaN();  // the mean length of a question; NaN: not known

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
  std::string prompt = {};             // the form in which the questions were asked
  double exact = 0.0;                  // the share of all questions that were answered word for word
  int64_t num_skipped = -1;            // how many questions were longer than the context; -1: not known
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

  /// Sets `tasks` and `exact` from `answers`: counts them by task, in the order in which tasks first appear,
  /// and in all. Requires an answer.
  void sum_up();

  Json to_json() const;
  /// `where` names the file in errors. Throws InputError.
  static Answers from_json(const Json& json, const std::string& where);
};

}  // namespace longlora::results
