// The thread of the engine: which job gets the next piece of work.
#pragma once

#include <condition_variable>
#include <deque>
#include <list>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "longlora/forward/ready_decoder.h"
#include "longlora/generate/engine.h"
#include "longlora/generate/prefill.h"
#include "longlora/generate/prefix_cache.h"
#include "longlora/generate/prefix_store.h"
#include "longlora/generate/running_job.h"
#include "longlora/generate/step_decoder.h"

namespace longlora::generate {

class Engine::Scheduler {
 public:
  Scheduler(const forward::ReadyDecoder& ready, std::shared_ptr<const model::Decoder> kept_alive,
            int64_t context_size, const EngineOptions& options);
  ~Scheduler();

  int64_t context_size() const { return context_size_; }
  int64_t vocab_size() const { return ready_.decoder.embed_tokens.value.size(0); }
  JobId submit(Job job, Listener hear);
  void cancel(JobId id);
  GeneratorState state() const;
  double cache_bytes_per_token() const;

 private:
  using JobPointer = std::unique_ptr<RunningJob>;

  // What follows runs in the scheduler's thread.
  void run();
  /// Does one piece of work: a layer of a chunk, or a step. Returns false where there is none.
  bool work();
  void take_cancels();
  void admit();
  bool has_room_for(const RunningJob& job) const;
  int64_t held_by_running() const;

  void read_layer();
  bool start_chunk(RunningJob& job);
  bool shares(const RunningJob& job) const;
  /// The ends of a job's chunks up to the next one, where that may be taken from another prompt; else none.
  std::span<const int64_t> sharable_chunks(const RunningJob& job) const;
  void adopt(RunningJob& job, std::span<const PageRef> pages);
  void adopt_chunks(RunningJob& job);
  /// Takes the job's next chunk from the disk. Returns false where it is not there or there is no room.
  bool load_chunk(RunningJob& job);
  /// Writes a chunk to the disk. Returns false where all are there.
  bool save_chunk();
  void finish_chunk();
  /// One more token for each of these jobs that is still there.
  void write_step(std::span<const JobId> ids);
  RunningJob* find_writer(JobId id) const;
  std::vector<at::Tensor> step_logits(const std::vector<RunningJob*>& rows);
  std::vector<at::Tensor> forward_logits(const std::vector<RunningJob*>& rows);
  void go_on(RunningJob& job, const at::Tensor& logits);
  bool leaves_short_factors(RunningJob& job) const;

  /// Makes room for tokens of a job: forgets prompts, then takes the pages of the youngest job. Returns false
  /// where the job itself lost its pages or failed.
  bool make_room(RunningJob& job, int64_t tokens);
  void put_back(RunningJob& job);
  void end(RunningJob& job, const JobEvent& event);
  JobPointer remove(RunningJob& job);
  template <typename Work>
  void guard(RunningJob& job, const Work& work);

  forward::ReadyDecoder ready_;
  std::shared_ptr<const model::Decoder> kept_alive_;
  int64_t context_size_;
  EngineOptions options_;
  int num_threads_;
  ops::PageFormat written_ = ops::PageFormat::kFloat, kept_ = ops::PageFormat::kFloat;
  PagePool pool_;
  bool depends_on_length_, remakes_keys_;
  bool streamed_;
  PrefixCache prefixes_;
  std::optional<PrefixStore> store_;
  std::unique_ptr<StepDecoder> step_;

  std::list<JobPointer> running_;  // the oldest first
  std::optional<ChunkWalk> walk_;
  RunningJob* walking_ = nullptr;
  JobId last_reader_ = 0;
  double reading_seconds_ = 0.0, writing_seconds_ = 0.0;  // while there is both to do
  int64_t told_waiting_ = 0;

  mutable std::mutex mutex_;  // guards what follows
  std::condition_variable changed_;
  std::deque<JobPointer> waiting_;
  std::set<JobId> cancelled_;
  GeneratorState state_;
  JobId next_id_ = 1;
  bool stops_ = false;
  std::thread thread_;
};

}  // namespace longlora::generate
