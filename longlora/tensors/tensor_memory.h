// Memory of large CPU tensors, kept for reuse.
#pragma once

#include <cstdint>

namespace longlora::tensors {

/// Lets every large CPU tensor of this process take its memory from a pool. A training step asks for the same
/// sizes again and again, and the system has to clear fresh memory page by page. What tensors hold and what
/// the pool keeps are together at most what tensors have held at once, and 32 MiB. Large pages are used where
/// the system has them. Call it once, before the first tensor; later calls do nothing. Thread-safe.
void pool_tensor_memory();

/// Gives the memory that no tensor holds back to the system.
void trim_tensor_memory();

/// Bytes of large tensors: those held at present, and the most at once so far.
struct TensorMemory {
  int64_t held_bytes = 0;
  int64_t most_bytes = 0;
  int64_t kept_bytes = 0;  // in the pool, unused
};
TensorMemory tensor_memory();

}  // namespace longlora::tensors
