// What the scheduler takes from prompts that were read before, and keeps for later ones.
#include <fmt/format.h>

#include <exception>
#include <utility>

#include "longlora/core/error.h"
#include "longlora/core/log.h"
#include "longlora/generate/scheduler.h"

namespace longlora::generate {

bool Engine::Scheduler::shares(const RunningJob& job) const {
  return options_.shares_prefixes && job.job().is_shared && !depends_on_length_;
}

std::span<const int64_t> Engine::Scheduler::sharable_chunks(const RunningJob& job) const {
  const auto prompt = std::ssize(job.job().prompt);
  if (!shares(job) || job.sequence().num_tokens() >= prompt) return {};
  const auto ends = job.chunks_with_next();
  // The last token of a prompt is always read, for the logits of what follows it.
  return ends.back() < prompt ? ends : std::span<const int64_t>();
}

void Engine::Scheduler::adopt(RunningJob& job, std::span<const PageRef> pages) {
  const int64_t before = job.sequence().num_tokens();
  job.sequence().adopt(pages);
  const int64_t cached = job.sequence().num_tokens() - before;
  job.count_cached(cached);
  const std::lock_guard lock(mutex_);
  state_.cached_tokens += cached;
}

void Engine::Scheduler::adopt_chunks(RunningJob& job) {
  while (true) {
    const auto ends = sharable_chunks(job);
    if (ends.empty()) return;
    const auto pages = prefixes_.find(job.job().cache_scope, job.job().prompt, ends);
    if (pages.empty()) return;
    adopt(job, pages);
  }
}

bool Engine::Scheduler::load_chunk(RunningJob& job) {
  const auto ends = sharable_chunks(job);
  if (!store_ || ends.empty()) return false;
  const PrefixStore::Chunk chunk = {job.job().cache_scope, job.job().prompt, ends};
  if (!store_->has(chunk)) return false;
  std::vector<PageRef> pages;
  for (const ops::PageFormat format : store_->formats_of(chunk)) {
    PageRef page = pool_.take(format);
    while (!page && prefixes_.forget_oldest()) page = pool_.take(format);
    if (!page) return false;
    pages.push_back(std::move(page));
  }
  try {
    store_->load(chunk, pages);
  } catch (const InputError& error) {
    log_warning(error.what());
    return false;
  }
  prefixes_.add(chunk.scope, chunk.prompt, ends, pages, PrefixCache::Origin::kLoaded);
  adopt(job, pages);
  return true;
}

bool Engine::Scheduler::save_chunk() {
  if (!store_) return false;
  const auto unsaved = prefixes_.take_unsaved();
  if (!unsaved) return false;
  try {
    store_->save({unsaved->scope, unsaved->ids, unsaved->ends}, unsaved->pages);
  } catch (const std::exception& error) {
    log_warning(fmt::format("{}; what is read of prompts is no longer kept on the disk", error.what()));
    store_.reset();
  }
  return true;
}

}  // namespace longlora::generate
