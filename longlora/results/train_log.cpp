#include "longlora/results/train_log.h"

#include <fmt/format.h>

#include <algorithm>

#include "longlora/core/error.h"
#include "longlora/results/fields.h"

namespace longlora::results {
namespace {

struct Line {
  std::string text;
  int number = 0;  // counts from 1
};

std::vector<Line> non_empty_lines(const std::string& text) {
  std::vector<Line> lines;
  int number = 0;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    ++number;
    Line line{text.substr(begin, end - begin), number};
    if (line.text.find_first_not_of(" \t\r") != std::string::npos) lines.push_back(std::move(line));
    begin = end + 1;
  }
  return lines;
}

template <typename Entry>
void drop_from(int64_t step, std::vector<Entry>& entries) {
  std::erase_if(entries, [&](const Entry& entry) { return entry.step >= step; });
}

void add_step(const TrainStep& step, TrainLog& log) {
  if (!log.steps.empty() && step.step <= log.steps.back().step) {
    drop_from(step.step, log.steps);
    drop_from(step.step, log.evaluations);
  }
  log.steps.push_back(step);
}

void add_evaluation(const TrainEvaluation& evaluation, TrainLog& log) {
  drop_from(evaluation.step, log.evaluations);
  log.evaluations.push_back(evaluation);
}

}  // namespace

TrainLog TrainLog::parse(const std::string& text, const std::string& source) {
  TrainLog log;
  const std::vector<Line> lines = non_empty_lines(text);
  for (const Line& line : lines) {
    const std::string where = fmt::format("{}, line {}", source, line.number);
    const Json json = Json::parse(line.text, nullptr, /*allow_exceptions=*/false);
    if (json.is_discarded()) {
      if (&line == &lines.back()) {
        log.notes.push_back(
            fmt::format("{}: the unfinished last line ({}) was left out", source, line.number));
        break;
      }
      throw InputError(
          fmt::format("[{}] expected one JSON object on the line, got something else. The log is "
                      "damaged: remove that line to go on without it.",
                      where));
    }
    const FieldReader fields(json, where);
    if (fields.has("eval_loss")) add_evaluation(read_fields<TrainEvaluation>(json, where), log);
    if (fields.has("loss")) add_step(read_fields<TrainStep>(json, where), log);
  }
  if (log.steps.empty() && log.evaluations.empty())
    throw InputError(
        fmt::format("[{}] expected lines such as {{\"step\":1,\"loss\":2.5,…}}, got none. Has the "
                    "run made a step?",
                    source));
  return log;
}

}  // namespace longlora::results
