#include "longlora/tensors/meta_memory.h"

#include <c10/core/Allocator.h>

#include <algorithm>
#include <mutex>
#include <utility>

#include "longlora/core/error.h"

namespace longlora::tensors {

struct MetaMemory::Counts {
  int64_t held = 0;
  int64_t most = 0;
};

namespace {

using Counts = MetaMemory::Counts;

// Who counts in this thread.
thread_local std::shared_ptr<Counts> counting;

// What a tensor's storage carries along, so that its end is counted where its beginning was.
struct Allocation {
  std::shared_ptr<Counts> counts;
  int64_t bytes;
};

// Above libtorch's own.
constexpr uint8_t kPriority = 50;

// Hands out no memory, as libtorch's own allocator of the meta device, and counts what was asked for.
class CountingAllocator : public c10::Allocator {
 public:
  c10::DataPtr allocate(size_t bytes) override {
    const c10::Device device(c10::DeviceType::Meta);
    if (!counting) return {nullptr, nullptr, &release, device};
    counting->held += static_cast<int64_t>(bytes);
    counting->most = std::max(counting->most, counting->held);
    auto allocation = std::make_unique<Allocation>(Allocation{counting, static_cast<int64_t>(bytes)});
    return {nullptr, allocation.release(), &release, device};
  }
  c10::DeleterFnPtr raw_deleter() const override { return &release; }
  void copy_data(void*, const void*, size_t) const override {}

 private:
  static void release(void* context) {
    const std::unique_ptr<Allocation> allocation(static_cast<Allocation*>(context));
    if (allocation) allocation->counts->held -= allocation->bytes;
  }
};

void install_allocator() {
  static std::once_flag once;
  std::call_once(once, [] {
    // Never destroyed: tensors that outlive main() still call its deleter.
    static auto* const allocator = new CountingAllocator;
    c10::SetAllocator(c10::DeviceType::Meta, allocator, kPriority);
  });
}

}  // namespace

MetaMemory::MetaMemory() : counts_(std::make_shared<Counts>()) {
  if (counting) throw Error("[memory] expected one count of tensors without values at a time");
  install_allocator();
  counting = counts_;
}

MetaMemory::~MetaMemory() {
  counting.reset();
}

bool MetaMemory::is_counting() {
  return counting != nullptr;
}

int64_t MetaMemory::held_bytes() const {
  return counts_->held;
}

int64_t MetaMemory::most_bytes() const {
  return counts_->most;
}

void MetaMemory::reset_most() {
  counts_->most = counts_->held;
}

}  // namespace longlora::tensors
