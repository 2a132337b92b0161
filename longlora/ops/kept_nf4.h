// A weight in four bits among what an autograd graph keeps.
#pragma once

#include <ATen/core/ivalue.h>

#include <memory>

#include "longlora/ops/nf4.h"

namespace longlora::ops {

struct KeptNf4 : torch::CustomClassHolder {
  explicit KeptNf4(std::shared_ptr<const Nf4Matrix> kept) : matrix(std::move(kept)) {}
  std::shared_ptr<const Nf4Matrix> matrix;  // null for a weight that is not in four bits
};

inline c10::IValue keep_nf4(const std::shared_ptr<const Nf4Matrix>& matrix) {
  return c10::IValue::make_capsule(c10::make_intrusive<KeptNf4>(matrix));
}

inline std::shared_ptr<const Nf4Matrix> kept_nf4(const c10::IValue& kept) {
  return c10::static_intrusive_pointer_cast<KeptNf4>(kept.toCapsule())->matrix;
}

}  // namespace longlora::ops
