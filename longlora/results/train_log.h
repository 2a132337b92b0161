// train_log.jsonl: one line for each logged step of a training run and for each evaluation during it.
#pragma once

#include <cmath>
#include <cstdint>
#include <limits>
#include <string>
#include <vector>

namespace longlora::results {

/// One optimizer step as the log has it. A number that the log lacks or holds as null (JSON has no infinity
/// or NaN) is NaN; a count that it lacks is -1.
struct TrainStep {
  static constexpr double kUnknown = std::numeric_limits<double>::quiet_NaN();

  int64_t step = 0;         // how many updates are done, from 1
  double epoch = kUnknown;  // how many passes over the data are done
  double loss = kUnknown;   // the mean over the supervised tokens of the update; NaN where it has none
  double learning_rate = kUnknown;
  double grad_norm = kUnknown;          // the norm before clipping
  double tokens_per_second = kUnknown;  // over the last steps
  int64_t tokens = -1;                  // how many tokens have been trained on
  int64_t peak_memory_bytes = -1;
  double seconds = kUnknown;  // the training time so far, over all resumptions

  template <typename Step, typename Fields>
  static void list_fields(Step& step, Fields& fields) {
    fields.required("step", step.step);
    fields.optional("epoch", step.epoch);
    fields.required("loss", step.loss);
    fields.optional("learning_rate", step.learning_rate);
    fields.optional("grad_norm", step.grad_norm);
    fields.optional("tokens_per_second", step.tokens_per_second);
    fields.optional("tokens", step.tokens);
    fields.optional("peak_memory_bytes", step.peak_memory_bytes);
    fields.optional("seconds", step.seconds);
  }
};

/// An evaluation on held-out data during training.
struct TrainEvaluation {
  int64_t step = 0;  // how many updates were done before it
  double loss = 0.0;
  double perplexity = 0.0;  // exp(loss)
  double accuracy = TrainStep::kUnknown;

  template <typename Evaluation, typename Fields>
  static void list_fields(Evaluation& evaluation, Fields& fields) {
    fields.required("step", evaluation.step);
    fields.required("eval_loss", evaluation.loss);
    fields.optional("eval_perplexity", evaluation.perplexity, std::exp(evaluation.loss));
    fields.optional("eval_accuracy", evaluation.accuracy);
  }
};

/// The log of a run. Steps ascend: where a resumed run logged a step again, the later line counts, and all
/// lines behind the earlier one up to it are dropped.
struct TrainLog {
  std::vector<TrainStep> steps = {};
  std::vector<TrainEvaluation> evaluations = {};
  std::vector<std::string> notes = {};  // "an unfinished last line was left out" and the like

  /// Parses the text of a log; `source` names it in errors. An unfinished last line (of a killed run) is left
  /// out with a note. Throws InputError with the line.
  static TrainLog parse(const std::string& text, const std::string& source);
};

}  // namespace longlora::results
