// Reads prompts and writes texts for several jobs at once, over keys and values in pages.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "longlora/generate/generator.h"
#include "longlora/generate/runtime.h"

namespace longlora::generate {

struct EngineOptions {
  /// The bytes that keys and values may take, those of prompts that are kept for later included; 0: half of
  /// the memory that is free.
  int64_t cache_limit_bytes = 0;
  /// How keys and values are stored: "auto", which is the decoder's dtype, "int8" or "int4".
  std::string cache_dtype = "auto";
  /// Whether what was read of a prompt is kept for prompts that begin alike.
  bool shares_prefixes = true;
  /// A folder in which it is kept from one start of the program to the next; empty: none. It is written while
  /// there is nothing else to do, and at the end. Its files, too, take cache_limit_bytes at most.
  std::filesystem::path cache_dir = {};
  /// Names all that keys and values depend on beside these options (model_identity.h). Needed for cache_dir:
  /// what another model left there is not used.
  std::string identity = {};
  /// How many jobs are read and written at once, and how many more may wait.
  int64_t max_running = 16;
  int64_t max_waiting = 512;
};

/// Where the chunks end that a prompt of so many tokens is read in. Most have kLongChunk tokens, which read
/// fastest; what is left behind them is read in chunks of kShortChunk tokens, so that a prompt that ends
/// otherwise shares nearly all. The grid is fixed, so that what is computed for a token depends on its own
/// prompt alone. Where the weights are `streamed` from their files, chunks are so long that this does not
/// take the time.
constexpr int64_t kLongChunk = 2048, kShortChunk = 512, kStreamedChunk = 4096;
std::vector<int64_t> chunk_ends(int64_t tokens, bool streamed);

/// The results of a job depend on its prompt, its options and its seed: not on the other jobs, on what is
/// kept of earlier ones, nor on the number of threads of the step (StepDecoder). It works in a thread of its
/// own.
///
/// Several prompts are read in turn, chunk by chunk. Reading and writing share the time: between two layers
/// of a chunk those that write get steps, until they have had as much time as those that read. A job that
/// finds no page free waits for others to end; where all wait, the youngest gives its pages back and begins
/// again later, and writes the same text.
class Engine : public Generator {
 public:
  /// Throws UsageError for an unknown cache_dtype, and ResourceError where cache_dir cannot be made.
  explicit Engine(const Runtime& runtime, const EngineOptions& options = {});
  /// Of a decoder for texts of at most `context_size` tokens; 0: its context window.
  Engine(const forward::ReadyDecoder& ready, int64_t context_size, const EngineOptions& options = {});
  /// Cancels all jobs.
  ~Engine() override;

  int64_t context_size() const override;
  int64_t vocab_size() const override;
  JobId submit(Job job, Listener hear) override;
  void cancel(JobId id) override;
  GeneratorState state() const override;

  /// What a token takes in the key/value cache.
  double cache_bytes_per_token() const;

 private:
  class Scheduler;
  std::unique_ptr<Scheduler> scheduler_;
};

}  // namespace longlora::generate
