#include "longlora/generate/page_pool.h"

#include <cstdlib>
#include <limits>
#include <map>
#include <mutex>
#include <new>
#include <utility>
#include <vector>

namespace longlora::generate {
namespace {

constexpr size_t kAlignment = 64;

struct FreeMemory {
  void operator()(std::byte* data) const { std::free(data); }
};
using Block = std::unique_ptr<std::byte, FreeMemory>;

Block allocate(int64_t bytes) {
  const size_t rounded = (static_cast<size_t>(bytes) / kAlignment + 1) * kAlignment;
  auto* const data = static_cast<std::byte*>(std::aligned_alloc(kAlignment, rounded));
  if (data == nullptr) throw std::bad_alloc();
  return Block(data);
}

}  // namespace

// What pages give their memory back to.
struct PagePool::Memory {
  std::mutex mutex;
  int64_t held_bytes = 0;
  std::map<ops::PageFormat, std::vector<Block>> free;
};

PagePool::PagePool(const ops::PageShape& shape, int64_t limit_bytes)
    : shape_(shape), limit_bytes_(limit_bytes), memory_(std::make_shared<Memory>()) {}

PageRef PagePool::take(ops::PageFormat format) {
  return make(format, limit_bytes_);
}

PageRef PagePool::take_in_place(ops::PageFormat format) {
  return make(format, std::numeric_limits<int64_t>::max());
}

PageRef PagePool::make(ops::PageFormat format, int64_t limit_bytes) {
  const int64_t bytes = shape_.num_bytes(format);
  Block block;
  {
    const std::lock_guard lock(memory_->mutex);
    if (memory_->held_bytes > limit_bytes - bytes) return nullptr;
    std::vector<Block>& free = memory_->free[format];
    if (!free.empty()) {
      block = std::move(free.back());
      free.pop_back();
    }
    memory_->held_bytes += bytes;
  }
  if (!block) block = allocate(bytes);
  auto view = std::make_unique<ops::PageView>(ops::PageView{format, block.release()});
  return {view.release(), [memory = memory_, bytes](const ops::PageView* page) {
            const std::unique_ptr<const ops::PageView> owned(page);
            Block freed(page->data);
            const std::lock_guard lock(memory->mutex);
            memory->held_bytes -= bytes;
            memory->free[page->format].push_back(std::move(freed));
          }};
}

int64_t PagePool::held_bytes() const {
  const std::lock_guard lock(memory_->mutex);
  return memory_->held_bytes;
}

}  // namespace longlora::generate
