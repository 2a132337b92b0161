// The threads that go through a decoding step together.
#pragma once

#include <omp.h>

#include <algorithm>
#include <atomic>
#include <cstdint>

namespace longlora::generate {

/// Threads that meet after each of many short parts of a step. A thread that waits spins for some
/// microseconds, since the others are nearly done, and then sleeps, so that threads that have no processor of
/// their own do not keep each other from running. One step at a time may run.
class StepTeam {
 public:
  /// One of the threads.
  class Member {
   public:
    Member(StepTeam& team, int64_t index, int64_t size) : team_(team), index_(index), size_(size) {}

    int64_t index() const { return index_; }

    /// Divides [0, n) into ranges, calls body(begin, end) for each of them in one of the threads, and returns
    /// when all are done. Every thread calls it with the same n. A thread takes a part of what is left each
    /// time, so that large ranges come first and small ones even out who is late.
    template <typename Body>
    void share(int64_t n, const Body& body) const {
      int64_t begin = team_.next_.load(std::memory_order_relaxed);
      while (begin < n) {
        const int64_t count = size_ == 1 ? n : std::max<int64_t>(1, (n - begin) / (2 * size_));
        if (!team_.next_.compare_exchange_weak(begin, begin + count, std::memory_order_relaxed)) continue;
        body(begin, std::min(n, begin + count));
        begin = team_.next_.load(std::memory_order_relaxed);
      }
      meet();
    }

   private:
    /// Returns when all threads are here. What they wrote before can be read then.
    void meet() const {
      const uint32_t turn = team_.turn_.load(std::memory_order_relaxed);
      if (team_.arrived_.fetch_add(1, std::memory_order_acq_rel) + 1 == size_) {
        team_.arrived_.store(0, std::memory_order_relaxed);
        team_.next_.store(0, std::memory_order_relaxed);
        team_.turn_.store(turn + 1, std::memory_order_release);
        team_.turn_.notify_all();
        return;
      }
      for (int spins = 0; spins < kSpins; ++spins) {
        if (team_.turn_.load(std::memory_order_acquire) != turn) return;
        __builtin_ia32_pause();
      }
      team_.turn_.wait(turn, std::memory_order_acquire);
    }

    StepTeam& team_;
    int64_t index_, size_;
  };

  /// Calls body(member) in at most `threads` threads at once and returns when all have returned. The body
  /// must not throw.
  template <typename Body>
  void run(int64_t threads, const Body& body) {
#pragma omp parallel num_threads(static_cast <int>(threads))
    body(Member(*this, omp_get_thread_num(), omp_get_num_threads()));
  }

 private:
  static constexpr int kSpins = 1000;

  alignas(64) std::atomic<int64_t> next_ = 0;
  alignas(64) std::atomic<int64_t> arrived_ = 0;
  alignas(64) std::atomic<uint32_t> turn_ = 0;
};

}  // namespace longlora::generate
