#include "longlora/generate/running_job.h"

#include <algorithm>
#include <exception>
#include <utility>

#include "longlora/core/log.h"
#include "longlora/generate/engine.h"

namespace longlora::generate {
namespace {

// How often a listener hears of a prompt that is being read.
constexpr std::chrono::milliseconds kTellEvery(250);

}  // namespace

RunningJob::RunningJob(Job job, Listener hear, PagedSequence sequence, bool streamed)
    : job_(std::move(job)),
      hear_(std::move(hear)),
      sequence_(std::move(sequence)),
      text_(job_),
      streamed_(streamed),
      num_to_read_(std::ssize(job_.prompt)),
      chunk_ends_(chunk_ends(num_to_read_, streamed)) {}

std::span<const int64_t> RunningJob::chunks_with_next() const {
  const auto next = std::upper_bound(chunk_ends_.begin(), chunk_ends_.end(), sequence_.num_tokens());
  return std::span(chunk_ends_).first(static_cast<size_t>(next - chunk_ends_.begin()) + 1);
}

void RunningJob::read_all_again() {
  sequence_.clear();
  num_to_read_ = std::ssize(ids());
  chunk_ends_ = chunk_ends(num_to_read_, streamed_);
}

std::optional<StopReason> RunningJob::write(const at::Tensor& logits, int64_t context_size) {
  const JobText::Next next = text_.write(logits, context_size);
  if (next.wrote) tell(*next.wrote);
  return next.reason;
}

void RunningJob::tell(const JobEvent& event) noexcept {
  try {
    hear_(event);
  } catch (const std::exception& error) {
    log_warning(error.what());
  }
}

void RunningJob::tell_reading(int64_t done) {
  const auto total = std::ssize(job_.prompt);
  if (done <= told_ || done > total) return;
  const auto now = std::chrono::steady_clock::now();
  if (done < total && told_ >= 0 && now - told_at_ < kTellEvery) return;
  told_ = done;
  told_at_ = now;
  tell(Reading{.done = done, .total = total, .cached = cached_});
}

}  // namespace longlora::generate
