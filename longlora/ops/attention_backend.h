// Which of libtorch's attention kernels a GPU runs.
#pragma once

#include <string>

#include "longlora/tensors/gpu.h"

namespace longlora::ops {

enum class AttentionBackend {
  kAuto,   // flash where it takes the operands, else the best of libtorch's others except cuDNN
  kFlash,  // the same, and a warning at once where this GPU has no flash attention
  kCudnn,  // cuDNN, once a self-test against flash has passed
  kMath,   // neither: for GPUs that have no flash attention, and for comparison
};

/// "auto", "flash", "cudnn" or "math". Throws UsageError for another name.
AttentionBackend attention_backend_from_name(const std::string& name);

/// Sets it for this process and `gpu`, its only one: libtorch holds its choice of attention kernels for the
/// whole process, so this one is held so too. To be called by one thread before the first op on the GPU
/// (open_device() does); ops only read it. Runs the self-test of kCudnn and, where that fails, says so and
/// stays with flash.
void set_attention_backend(AttentionBackend backend, const tensors::Gpu& gpu);

/// Whether segment attention goes to flash attention's own path, given what set_attention_backend() was told;
/// says once, for each reason, why not.
bool flash_takes(bool is_half_precision, int64_t head_size, bool needs_gradient);

}  // namespace longlora::ops
