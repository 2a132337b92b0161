// Work on many rows or elements in chunks of a fixed size, so that sums over
// chunks do not depend on the number of threads.
#pragma once

#include <ATen/Parallel.h>

#include <algorithm>
#include <cstdint>

#include "longlora/tensors/meta_memory.h"

namespace longlora::ops::cpu {

constexpr int64_t kRowsPerTask = 128;
constexpr int64_t kElementsPerTask = 1 << 15;

inline int64_t num_tasks(int64_t n, int64_t per_task) {
  return (n + per_task - 1) / per_task;
}

/// Calls body(first, last) for parts of [0, n), in parallel. All kernels of a pass over layers run inside
/// this function. It calls nothing while a tensors::MetaMemory counts tensors without values, on which
/// kernels cannot run.
template <typename Body>
void parallel_tasks(int64_t n, const Body& body) {
  if (!tensors::MetaMemory::is_counting()) at::parallel_for(0, n, 1, body);
}

/// Divides [0, n) into chunks of `per_task` and calls body(task, begin, end) for each, in parallel.
template <typename Body>
void parallel_chunks(int64_t n, int64_t per_task, const Body& body) {
  parallel_tasks(num_tasks(n, per_task), [&](int64_t first, int64_t last) {
    for (int64_t task = first; task < last; ++task)
      body(task, task * per_task, std::min(n, (task + 1) * per_task));
  });
}

}  // namespace longlora::ops::cpu
