// A job that the engine works on.
#pragma once

#include <ATen/ATen.h>

#include <chrono>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "longlora/generate/generator.h"
#include "longlora/generate/job_text.h"
#include "longlora/generate/paged_sequence.h"

namespace longlora::generate {

/// What the engine knows of a job.
class RunningJob {
 public:
  /// Prompts are read in chunks that end at chunk_ends().
  RunningJob(Job job, Listener hear, PagedSequence sequence, bool streamed);
  RunningJob(const RunningJob&) = delete;
  RunningJob& operator=(const RunningJob&) = delete;

  JobId id() const { return id_; }
  void set_id(JobId id) { id_ = id; }
  const Job& job() const { return job_; }
  PagedSequence& sequence() { return sequence_; }
  const PagedSequence& sequence() const { return sequence_; }

  /// Prompt and text.
  std::span<const int64_t> ids() const { return text_.ids(); }
  /// How many of ids() are read in chunks; the others go through the model one by one.
  int64_t num_to_read() const { return num_to_read_; }
  /// Where the chunks end that have been read, and the next one.
  std::span<const int64_t> chunks_with_next() const;
  bool is_reading() const { return is_in_chunk_ || sequence_.num_tokens() < num_to_read_; }
  /// The tokens of a chunk are counted in the sequence from its start on, but read at its end.
  void set_in_chunk(bool is_in_chunk) { is_in_chunk_ = is_in_chunk; }
  /// Whether what follows the tokens in the sequence was written before it lost its pages.
  bool is_repeating() const { return sequence_.num_tokens() < std::ssize(ids()); }

  /// Gives all pages back. The job begins again later.
  void begin_again() {
    sequence_.clear();
    is_in_chunk_ = false;
  }
  /// As begin_again(), and what was written is read in chunks, too.
  void read_all_again();

  /// Picks the next token from logits [V] and tells the listener. Returns the reason where the text has
  /// ended.
  std::optional<StopReason> write(const at::Tensor& logits, int64_t context_size);

  /// What a listener throws is logged.
  void tell(const JobEvent& event) noexcept;
  /// Tells that `done` tokens of the prompt were read, unless it was told a moment ago or the prompt had been
  /// read before. All tokens are told at once.
  void tell_reading(int64_t done);
  void count_cached(int64_t tokens) { cached_ += tokens; }

 private:
  JobId id_ = 0;
  Job job_;
  Listener hear_;
  PagedSequence sequence_;
  JobText text_;
  bool streamed_;
  int64_t num_to_read_;
  std::vector<int64_t> chunk_ends_;
  bool is_in_chunk_ = false;
  int64_t cached_ = 0, told_ = -1;
  std::chrono::steady_clock::time_point told_at_;
};

}  // namespace longlora::generate
