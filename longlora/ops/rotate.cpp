#include "longlora/ops/rotate.h"

#include <fmt/format.h>

#include "longlora/core/error.h"
#include "longlora/ops/backend.h"
#include "longlora/ops/shape_text.h"

namespace longlora::ops {

at::Tensor rotate(const at::Tensor& x, const at::Tensor& positions, const at::Tensor& cos,
                  const at::Tensor& sin) {
  if (x.dim() != 3 || positions.numel() != x.size(0) || cos.dim() != 2 || cos.sizes() != sin.sizes() ||
      2 * cos.size(1) > x.size(2))
    throw Error(fmt::format(
        "[rotate] expected x [N, H, D], positions [N] and cos, sin [P, <= D/2], got {}, {}, {} and {}",
        shape_text(x), shape_text(positions), shape_text(cos), shape_text(sin)));
  return backend_for(x).rotate(x, positions, cos, sin);
}

}  // namespace longlora::ops
