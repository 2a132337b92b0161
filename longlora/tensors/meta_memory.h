// How much memory a computation takes, found without doing it.
#pragma once

#include <cstdint>
#include <memory>

namespace longlora::tensors {

/// While one lives, the bytes are counted that the tensors which this thread makes on the meta device would
/// hold if they had values. A pass over layers makes the same tensors as a real one on the CPU, and costs
/// neither memory nor arithmetic: no kernel of ops runs in this thread meanwhile. One at a time in each
/// thread; tensors may outlive it.
class MetaMemory {
 public:
  MetaMemory();
  ~MetaMemory();
  MetaMemory(const MetaMemory&) = delete;
  MetaMemory& operator=(const MetaMemory&) = delete;

  /// Whether one lives in this thread.
  static bool is_counting();

  /// Bytes that the tensors made so far hold at present.
  int64_t held_bytes() const;
  /// The most that they have held at once since the start, or since the last call of reset_most().
  int64_t most_bytes() const;
  void reset_most();

  struct Counts;

 private:
  std::shared_ptr<Counts> counts_;
};

}  // namespace longlora::tensors
