// The memory of keys and values: pages that sequences take, share and give back.
#pragma once

#include <cstdint>
#include <memory>

#include "longlora/ops/kv_page.h"

namespace longlora::generate {

/// A page that somebody holds. When the last holder lets it go, its memory returns to the pool.
using PageRef = std::shared_ptr<const ops::PageView>;

/// Hands out pages of one shape as long as all that are held together stay below a limit. Thread-safe. Pages
/// may outlive the pool.
class PagePool {
 public:
  PagePool(const ops::PageShape& shape, int64_t limit_bytes);

  /// Returns a page with undefined content, or null where it would exceed the limit.
  PageRef take(ops::PageFormat format);
  /// Returns a page that takes the place of a larger one, which its holder lets go at once. The limit does
  /// not count.
  PageRef take_in_place(ops::PageFormat format);

  const ops::PageShape& shape() const { return shape_; }
  int64_t limit_bytes() const { return limit_bytes_; }
  /// The bytes of the pages that are held at present.
  int64_t held_bytes() const;

 private:
  struct Memory;
  PageRef make(ops::PageFormat format, int64_t limit_bytes);

  ops::PageShape shape_;
  int64_t limit_bytes_;
  std::shared_ptr<Memory> memory_;
};

}  // namespace longlora::generate
