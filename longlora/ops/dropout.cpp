#include "longlora/ops/dropout.h"

#include <fmt/format.h>

#include "longlora/core/error.h"
#include "longlora/ops/backend.h"
#include "longlora/ops/shape_text.h"

namespace longlora::ops {

at::Tensor dropout(const at::Tensor& x, const Dropout& dropout) {
  if (x.dim() != 2 || dropout.probability < 0.0 || dropout.probability >= 1.0)
    throw Error(fmt::format("[dropout] expected a matrix and a probability in [0, 1), got {} and {}",
                            shape_text(x), dropout.probability));
  return backend_for(x).dropout(x, dropout);
}

}  // namespace longlora::ops
