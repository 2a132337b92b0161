// A generator that works on one job after the other, with a key/value cache on the decoder's device.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <mutex>
#include <optional>
#include <thread>

#include "longlora/generate/decode_session.h"
#include "longlora/generate/generator.h"
#include "longlora/generate/runtime.h"

namespace longlora::generate {

/// For devices whose kernels do not read pages. It works in a thread of its own. A job is cancelled after the
/// chunk or token that it is at.
class SessionGenerator : public Generator {
 public:
  explicit SessionGenerator(const Runtime& runtime);
  /// Cancels all jobs.
  ~SessionGenerator() override;

  int64_t context_size() const override { return runtime_.context_size; }
  int64_t vocab_size() const override { return runtime_.vocab_size; }
  JobId submit(Job job, Listener hear) override;
  void cancel(JobId id) override;
  GeneratorState state() const override;

 private:
  struct Entry {
    JobId id;
    Job job;
    Listener hear;
  };
  void run();
  void work(Entry& entry);
  StopReason write(Entry& entry);
  bool is_cancelled(JobId id) const;

  Runtime runtime_;
  DecodeSession session_;
  mutable std::mutex mutex_;  // guards what follows
  std::condition_variable changed_;
  std::deque<Entry> waiting_;
  JobId next_id_ = 1, running_ = 0;
  bool cancels_ = false;  // the job that runs
  bool stops_ = false;
  GeneratorState state_;
  std::thread thread_;
};

}  // namespace longlora::generate
