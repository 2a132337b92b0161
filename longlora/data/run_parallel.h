// Spreads work over several threads.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <exception>
#include <system_error>
#include <thread>
#include <vector>

#include "longlora/core/log_sink.h"

namespace longlora::data {

/// Runs work(0) … work(count - 1) on at most `num_threads` threads, including this one, and throws the first
/// exception again. All threads log where this one does. Where the system gives fewer threads, those that
/// there are do all the work.
template <typename Work>
void run_parallel(size_t count, int num_threads, const Work& work) {
  const size_t num_workers = std::min(count, static_cast<size_t>(std::max(num_threads, 1)));
  if (num_workers == 0) return;
  std::atomic<size_t> next{0};
  std::vector<std::exception_ptr> errors(num_workers);
  LogSink& sink = log_sink();
  const auto run = [&](size_t worker) {
    const ScopedLogSink scope(sink);
    try {
      for (size_t i = next++; i < count; i = next++) work(i);
    } catch (...) {
      errors[worker] = std::current_exception();
      next = count;
    }
  };
  {
    std::vector<std::jthread> threads;  // joined at the end of this block, however it is left
    threads.reserve(num_workers);
    try {
      for (size_t i = 1; i < num_workers; ++i) threads.emplace_back(run, i);
    } catch (const std::system_error&) {
      // The system gives no more threads.
    }
    run(0);
  }
  for (const std::exception_ptr& error : errors)
    if (error) std::rethrow_exception(error);
}

}  // namespace longlora::data
