#include "longlora/tensors/tensor_memory.h"

#include <c10/core/Allocator.h>
#include <c10/core/CPUAllocator.h>
#include <c10/core/impl/alloc_cpu.h>
#include <malloc.h>
#include <sys/mman.h>

#include <algorithm>
#include <cstring>
#include <list>
#include <map>
#include <mutex>
#include <new>
#include <unordered_map>

namespace longlora::tensors {
namespace {

// Smaller tensors are left to malloc, which keeps their memory itself.
constexpr size_t kLeastPooledBytes = size_t{64} << 10;
constexpr size_t kPage = 4096;
constexpr size_t kLargePage = size_t{2} << 20;
constexpr size_t kSlackBytes = size_t{32} << 20;
// This is above the priority of libtorch's own allocator; one with which a test counts goes before.
constexpr uint8_t kPriority = 50;

struct Block {
  void* data;
  size_t bytes;
};

// Maps memory that begins on a large page. Returns null when there is no memory.
char* map_large(size_t bytes) {
  const size_t extra = kLargePage;
  void* const start =
      ::mmap(nullptr, bytes + extra, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (start == MAP_FAILED) return nullptr;
  auto* const first = static_cast<char*>(start);
  const size_t past = reinterpret_cast<uintptr_t>(first) % kLargePage;
  const size_t skipped = past == 0 ? 0 : kLargePage - past;
  if (skipped > 0) ::munmap(first, skipped);
  if (extra > skipped) ::munmap(first + skipped + bytes, extra - skipped);
  ::madvise(first + skipped, bytes, MADV_HUGEPAGE);
  return first + skipped;
}

// Memory of blocks that are smaller than a large page. They lie side by side in slabs, so that they are in
// large pages, too: weights of small models are read twice as fast from these.
class Slabs {
 public:
  // Returns null when there is no memory.
  void* take(size_t bytes) {
    if (newest_ == nullptr || newest_->used + bytes > kSlabBytes) {
      char* const start = map_large(kSlabBytes);
      if (start == nullptr) return nullptr;
      newest_ = &(slabs_[start] = Slab{});
      newest_start_ = start;
    }
    char* const place = newest_start_ + newest_->used;
    newest_->used += bytes;
    ++newest_->num_blocks;
    return place;
  }

  // Gives a block back to the system. Returns false where it is of no slab.
  bool give_back(void* data, size_t bytes) {
    auto* const place = static_cast<char*>(data);
    auto found = slabs_.upper_bound(place);
    if (found == slabs_.begin()) return false;
    --found;
    if (place >= found->first + kSlabBytes) return false;
    Slab& slab = found->second;
    --slab.num_blocks;
    if (slab.num_blocks > 0) {
      ::madvise(place, bytes, MADV_DONTNEED);
      return true;
    }
    if (&slab == newest_) newest_ = nullptr;
    ::munmap(found->first, kSlabBytes);
    slabs_.erase(found);
    return true;
  }

 private:
  static constexpr size_t kSlabBytes = size_t{32} << 20;

  struct Slab {
    size_t used = 0;  // bytes from its start on that were handed out
    size_t num_blocks = 0;
  };

  std::map<char*, Slab> slabs_;  // by where they start
  Slab* newest_ = nullptr;
  char* newest_start_ = nullptr;
};

class PoolingAllocator : public c10::Allocator {
 public:
  static PoolingAllocator& instance() {
    // The allocator is never destroyed, because tensors that outlive main() still call its deleter.
    static auto* allocator = new PoolingAllocator;
    return *allocator;
  }

  c10::DataPtr allocate(size_t bytes) override {
    void* data = bytes < kLeastPooledBytes ? c10::alloc_cpu(bytes) : take(bytes);
    return {data, data, &release, c10::Device(c10::DeviceType::CPU)};
  }
  c10::DeleterFnPtr raw_deleter() const override { return &release; }
  void copy_data(void* to, const void* from, size_t bytes) const override { std::memcpy(to, from, bytes); }

  void trim() {
    const std::lock_guard lock(mutex_);
    while (!kept_.empty()) unmap_oldest();
  }
  TensorMemory counts() {
    const std::lock_guard lock(mutex_);
    return {static_cast<int64_t>(held_bytes_), static_cast<int64_t>(most_bytes_),
            static_cast<int64_t>(kept_bytes_)};
  }

 private:
  using Kept = std::list<Block>;  // oldest first

  static void release(void* data) {
    if (data != nullptr && !instance().put_back(data)) c10::free_cpu(data);
  }

  void* take(size_t wanted) {
    const size_t bytes = (wanted + kPage - 1) / kPage * kPage;
    const std::lock_guard lock(mutex_);
    Block block = {nullptr, bytes};
    // A block that is a little larger will do.
    if (const auto found = by_size_.lower_bound(bytes);
        found != by_size_.end() && found->first <= bytes + bytes / 16) {
      block = *found->second;
      kept_bytes_ -= block.bytes;
      kept_.erase(found->second);
      by_size_.erase(found);
    } else {
      const size_t limit = std::max(most_bytes_, held_bytes_ + bytes) + kSlackBytes;
      while (!kept_.empty() && held_bytes_ + kept_bytes_ + bytes > limit) unmap_oldest();
      block.data = map(bytes);
      if (block.data == nullptr) {
        while (!kept_.empty()) unmap_oldest();
        block.data = map(bytes);
      }
      if (block.data == nullptr) throw std::bad_alloc();
    }
    held_[block.data] = block.bytes;
    held_bytes_ += block.bytes;
    most_bytes_ = std::max(most_bytes_, held_bytes_);
    return block.data;
  }

  // Returns false where `data` is not of the pool.
  bool put_back(void* data) {
    if (reinterpret_cast<uintptr_t>(data) % kPage != 0) return false;
    const std::lock_guard lock(mutex_);
    const auto found = held_.find(data);
    if (found == held_.end()) return false;
    const Block block = {data, found->second};
    held_.erase(found);
    held_bytes_ -= block.bytes;
    kept_.push_back(block);
    by_size_.emplace(block.bytes, std::prev(kept_.end()));
    kept_bytes_ += block.bytes;
    return true;
  }

  void unmap_oldest() {
    const Block block = kept_.front();
    const auto [first, last] = by_size_.equal_range(block.bytes);
    by_size_.erase(
        std::find_if(first, last, [&](const auto& entry) { return entry.second == kept_.begin(); }));
    kept_.pop_front();
    kept_bytes_ -= block.bytes;
    if (!slabs_.give_back(block.data, block.bytes)) ::munmap(block.data, block.bytes);
  }

  void* map(size_t bytes) { return bytes < kLargePage ? slabs_.take(bytes) : map_large(bytes); }

  std::mutex mutex_;
  Slabs slabs_;
  std::unordered_map<void*, size_t> held_;
  Kept kept_;
  std::multimap<size_t, Kept::iterator> by_size_;
  size_t held_bytes_ = 0, kept_bytes_ = 0, most_bytes_ = 0;
};

}  // namespace

void pool_tensor_memory() {
  static std::once_flag once;
  std::call_once(once, [] {
    c10::SetCPUAllocator(&PoolingAllocator::instance(), kPriority);
    // Matrix products take their scratch memory from malloc; it shall keep that, too.
    ::mallopt(M_MMAP_THRESHOLD, 32 << 20);
    ::mallopt(M_TRIM_THRESHOLD, 128 << 20);
  });
}

void trim_tensor_memory() {
  PoolingAllocator::instance().trim();
}

TensorMemory tensor_memory() {
  return PoolingAllocator::instance().counts();
}

}  // namespace longlora::tensors
