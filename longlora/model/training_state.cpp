#include "longlora/model/training_state.h"

#include "longlora/tensors/disk_tensor.h"

namespace longlora::model {
namespace {

/// What is smaller stays in memory: each tensor on disk is a file of its own.
constexpr int64_t kLeastElements = 4096;

/// Whether each batch reads some rows of the parameter and nothing else does.
bool is_looked_up_alone(const Decoder& decoder, const Parameter& parameter) {
  return &parameter == &decoder.embed_tokens && decoder.lm_head.value.defined();
}

at::Tensor copy_on_disk(const at::Tensor& x, at::ScalarType dtype, const StatePlace& place) {
  at::Tensor copy = tensors::zeros_on_disk(x.sizes(), dtype, place.folder);
  tensors::copy_by_pieces(copy, x);
  return copy;
}

/// Moves value and master, or makes the master there.
void hold_on_disk(Decoder& decoder, Parameter& parameter) {
  const StatePlace& place = decoder.state_place;
  const at::Tensor value = parameter.value.dense();
  const at::ScalarType dtype = value.scalar_type();
  const bool moves_value = has_value_on_disk(decoder, parameter, place.on_disk);
  if (moves_value) parameter.value = copy_on_disk(value, dtype, place);
  const at::Tensor& placed = parameter.value.dense();
  placed.requires_grad_(true);
  if (dtype == at::kFloat)
    parameter.master = placed;
  else
    parameter.master = copy_on_disk(parameter.trainable() ? parameter.master : value, at::kFloat, place);
  if (!moves_value && !parameter.grad.defined())
    parameter.grad = at::zeros(parameter.value.sizes(), at::TensorOptions(at::kFloat));
}

}  // namespace

bool has_value_on_disk(const Decoder& decoder, const Parameter& parameter, StateOnDisk on_disk) {
  return is_looked_up_alone(decoder, parameter) && on_disk != StateOnDisk::kNone;
}

bool has_state_on_disk(const Decoder& decoder, const Parameter& parameter, StateOnDisk on_disk) {
  if (has_value_on_disk(decoder, parameter, on_disk)) return true;
  return on_disk == StateOnDisk::kAll && parameter.value.numel() >= kLeastElements;
}

void make_trainable(Decoder& decoder, Parameter& parameter) {
  if (!parameter.value.is_nf4() && has_state_on_disk(decoder, parameter, decoder.state_place.on_disk))
    hold_on_disk(decoder, parameter);
  else if (is_looked_up_alone(decoder, parameter))
    parameter.make_master();
  else
    parameter.make_trainable();
}

void place_state(Decoder& decoder, const StatePlace& place) {
  decoder.state_place = place;
  visit_parameters(decoder, [&](const std::string&, Parameter& parameter) {
    if (parameter.trainable() && has_state_on_disk(decoder, parameter, place.on_disk))
      hold_on_disk(decoder, parameter);
  });
}

at::Tensor zero_state(const Decoder& decoder, const Parameter& parameter, at::ScalarType dtype) {
  const StatePlace& place = decoder.state_place;
  if (has_state_on_disk(decoder, parameter, place.on_disk))
    return tensors::zeros_on_disk(parameter.value.sizes(), dtype, place.folder);
  return at::zeros_like(parameter.master, at::TensorOptions(dtype));
}

}  // namespace longlora::model
