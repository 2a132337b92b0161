// What was read of prompts, for those that begin alike.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "longlora/generate/page_pool.h"

namespace longlora::generate {

/// Keeps the pages of chunks of prompts, each behind the chunks before it. Tokens are compared one by one.
/// Not thread-safe.
class PrefixCache {
 public:
  PrefixCache();
  ~PrefixCache();

  /// Returns the pages of the last of the chunks of a prompt that end at `ends`, or none where no prompt of
  /// this scope was read in these chunks that has the same tokens up to there.
  std::span<const PageRef> find(const std::string& scope, std::span<const int64_t> prompt,
                                std::span<const int64_t> ends);
  /// Where a chunk comes from: the model computed it, or it lay on a disk (PrefixStore).
  enum class Origin { kRead, kLoaded };
  /// Keeps the pages of the last of these chunks. Where one of the chunks before it has been forgotten,
  /// nothing happens.
  void add(const std::string& scope, std::span<const int64_t> prompt, std::span<const int64_t> ends,
           std::span<const PageRef> pages, Origin origin = Origin::kRead);
  /// The last of the chunks that end at `ends`, with the tokens of its prompt up to its end.
  struct Unsaved {
    std::string scope;
    std::vector<int64_t> ids, ends;
    std::span<const PageRef> pages;  // until the cache changes
  };
  /// Returns a chunk that was read and that this function never returned before.
  std::optional<Unsaved> take_unsaved();
  /// Forgets the chunk that was not used for the longest time and that no other chunk needs. Returns false
  /// where there is none.
  bool forget_oldest();
  int64_t num_chunks() const { return num_chunks_; }

 private:
  struct Chunk;
  Chunk* walk(const std::string& scope, std::span<const int64_t> prompt, std::span<const int64_t> ends);

  int64_t num_chunks_ = 0;
  uint64_t clock_ = 0;
  std::map<std::string, std::unique_ptr<Chunk>> roots_;  // by scope; a root has no tokens
};

}  // namespace longlora::generate
