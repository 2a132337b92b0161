#include "longlora/results/answers.h"

#include <algorithm>

#include "longlora/results/fields.h"

namespace longlora::results {
namespace {

// The sums over answers from which the means come.
struct Counts {
  std::string task;
  int64_t num_questions = 0, num_exact = 0, num_tokens = 0;

  void add(const Answer& answer) {
    ++num_questions;
    num_exact += answer.exact ? 1 : 0;
    num_tokens += answer.tokens;
  }

  AnswerTask means() const {
    const auto count = static_cast<double>(num_questions);
    return {task, num_questions, static_cast<double>(num_exact) / count,
            static_cast<double>(num_tokens) / count};
  }
};

}  // namespace

void Answers::sum_up() {
  std::vector<Counts> counts;
  Counts all = {.task = "all"};
  for (const Answer& answer : answers) {
    all.add(answer);
    if (answer.task.empty()) continue;
    auto found = std::find_if(counts.begin(), counts.end(),
                              [&](const Counts& other) { return other.task == answer.task; });
    if (found == counts.end()) found = counts.insert(counts.end(), Counts{.task = answer.task});
    found->add(answer);
  }
  counts.push_back(all);
  tasks.clear();
  for (const Counts& task : counts) tasks.push_back(task.means());
  exact = tasks.back().exact;
}

Json Answers::to_json() const {
  return write_fields(*this);
}

Answers Answers::from_json(const Json& json, const std::string& where) {
  return read_fields<Answers>(json, where);
}

}  // namespace longlora::results
