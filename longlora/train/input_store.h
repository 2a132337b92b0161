// Keeps the inputs of the layers from forward to backward.
#pragma once

#include <ATen/ATen.h>

#include <cstdint>
#include <filesystem>
#include <future>
#include <memory>
#include <vector>

#include "longlora/core/scratch_file.h"

namespace longlora::train {

/// Says where inputs are kept: those of the lowest layers in a scratch file, the others in memory.
struct InputPlaces {
  int64_t on_disk = 0;
  std::filesystem::path scratch_dir;
  int64_t input_bytes = 0;  // the size of the largest input
};

/// Takes the inputs of the layers in ascending order and returns each once, in descending order. The disk is
/// written and read while the layers compute: at most one input is being written, and the next one that will
/// be asked for is being read. Not thread-safe.
class InputStore {
 public:
  /// Throws ResourceError when the disk has no room for the inputs.
  InputStore(size_t num_layers, const InputPlaces& places);

  /// Takes the input [N, C] of a layer, which is contiguous. Nobody may change it afterwards.
  void put(size_t layer, at::Tensor input);
  /// Returns the input of a layer. `lowest` is the lowest layer whose input will be asked for.
  at::Tensor take(size_t layer, size_t lowest);

 private:
  bool is_on_disk(size_t layer) const { return static_cast<int64_t>(layer) < places_.on_disk; }
  void start_reading(size_t layer);

  InputPlaces places_;
  std::vector<at::Tensor> inputs_;  // those on disk are tensors without values here
  std::unique_ptr<ScratchFile> file_;
  std::future<void> writing_;
  std::future<at::Tensor> reading_;
};

}  // namespace longlora::train
