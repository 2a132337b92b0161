#include "longlora/generate/prefix_cache.h"

#include <algorithm>

namespace longlora::generate {

struct PrefixCache::Chunk {
  std::vector<int64_t> ids;
  std::vector<PageRef> pages;
  std::vector<std::unique_ptr<Chunk>> next;
  Chunk* before = nullptr;
  uint64_t last_used = 0;
  bool is_saved = true;
};

PrefixCache::PrefixCache() = default;
PrefixCache::~PrefixCache() = default;

namespace {

// The tokens of the last of the chunks that end at `ends`.
std::span<const int64_t> last_chunk(std::span<const int64_t> prompt, std::span<const int64_t> ends) {
  const int64_t begin = ends.size() > 1 ? ends[ends.size() - 2] : 0;
  return prompt.subspan(static_cast<size_t>(begin), static_cast<size_t>(ends.back() - begin));
}

}  // namespace

// Returns the last of these chunks, or null where one of them is not kept; for no chunks, the root.
PrefixCache::Chunk* PrefixCache::walk(const std::string& scope, std::span<const int64_t> prompt,
                                      std::span<const int64_t> ends) {
  const auto root = roots_.find(scope);
  if (root == roots_.end()) return nullptr;
  Chunk* at = root->second.get();
  ++clock_;
  for (size_t i = 1; i <= ends.size(); ++i) {
    const auto ids = last_chunk(prompt, ends.first(i));
    const auto found = std::find_if(at->next.begin(), at->next.end(), [&](const auto& chunk) {
      return std::equal(chunk->ids.begin(), chunk->ids.end(), ids.begin(), ids.end());
    });
    if (found == at->next.end()) return nullptr;
    at = found->get();
    at->last_used = clock_;
  }
  return at;
}

std::span<const PageRef> PrefixCache::find(const std::string& scope, std::span<const int64_t> prompt,
                                           std::span<const int64_t> ends) {
  const Chunk* const found = walk(scope, prompt, ends);
  return found == nullptr ? std::span<const PageRef>() : found->pages;
}

void PrefixCache::add(const std::string& scope, std::span<const int64_t> prompt,
                      std::span<const int64_t> ends, std::span<const PageRef> pages, Origin origin) {
  std::unique_ptr<Chunk>& root = roots_[scope];
  if (!root) root = std::make_unique<Chunk>();
  Chunk* const before = walk(scope, prompt, ends.first(ends.size() - 1));
  if (before == nullptr || walk(scope, prompt, ends) != nullptr) return;
  const auto ids = last_chunk(prompt, ends);
  auto chunk = std::make_unique<Chunk>();
  chunk->ids.assign(ids.begin(), ids.end());
  chunk->pages.assign(pages.begin(), pages.end());
  chunk->before = before;
  chunk->last_used = clock_;
  chunk->is_saved = origin == Origin::kLoaded;
  before->next.push_back(std::move(chunk));
  ++num_chunks_;
}

std::optional<PrefixCache::Unsaved> PrefixCache::take_unsaved() {
  const auto find_unsaved = [](const auto& self, Chunk& chunk) -> Chunk* {
    if (!chunk.is_saved) return &chunk;
    for (const auto& next : chunk.next)
      if (Chunk* const found = self(self, *next)) return found;
    return nullptr;
  };
  for (const auto& [scope, root] : roots_) {
    Chunk* const found = find_unsaved(find_unsaved, *root);
    if (found == nullptr) continue;
    found->is_saved = true;
    Unsaved unsaved = {.scope = scope, .ids = {}, .ends = {}, .pages = found->pages};
    std::vector<const Chunk*> chunks;  // the last one first
    for (const Chunk* chunk = found; chunk->before != nullptr; chunk = chunk->before) chunks.push_back(chunk);
    for (auto chunk = chunks.rbegin(); chunk != chunks.rend(); ++chunk) {
      unsaved.ids.insert(unsaved.ids.end(), (*chunk)->ids.begin(), (*chunk)->ids.end());
      unsaved.ends.push_back(std::ssize(unsaved.ids));
    }
    return unsaved;
  }
  return std::nullopt;
}

bool PrefixCache::forget_oldest() {
  Chunk* oldest = nullptr;
  const auto visit = [&](const auto& self, Chunk& chunk) -> void {
    for (const auto& next : chunk.next) self(self, *next);
    const bool is_leaf = chunk.next.empty() && chunk.before != nullptr;
    if (is_leaf && (oldest == nullptr || chunk.last_used < oldest->last_used)) oldest = &chunk;
  };
  for (const auto& [scope, root] : roots_) visit(visit, *root);
  if (oldest == nullptr) return false;
  auto& siblings = oldest->before->next;
  siblings.erase(std::find_if(siblings.begin(), siblings.end(),
                              [&](const auto& chunk) { return chunk.get() == oldest; }));
  --num_chunks_;
  return true;
}

}  // namespace longlora::generate
