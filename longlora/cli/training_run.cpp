#include <fmt/format.h>
#include <unistd.h>

#include <cmath>
#include <csignal>
#include <memory>
#include <optional>
#include <string_view>
#include <utility>

#include "longlora/cli/flags.h"
#include "longlora/cli/run_description.h"
#include "longlora/cli/training_verb.h"
#include "longlora/cli/verbs.h"
#include "longlora/cli/version.h"
#include "longlora/core/file.h"
#include "longlora/core/format.h"
#include "longlora/core/json.h"
#include "longlora/core/log.h"
#include "longlora/results/training_result.h"
#include "longlora/train/trainer.h"

namespace longlora::cli {
namespace {

// Shows every step that is logged at the terminal.
class Reporter : public train::TrainObserver {
 public:
  void on_step(const train::StepReport& report) override {
    log_info(fmt::format(
        "step {}/{}  epoch {:.2f}  loss {}  lr {:.2e}  grad norm {:.3f}  {} tokens/s  peak {}  {} left",
        report.step, report.max_steps, report.epoch,
        std::isnan(report.loss) ? "none: no labels" : fmt::format("{:.4f}", report.loss),
        report.learning_rate, report.grad_norm, format_count(static_cast<int64_t>(report.tokens_per_second)),
        format_bytes(report.peak_memory_bytes), format_duration(report.seconds_left)));
    last_ = report;
  }

  void on_eval(const results::TrainEvaluation& evaluation) override {
    log_info(fmt::format("step {}  held-out loss {:.4f}  perplexity {:.3f}  accuracy {:.4f}", evaluation.step,
                         evaluation.loss, evaluation.perplexity, evaluation.accuracy));
  }

  // Returns the last step that was logged, or nullopt before the first.
  const std::optional<results::TrainStep>& last() const { return last_; }

 private:
  std::optional<results::TrainStep> last_;
};

// Returns the name of a folder, also for "runs/a/" and ".".
std::string folder_name(const std::filesystem::path& folder) {
  const auto path = std::filesystem::absolute(folder).lexically_normal();
  return (path.has_filename() ? path : path.parent_path()).filename().string();
}

void write_run_json(const TrainingArguments& arguments, const train::BuiltRun& run,
                    const train::Trainer& trainer) {
  const train::TrainOptions& options = run.options;
  const model::ParameterCounts counts = model::count_parameters(run.decoder);
  const results::RunDescription description = {
      .verb = arguments.verb,
      .label = arguments.label.empty() ? folder_name(options.output_dir) : arguments.label,
      .version = version(),
      .options = options.to_json(),
      .parameters = counts.total,
      .trainable_parameters = counts.trainable,
      .max_steps = trainer.max_steps(),
      .rows = trainer.num_rows(),
      .steps_per_epoch = trainer.updates().updates_per_epoch(),
      .predicted_memory_bytes = trainer.plan().total_bytes()};
  write_json(options.output_dir / "run.json", description.to_json());
}

void write_result(const TrainingArguments& arguments, const train::Trainer& trainer, bool finished,
                  const std::optional<results::TrainStep>& last) {
  results::TrainingResult result = {.verb = arguments.verb, .finished = finished, .step = trainer.step()};
  if (last) {
    result.loss = last->loss;
    result.tokens = last->tokens;
    result.tokens_per_second = last->tokens_per_second;
    result.seconds = last->seconds;
    result.peak_memory_bytes = last->peak_memory_bytes;
  }
  result.predicted_memory_bytes = trainer.plan().total_bytes();
  result.tile_tokens = trainer.plan().tile_tokens;
  result.inputs_on_disk = trainer.plan().inputs_on_disk;
  result.weights_streamed = trainer.plan().weights_streamed;
  result.state_on_disk = train::state_name(trainer.plan().state_on_disk);
  write_json(arguments.json, result.to_json());
}

// The signal that asked the run to stop.
volatile std::sig_atomic_t stop_signal = SIGTERM;

// Makes signals end the run with a checkpoint: Ctrl-C, SIGTERM, SIGUSR1 (by which a scheduler says that the
// time is up) and SIGHUP (the terminal was closed). A second Ctrl-C ends the run at once. SIGHUP remains
// ignored where it was, as under nohup.
void stop_on_signals() {
  struct sigaction action = {};
  action.sa_flags = SA_RESTART;
  action.sa_handler = [](int signal) {
    // When the terminal is closed, a program that reads the log ends, too. Writing to it must not end the run
    // before its checkpoint.
    if (signal == SIGHUP) std::signal(SIGPIPE, SIG_IGN);
    stop_signal = signal;
    train::Trainer::request_stop();
  };
  sigaction(SIGTERM, &action, nullptr);
  sigaction(SIGUSR1, &action, nullptr);
  struct sigaction hang_up = {};
  sigaction(SIGHUP, nullptr, &hang_up);
  if (hang_up.sa_handler != SIG_IGN) sigaction(SIGHUP, &action, nullptr);
  action.sa_flags |= SA_RESETHAND;
  action.sa_handler = [](int signal) {
    stop_signal = signal;
    constexpr std::string_view kMessage =
        "stopping with a checkpoint after this step; Ctrl-C again: at once\n";
    (void)!::write(STDERR_FILENO, kMessage.data(), kMessage.size());
    train::Trainer::request_stop();
  };
  sigaction(SIGINT, &action, nullptr);
}

}  // namespace

void run_training(const TrainingArguments& arguments, train::BuiltRun& run,
                  std::unique_ptr<const data::TrainingRows> data,
                  std::unique_ptr<const data::TrainingRows> eval_data) {
  Reporter reporter;
  train::Trainer trainer(run, std::move(data), std::move(eval_data), reporter);
  describe_run(arguments, run, trainer);
  write_run_json(arguments, run, trainer);

  stop_on_signals();
  const train::TrainOutcome outcome = trainer.run();
  const bool finished = outcome == train::TrainOutcome::kFinished;
  log_info(finished ? fmt::format("done: the result is in {}", run.options.output_dir.string())
                    : fmt::format("stopped after step {}: the same command with --resume goes on",
                                  trainer.step()));
  if (!arguments.json.empty()) write_result(arguments, trainer, finished, reporter.last());
  if (!finished) throw StoppedBySignal{stop_signal};
}

}  // namespace longlora::cli
