#include "longlora/core/progress.h"

#include <fmt/core.h>
#include <utility>

#include "longlora/core/format.h"
#include "longlora/core/log_sink.h"

namespace longlora {

namespace {

constexpr std::chrono::nanoseconds kRewrittenInterval = std::chrono::milliseconds(200);
constexpr std::chrono::nanoseconds kPlainInterval = std::chrono::seconds(10);

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

std::string format_rate(double rate, const std::string& unit) {
  if (unit == "bytes") return format_bytes(static_cast<int64_t>(rate)) + "/s";
  if (rate >= 100) return fmt::format("{} {}/s", format_count(static_cast<int64_t>(rate)), unit);
  return fmt::format("{:.3g} {}/s", rate, unit);
}

std::string format_amount(int64_t amount, const std::string& unit) {
  return unit == "bytes" ? format_bytes(amount) : format_count(amount);
}

}  // namespace

Progress::Progress(std::string what, int64_t total, std::string unit)
    : what_(std::move(what)),
      total_(total),
      unit_(std::move(unit)),
      sink_(log_sink()),
      rewrites_(sink_.rewrites_progress()),
      start_(std::chrono::steady_clock::now()),
      last_print_(start_) {}

Progress::~Progress() {
  finish();
}

void Progress::update(int64_t done, const std::string& extra) {
  done_ = done;
  extra_ = extra;
  if (finished_) return;
  const auto now = std::chrono::steady_clock::now();
  const std::chrono::nanoseconds interval = rewrites_ ? kRewrittenInterval : kPlainInterval;
  if (now - last_print_ < interval) return;
  last_print_ = now;
  sink_.write_progress(line());
}

void Progress::finish() {
  if (finished_) return;
  finished_ = true;
  const double elapsed = seconds_since(start_);
  std::string text = fmt::format("{}: {} {} in {}", what_, format_amount(done_, unit_),
                                 unit_ == "bytes" ? "" : unit_, format_duration(elapsed));
  if (unit_ == "bytes")
    text = fmt::format("{}: {} in {}", what_, format_bytes(done_), format_duration(elapsed));
  if (elapsed > 0) text += fmt::format(", {}", format_rate(static_cast<double>(done_) / elapsed, unit_));
  if (!extra_.empty()) text += ", " + extra_;
  sink_.write(LogLevel::kInfo, text);
}

std::string Progress::line() const {
  const double elapsed = seconds_since(start_);
  const double rate = elapsed > 0 ? static_cast<double>(done_) / elapsed : 0;
  std::string text = what_ + ": ";
  if (total_ > 0) {
    text += fmt::format("{}/{}", format_amount(done_, unit_), format_amount(total_, unit_));
    if (unit_ != "bytes") text += " " + unit_;
    text += fmt::format(" ({:.0f}%)", 100.0 * static_cast<double>(done_) / static_cast<double>(total_));
  } else {
    text += format_amount(done_, unit_);
    if (unit_ != "bytes") text += " " + unit_;
  }
  text += ", " + format_rate(rate, unit_);
  if (total_ > done_ && rate > 0)
    text += fmt::format(", {} left", format_duration(static_cast<double>(total_ - done_) / rate));
  if (!extra_.empty()) text += ", " + extra_;
  return text;
}

}  // namespace longlora
