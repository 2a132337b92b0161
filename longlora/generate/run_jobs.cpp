#include "longlora/generate/run_jobs.h"

#include <condition_variable>
#include <deque>
#include <exception>
#include <mutex>
#include <string>
#include <utility>

#include "longlora/core/error.h"
#include "longlora/generate/engine.h"
#include "longlora/generate/session_generator.h"

namespace longlora::generate {
namespace {

// Brings events from the generator's thread to the one that waits.
class Mailbox {
 public:
  void put(size_t job, const JobEvent& event) {
    const std::lock_guard lock(mutex_);
    events_.emplace_back(job, event);
    changed_.notify_one();
  }
  std::pair<size_t, JobEvent> take() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return !events_.empty(); });
    auto event = std::move(events_.front());
    events_.pop_front();
    return event;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::pair<size_t, JobEvent>> events_;
};

}  // namespace

std::vector<Generation> run_jobs(Generator& generator, std::vector<Job> jobs, const HearJob& hear) {
  // Shared with the listeners, which may outlive this call by a moment.
  const auto mailbox = std::make_shared<Mailbox>();
  std::vector<JobId> ids;
  ids.reserve(jobs.size());
  const auto cancel_all = [&] {
    for (const JobId id : ids) generator.cancel(id);
  };
  std::vector<Generation> results(jobs.size());
  try {
    for (size_t i = 0; i < jobs.size(); ++i)
      ids.push_back(generator.submit(std::move(jobs[i]),
                                     [mailbox, i](const JobEvent& event) { mailbox->put(i, event); }));
    std::vector<bool> cancelled(jobs.size());
    for (size_t left = jobs.size(); left > 0;) {
      const auto [job, event] = mailbox->take();
      if (const auto* failed = std::get_if<Failed>(&event)) throw InputError(failed->message);
      if (!cancelled[job]) {
        if (const auto* wrote = std::get_if<Wrote>(&event)) results[job].ids.push_back(wrote->id);
        if (hear && !hear(job, event)) {
          cancelled[job] = true;
          results[job].reason = StopReason::kCaller;
          generator.cancel(ids[job]);
        }
      }
      if (const auto* ended = std::get_if<Ended>(&event)) {
        if (!cancelled[job]) results[job].reason = ended->reason;
        --left;
      }
    }
  } catch (...) {
    cancel_all();
    throw;
  }
  return results;
}

Generation run_job(Generator& generator, Job job, const std::function<bool(const JobEvent&)>& hear) {
  std::vector<Job> jobs;
  jobs.push_back(std::move(job));
  return run_jobs(generator, std::move(jobs),
                  [&](size_t, const JobEvent& event) { return !hear || hear(event); })
      .front();
}

std::unique_ptr<Generator> open_generator(const Runtime& runtime) {
  if (runtime.decoder->embed_tokens.value.device().is_cpu()) return std::make_unique<Engine>(runtime);
  return std::make_unique<SessionGenerator>(runtime);
}

}  // namespace longlora::generate
