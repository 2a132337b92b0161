#include "longlora/ops/weight.h"

#include "longlora/core/error.h"

namespace longlora::ops {
namespace {

// A weight in four bits, in the form in which autograd stores what is not a tensor.
struct KeptWeight : torch::CustomClassHolder {
  explicit KeptWeight(Weight kept) : weight(std::move(kept)) {}
  Weight weight;
};

}  // namespace

Weight::Weight(at::Tensor dense) : values_(std::move(dense)) {}

Weight::Weight(Nf4Matrix matrix, at::ScalarType dtype)
    : values_(at::empty({matrix.rows, matrix.columns}, at::TensorOptions(dtype).device(at::kMeta))),
      nf4_(std::make_shared<const Nf4Matrix>(std::move(matrix))) {}

const at::Tensor& Weight::dense() const {
  if (is_nf4()) throw Error("[weight] expected a dense weight, got one in four bits");
  return values_;
}

const Nf4Matrix& Weight::nf4() const {
  if (!is_nf4()) throw Error("[weight] expected a weight in four bits, got a dense one");
  return *nf4_;
}

int64_t Weight::num_bytes() const {
  return is_nf4() ? nf4_->num_bytes() : values_.numel() * values_.element_size();
}

at::Tensor Weight::to_dense() const {
  return is_nf4() ? dequantize_nf4(*nf4_, scalar_type()) : values_;
}

at::Tensor Weight::rows(int64_t begin, int64_t end) const {
  if (!is_nf4()) return values_.slice(0, begin, end);
  const at::Tensor part = at::empty({end - begin, size(1)}, at::TensorOptions(at::kFloat).device(device()));
  dequantize_nf4_part(*nf4_, begin, 0, part);
  return part.to(scalar_type());
}

c10::IValue keep_weight(const Weight& weight) {
  return c10::IValue::make_capsule(c10::make_intrusive<KeptWeight>(weight));
}

const Weight& kept_weight(const c10::IValue& kept) {
  return c10::static_intrusive_pointer_cast<KeptWeight>(kept.toCapsule())->weight;
}

}  // namespace longlora::ops
