// Counts the bytes that tensors hold.
#pragma once

#include <c10/core/Allocator.h>
#include <c10/core/CPUAllocator.h>

#include <atomic>
#include <cstdlib>
#include <cstring>
#include <new>

namespace longlora::test {

/// Takes the place of libtorch's CPU allocator for the rest of the process, from the first call of
/// instance().
class CountingAllocator : public c10::Allocator {
 public:
  static CountingAllocator& instance() {
    // Never destroyed: tensors that outlive main() still call its deleter.
    static CountingAllocator* allocator = [] {
      auto* made = new CountingAllocator;
      c10::SetCPUAllocator(made, /*priority=*/100);
      return made;
    }();
    return *allocator;
  }

  c10::DataPtr allocate(size_t num_bytes) override {
    // Some callers keep the bare pointer, so its size stands in front of it.
    const size_t whole = (num_bytes + 2 * kHeader - 1) / kHeader * kHeader;
    auto* start = static_cast<char*>(std::aligned_alloc(kHeader, whole));
    if (start == nullptr) throw std::bad_alloc();
    *reinterpret_cast<size_t*>(start) = num_bytes;
    const int64_t live = live_ += static_cast<int64_t>(num_bytes);
    for (int64_t peak = peak_; peak < live && !peak_.compare_exchange_weak(peak, live);) {
    }
    char* data = start + kHeader;
    return {data, data, &release, c10::Device(c10::DeviceType::CPU)};
  }
  c10::DeleterFnPtr raw_deleter() const override { return &release; }
  void copy_data(void* to, const void* from, std::size_t num_bytes) const override {
    std::memcpy(to, from, num_bytes);
  }

  /// Most bytes held at once since the last reset, beyond those held then.
  int64_t peak_bytes() const { return peak_ - base_; }
  /// Bytes held beyond those held at the last reset.
  int64_t held_bytes() const { return live_ - base_; }
  void reset() {
    base_ = live_.load();
    peak_ = live_.load();
  }

 private:
  static constexpr size_t kHeader = 64;  // libtorch's own alignment

  CountingAllocator() = default;
  static void release(void* data) {
    if (data == nullptr) return;
    char* start = static_cast<char*>(data) - kHeader;
    instance().live_ -= static_cast<int64_t>(*reinterpret_cast<size_t*>(start));
    std::free(start);
  }

  std::atomic<int64_t> live_ = 0;
  std::atomic<int64_t> peak_ = 0;
  int64_t base_ = 0;
};

}  // namespace longlora::test
