#include "longlora/generate/engine.h"

#include <algorithm>
#include <utility>

#include "longlora/generate/scheduler.h"

namespace longlora::generate {

std::vector<int64_t> chunk_ends(int64_t tokens, bool streamed) {
  const int64_t longest = streamed ? kStreamedChunk : kLongChunk;
  const int64_t shortest = streamed ? kStreamedChunk : kShortChunk;
  std::vector<int64_t> ends;
  for (int64_t end = 0; end < tokens;) {
    end = end % longest == 0 && end + longest <= tokens ? end + longest : std::min(end + shortest, tokens);
    ends.push_back(end);
  }
  return ends;
}

Engine::Engine(const Runtime& runtime, const EngineOptions& options)
    : scheduler_(std::make_unique<Scheduler>(runtime.ready, runtime.decoder, runtime.context_size, options)) {
}

Engine::Engine(const forward::ReadyDecoder& ready, int64_t context_size, const EngineOptions& options)
    : scheduler_(std::make_unique<Scheduler>(ready, nullptr, context_size, options)) {}

Engine::~Engine() = default;

int64_t Engine::context_size() const {
  return scheduler_->context_size();
}
int64_t Engine::vocab_size() const {
  return scheduler_->vocab_size();
}
JobId Engine::submit(Job job, Listener hear) {
  return scheduler_->submit(std::move(job), std::move(hear));
}
void Engine::cancel(JobId id) {
  scheduler_->cancel(id);
}
GeneratorState Engine::state() const {
  return scheduler_->state();
}
double Engine::cache_bytes_per_token() const {
  return scheduler_->cache_bytes_per_token();
}

}  // namespace longlora::generate
