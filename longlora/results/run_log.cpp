#include "longlora/results/run_log.h"

#include <cerrno>
#include <cmath>
#include <fstream>
#include <string>

#include "longlora/core/file.h"
#include "longlora/core/file_operations.h"
#include "longlora/results/fields.h"

namespace longlora::results {

namespace fs = std::filesystem;

void RunLog::truncate(int64_t step) const {
  if (!fs::exists(path())) return;
  std::string kept;
  const std::string text = read_file(path());
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = text.find('\n', begin);
    if (end == std::string::npos) break;  // a kill cut this line off
    const std::string line = text.substr(begin, end - begin);
    begin = end + 1;
    const Json json = Json::parse(line, nullptr, /*allow_exceptions=*/false);
    if (json.is_object() && json.value("step", int64_t{0}) <= step) kept += line + "\n";
  }
  write_file_atomic(path(), kept);
}

void RunLog::append(const Json& line) const {
  std::error_code missing, ignored;
  const auto size = fs::file_size(path(), missing);
  errno = 0;
  std::ofstream file(path(), std::ios::app | std::ios::binary);
  file << line.dump() << '\n';
  file.close();
  if (file) return;
  const int error_number = errno;
  fs::resize_file(path(), missing ? 0 : size, ignored);  // half a line must not stay
  throw write_error(path(), "write a line", error_number);
}

void RunLog::add(const TrainStep& step) {
  append(write_fields(step));
  if (!events_) events_.emplace(directory_ / "runs", step.step);
  if (!std::isnan(step.loss)) events_->scalar("train/loss", step.loss, step.step);
  events_->scalar("train/learning_rate", step.learning_rate, step.step);
  events_->scalar("train/grad_norm", step.grad_norm, step.step);
  events_->scalar("train/tokens_per_second", step.tokens_per_second, step.step);
  events_->flush();
}

void RunLog::add(const TrainEvaluation& evaluation) {
  append(write_fields(evaluation));
  if (!events_) return;
  events_->scalar("eval/loss", evaluation.loss, evaluation.step);
  events_->scalar("eval/perplexity", evaluation.perplexity, evaluation.step);
  events_->flush();
}

}  // namespace longlora::results
