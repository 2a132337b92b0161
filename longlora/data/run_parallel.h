// Work on several threads.
#pragma once

#include <atomic>
#include <cstddef>
#include <exception>
#include <thread>
#include <vector>

namespace longlora::data {

/// Runs work(0) … work(count - 1) on several threads, this one among them; the first exception is thrown
/// again.
template <typename Work>
void run_parallel(size_t count, int num_threads, const Work& work) {
  std::atomic<size_t> next{0};
  std::vector<std::exception_ptr> errors(static_cast<size_t>(num_threads));
  const auto run = [&](size_t thread) {
    try {
      for (size_t i = next++; i < count; i = next++) work(i);
    } catch (...) {
      errors[thread] = std::current_exception();
      next = count;
    }
  };
  std::vector<std::thread> threads;
  for (size_t i = 1; i < errors.size() && i < count; ++i) threads.emplace_back(run, i);
  run(0);
  for (std::thread& thread : threads) thread.join();
  for (const std::exception_ptr& error : errors) {
    if (error) std::rethrow_exception(error);
  }
}

}  // namespace longlora::data
