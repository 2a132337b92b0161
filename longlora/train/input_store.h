// Where the layers' inputs wait for backward.
#pragma once

#include <ATen/ATen.h>

#include <cstdint>
#include <filesystem>
#include <future>
#include <memory>
#include <vector>

#include "longlora/core/scratch_file.h"

namespace longlora::train {

/// Inputs of the lowest layers in a scratch file, of the others in memory.
struct InputPlaces {
  int64_t on_disk = 0;
  std::filesystem::path scratch_dir;
  int64_t input_bytes = 0;  // the most that one input takes
};

/// Takes in the layers' inputs in ascending order and gives them out in descending order, once each.
/// Writing and reading back go on beside the computation: at most one input is being written, and the next
/// one to be asked for is being read. Not thread-safe.
class InputStore {
 public:
  /// Throws ResourceError when the disk has no room for the inputs.
  InputStore(size_t num_layers, const InputPlaces& places);

  /// `input` [N, C], contiguous, is not changed by anybody afterwards.
  void put(size_t layer, at::Tensor input);
  /// Inputs below `lowest` will not be asked for.
  at::Tensor take(size_t layer, size_t lowest);

 private:
  bool is_on_disk(size_t layer) const { return static_cast<int64_t>(layer) < places_.on_disk; }
  void start_reading(size_t layer);

  InputPlaces places_;
  std::vector<at::Tensor> inputs_;  // on the meta device where they are on disk
  std::unique_ptr<ScratchFile> file_;
  std::future<void> writing_;
  std::future<at::Tensor> reading_;
};

}  // namespace longlora::train
