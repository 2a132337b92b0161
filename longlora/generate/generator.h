// Writes texts for many who ask at once: what a job is, and what is heard of it.
//
// This file knows nothing of tensors, so that a server can be built and tested on it without a model.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "longlora/generate/sampling_options.h"

namespace longlora::generate {

/// Why a text ended.
enum class StopReason {
  kStopId,       // one of the stop ids came
  kStopText,     // a text that ends came (generate_text)
  kMaxTokens,    // max_new_tokens were generated
  kContextFull,  // the model's context takes no more
  kCaller,       // it was cancelled, or on_token said so
};

/// A prompt and how to go on from it.
struct Job {
  std::vector<int64_t> prompt;
  /// Ids that end the text. Not part of it.
  std::vector<int64_t> stop_ids = {};
  int64_t max_new_tokens = 512;
  SamplingOptions sampling = {};
  /// How many of the likeliest tokens are told with each token that is written, beside its own log
  /// probability; -1: neither.
  int64_t num_likeliest = -1;
  /// Prompts share what was read of them only with prompts of the same scope.
  std::string cache_scope = {};
  /// Whether what is read of this prompt is kept for others, and taken from them.
  bool is_shared = true;
};

/// What is heard of a job, in this order: Waiting any number of times, Reading from 0 to all tokens, Wrote
/// once for each token, and at last Ended or Failed, after which nothing comes.
struct Waiting {
  int64_t ahead;  // how many jobs come before
};
struct Reading {
  int64_t done, total;  // tokens of the prompt
  int64_t cached;       // of those done, how many were read before and are not read again
};
struct Wrote {
  int64_t id;
  float log_probability;  // natural logarithm, of the model's own distribution before sampling changes it
  std::vector<std::pair<int64_t, float>> likeliest;
};
struct Ended {
  StopReason reason;
};
struct Failed {
  std::string message;
};
using JobEvent = std::variant<Waiting, Reading, Wrote, Ended, Failed>;
using Listener = std::function<void(const JobEvent&)>;
using JobId = uint64_t;

/// What a generator is at present, for people and for metrics.
struct GeneratorState {
  int64_t running = 0, waiting = 0;
  int64_t prompt_tokens = 0, cached_tokens = 0, written_tokens = 0;  // since the start
  int64_t finished = 0, cancelled = 0, failed = 0;
  int64_t cache_bytes = 0, cache_limit_bytes = 0;
};

/// All functions may be called by any thread.
class Generator {
 public:
  virtual ~Generator() = default;

  /// How many tokens prompt and text may have together, and how many ids there are.
  virtual int64_t context_size() const = 0;
  virtual int64_t vocab_size() const = 0;

  /// Takes a job on. `hear` is called by the generator's own thread and must not block. Throws InputError for
  /// an empty prompt, ids beyond the vocabulary, and a prompt that leaves no room in the context; UsageError
  /// for sampling options outside their range; ResourceError where too many jobs wait.
  virtual JobId submit(Job job, Listener hear) = 0;
  /// Ends a job within a second, wherever it is; its listener hears Ended with kCaller. Nothing happens where
  /// it has ended or never was.
  virtual void cancel(JobId id) = 0;
  virtual GeneratorState state() const = 0;
};

}  // namespace longlora::generate
