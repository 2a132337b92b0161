// A sequence whose keys and values lie in pages, and the attention of passes that continue sequences.
#pragma once

#include <ATen/ATen.h>

#include <cstdint>
#include <span>
#include <vector>

#include "longlora/forward/attend.h"
#include "longlora/generate/page_pool.h"

namespace longlora::generate {

/// The tokens of a sequence that have gone through the model. Page i holds those from kPageTokens · i on.
/// Pages may be shared with other sequences; then they are full and nobody writes into them.
class PagedSequence {
 public:
  /// Pages that are written have the format `written`. Full ones, save the first, which has the tokens that
  /// all others look at, become `kept` by compress().
  PagedSequence(PagePool& pool, ops::PageFormat written, ops::PageFormat kept);

  int64_t num_tokens() const { return num_tokens_; }
  std::span<const ops::PageView> views() const { return views_; }
  std::span<const PageRef> pages() const { return pages_; }

  /// Makes room for `count` more tokens. Returns false where the pool has no page left; then the sequence has
  /// as many tokens as before, and pages that were taken stay for the next attempt.
  bool reserve(int64_t count);
  /// Counts `count` tokens whose room was reserved and whose keys and values are being written.
  void extend(int64_t count) { num_tokens_ += count; }
  /// Appends full pages, which may be another sequence's. All pages before are full.
  void adopt(std::span<const PageRef> pages);
  /// Compresses the full pages in [first_page, last_page) that are still as they were written.
  void compress(int64_t first_page, int64_t last_page);
  /// Forgets all tokens.
  void clear();

 private:
  PagePool* pool_;
  ops::PageFormat written_, kept_;
  int64_t num_tokens_ = 0;
  std::vector<PageRef> pages_;
  std::vector<ops::PageView> views_;
};

/// The attention of a pass whose tokens are the newest ones of sequences: `counts` of each, laid end to end.
/// It writes their keys and values into the pages. The sequences have been extended by these counts.
class PagedAttend : public forward::Attend {
 public:
  struct Part {
    PagedSequence* sequence;
    int64_t count;
  };
  explicit PagedAttend(const ops::PageShape& shape, std::vector<Part> parts)
      : shape_(shape), parts_(std::move(parts)) {}

  at::Tensor attend(size_t layer, int64_t window_tokens, const model::QueryKeyValue& qkv,
                    ops::KeptAttention* kept) override;

 private:
  ops::PageShape shape_;
  std::vector<Part> parts_;
};

}  // namespace longlora::generate
