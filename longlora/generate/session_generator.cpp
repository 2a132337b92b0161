#include "longlora/generate/session_generator.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <exception>
#include <utility>

#include "longlora/generate/job_text.h"

namespace longlora::generate {
namespace {

// Leaves the reading of a prompt whose job was cancelled.
struct Cancelled {};

}  // namespace

SessionGenerator::SessionGenerator(const Runtime& runtime)
    : runtime_(runtime), session_(runtime.ready, runtime.context_size) {
  thread_ = std::thread([this, threads = at::get_num_threads()] {
    at::set_num_threads(threads);
    run();
  });
}

SessionGenerator::~SessionGenerator() {
  {
    const std::lock_guard lock(mutex_);
    stops_ = cancels_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

JobId SessionGenerator::submit(Job job, Listener hear) {
  check_job(runtime_.ready.decoder, job, runtime_.context_size);
  const std::lock_guard lock(mutex_);
  waiting_.push_back({next_id_, std::move(job), std::move(hear)});
  changed_.notify_all();
  return next_id_++;
}

void SessionGenerator::cancel(JobId id) {
  std::optional<Entry> never_ran;
  {
    const std::lock_guard lock(mutex_);
    if (running_ == id) cancels_ = true;
    const auto found =
        std::find_if(waiting_.begin(), waiting_.end(), [&](const Entry& entry) { return entry.id == id; });
    if (found == waiting_.end()) return;
    never_ran = std::move(*found);
    waiting_.erase(found);
    ++state_.cancelled;
  }
  never_ran->hear(Ended{StopReason::kCaller});
}

GeneratorState SessionGenerator::state() const {
  const std::lock_guard lock(mutex_);
  GeneratorState state = state_;
  state.running = running_ != 0 ? 1 : 0;
  state.waiting = std::ssize(waiting_);
  return state;
}

bool SessionGenerator::is_cancelled(JobId id) const {
  const std::lock_guard lock(mutex_);
  return running_ == id && cancels_;
}

void SessionGenerator::run() {
  while (true) {
    Entry entry;
    {
      std::unique_lock lock(mutex_);
      changed_.wait(lock, [&] { return stops_ || !waiting_.empty(); });
      if (waiting_.empty()) return;
      entry = std::move(waiting_.front());
      waiting_.pop_front();
      running_ = entry.id;
      cancels_ = stops_;
    }
    work(entry);
  }
}

void SessionGenerator::work(Entry& entry) {
  JobEvent end = Ended{StopReason::kCaller};
  try {
    end = Ended{write(entry)};
  } catch (const Cancelled&) {
    // The listener hears that it was the caller.
  } catch (const std::exception& error) {
    end = Failed{error.what()};
  }
  {
    const std::lock_guard lock(mutex_);
    running_ = 0;
    const auto* ended = std::get_if<Ended>(&end);
    ++(ended == nullptr                       ? state_.failed
       : ended->reason == StopReason::kCaller ? state_.cancelled
                                              : state_.finished);
  }
  entry.hear(end);
}

StopReason SessionGenerator::write(Entry& entry) {
  session_.reset();
  JobText text(entry.job);
  const auto total = std::ssize(entry.job.prompt);
  const auto read = [&](int64_t done) {
    if (is_cancelled(entry.id)) throw Cancelled();
    entry.hear(Reading{.done = done, .total = total, .cached = 0});
  };
  read(0);
  session_.on_progress(read);
  at::Tensor logits = session_.feed(entry.job.prompt);
  session_.on_progress({});
  while (entry.job.max_new_tokens > 0) {
    const JobText::Next next = text.write(logits, runtime_.context_size);
    if (next.wrote) entry.hear(*next.wrote);
    if (next.reason) return *next.reason;
    if (is_cancelled(entry.id)) throw Cancelled();
    logits = session_.feed(text.ids().last(1));
  }
  return StopReason::kMaxTokens;
}

}  // namespace longlora::generate
