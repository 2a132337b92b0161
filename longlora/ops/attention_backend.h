// Chooses which of libtorch's attention kernels a GPU runs.
#pragma once

#include <string>

#include "longlora/tensors/gpu.h"

namespace longlora::ops {

enum class AttentionBackend {
  kAuto,   // flash attention where it takes the operands, else libtorch's choice among its others, but not
           // cuDNN's
  kFlash,  // as kAuto, with a warning where this GPU has no flash attention
  kCudnn,  // cuDNN's, if a comparison with flash attention succeeds
  kMath,   // neither, for GPUs that have no flash attention, and for comparison
};

/// Returns the backend that "auto", "flash", "cudnn" or "math" names. Throws UsageError for another name.
AttentionBackend attention_backend_from_name(const std::string& name);

/// Sets the backend for the whole process, because libtorch's own choice of attention kernels is one for the
/// process, and for `gpu`, the only GPU of the process. One thread calls it before the first op on the GPU,
/// as open_device() does; ops only read the choice. For kCudnn it compares cuDNN with flash attention. Where
/// they differ it logs a warning and keeps flash attention.
void set_attention_backend(AttentionBackend backend, const tensors::Gpu& gpu);

/// Whether attention() calls the kernels of flash attention directly, given the backend that was set. Where
/// it does not, the reason is logged, each reason once.
bool flash_takes(bool is_half_precision, int64_t head_size, bool needs_gradient);

}  // namespace longlora::ops
