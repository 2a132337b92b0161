#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "longlora/core/error.h"
#include "longlora/report/inputs.h"
#include "longlora/report/json_fields.h"

namespace longlora::report {
namespace {

struct Line {
  std::string text;
  int number = 0;  // from 1
};

std::vector<Line> non_empty_lines(const std::string& text) {
  std::vector<Line> lines;
  int number = 0;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    ++number;
    Line line{text.substr(begin, end - begin), number};
    if (line.text.find_first_not_of(" \t\r") != std::string::npos) {
      lines.push_back(std::move(line));
    }
    begin = end + 1;
  }
  return lines;
}

void add_train_step(const JsonFields& fields, TrainLog& log) {
  TrainStep step;
  step.step = fields.count("step", 0);
  step.loss = fields.number("loss");
  step.learning_rate = fields.number_or_nan("learning_rate");
  step.gradient_norm = fields.number_or_nan("grad_norm");
  step.tokens_per_second = fields.number_or_nan("tokens_per_second");
  step.tokens = fields.count_or_unknown("tokens");
  step.peak_memory_bytes = fields.count_or_unknown("peak_memory_bytes");
  step.seconds = fields.number_or_nan("seconds");
  if (!log.steps.empty() && step.step <= log.steps.back().step) {
    std::erase_if(log.steps, [&](const TrainStep& other) { return other.step >= step.step; });
    std::erase_if(log.evaluations, [&](const TrainEvaluation& other) { return other.step >= step.step; });
  }
  log.steps.push_back(step);
}

void add_evaluation(const JsonFields& fields, TrainLog& log) {
  TrainEvaluation evaluation;
  evaluation.step = fields.count("step", 0);
  evaluation.loss = fields.number("eval_loss");
  evaluation.perplexity =
      fields.has("eval_perplexity") ? fields.number("eval_perplexity") : std::exp(evaluation.loss);
  std::erase_if(log.evaluations, [&](const TrainEvaluation& other) { return other.step >= evaluation.step; });
  log.evaluations.push_back(evaluation);
}

}  // namespace

TrainLog parse_train_log(const std::string& text, const std::string& source) {
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
    const JsonFields fields(json, where);
    if (fields.has("eval_loss")) {
      add_evaluation(fields, log);
    }
    if (fields.has("loss")) {
      add_train_step(fields, log);
    }
  }
  if (log.steps.empty() && log.evaluations.empty()) {
    throw InputError(
        fmt::format("[{}] expected lines such as {{\"step\":1,\"loss\":2.5,…}}, got none. Has the "
                    "run made a step?",
                    source));
  }
  return log;
}

}  // namespace longlora::report
