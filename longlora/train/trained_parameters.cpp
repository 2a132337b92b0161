#include "longlora/train/trained_parameters.h"

#include <algorithm>

#include "longlora/ops/backend.h"
#include "longlora/tensors/disk_tensor.h"

namespace longlora::train {
namespace {

at::Tensor copy_on_disk(const at::Tensor& x, at::ScalarType dtype, const StatePlace& place) {
  at::Tensor copy = tensors::zeros_on_disk(x.sizes(), dtype, place.folder);
  tensors::copy_by_pieces(copy, x);
  return copy;
}

template <typename List>
auto* find_in(List& list, const model::Parameter& parameter) {
  const auto found = std::find_if(list.begin(), list.end(), [&](const TrainedParameter& trained) {
    return trained.parameter == &parameter;
  });
  return found == list.end() ? nullptr : &*found;
}

}  // namespace

void TrainedParameter::zero_grad() {
  if (!grad_rows) {
    grad.zero_();
    return;
  }
  grad.slice(0, 0, static_cast<int64_t>(grad_rows->rows().size())).zero_();
  grad_rows->clear();
}

void TrainedParameter::refresh_elements(int64_t begin, int64_t end) {
  const at::Tensor& value = parameter->value.dense();
  if (value.is_same(master)) return;
  // detach() shares the storage without autograd, so that a leaf may be changed through it.
  value.detach().view(-1).slice(0, begin, end).copy_(master.view(-1).slice(0, begin, end));
}

void TrainedParameter::refresh_rows(const std::vector<int64_t>& rows) {
  const at::Tensor& value = parameter->value.dense();
  if (value.is_same(master) || rows.empty()) return;
  // Rows are copied in pieces, because a piece is gathered in memory.
  constexpr int64_t kRowsAtOnce = 1024;
  const at::Tensor index = at::tensor(rows, at::kLong);
  for (int64_t begin = 0; begin < index.numel(); begin += kRowsAtOnce) {
    const at::Tensor some = index.slice(0, begin, std::min(begin + kRowsAtOnce, index.numel()));
    value.detach().index_copy_(0, some, master.index_select(0, some).to(value.scalar_type()));
  }
}

TrainedParameters::TrainedParameters(model::Decoder& decoder, const TrainingStateOptions& options)
    : decoder_(decoder), place_(options.place) {
  model::visit_parameters(
      decoder, [&](const std::string& name, model::ParameterRole role, model::Parameter& parameter) {
        if (parameter.trainable()) add(name, role, parameter, options);
      });
}

void TrainedParameters::add(const std::string& name, model::ParameterRole role, model::Parameter& parameter,
                            const TrainingStateOptions& options) {
  const at::ScalarType dtype = parameter.value.scalar_type();
  if (has_value_on_disk(decoder_, parameter, place_.on_disk)) {
    parameter.value = copy_on_disk(parameter.value.dense(), dtype, place_);
    parameter.make_trainable();
  }
  TrainedParameter trained = {name, role, &parameter, {}, {}};
  if (dtype == at::kFloat)
    trained.master = parameter.value.dense();
  else if (has_state_on_disk(decoder_, parameter, place_.on_disk))
    trained.master = copy_on_disk(parameter.value.dense(), at::kFloat, place_);
  else
    trained.master = parameter.value.dense().detach().to(at::kFloat);
  trained.grad = make_grad(trained, options);
  all_.push_back(std::move(trained));
}

at::Tensor TrainedParameters::make_grad(TrainedParameter& trained,
                                        const TrainingStateOptions& options) const {
  const at::Tensor& value = trained.parameter->value.dense();
  std::vector<int64_t> sizes = value.sizes().vec();
  const bool by_rows = is_looked_up_alone(decoder_, *trained.parameter) &&
                       &ops::backend_for(value.device(), at::kFloat) == &ops::cpu_backend();
  if (by_rows) {
    trained.grad_rows.emplace(sizes[0]);
    if (options.update_tokens > 0) sizes[0] = std::min(sizes[0], options.update_tokens);
  }
  return at::zeros(sizes, at::TensorOptions(at::kFloat).device(value.device()));
}

TrainedParameter* TrainedParameters::find(const model::Parameter& parameter) {
  return find_in(all_, parameter);
}

const TrainedParameter* TrainedParameters::find(const model::Parameter& parameter) const {
  return find_in(all_, parameter);
}

at::Tensor TrainedParameters::precise(const model::Parameter& parameter) const {
  const TrainedParameter* trained = find(parameter);
  return (trained != nullptr ? trained->master : parameter.value.dense()).detach();
}

at::Tensor TrainedParameters::zeros_for(const TrainedParameter& trained, at::ScalarType dtype) const {
  if (has_state_on_disk(decoder_, *trained.parameter, place_.on_disk))
    return tensors::zeros_on_disk(trained.master.sizes(), dtype, place_.folder);
  return at::zeros_like(trained.master, at::TensorOptions(dtype));
}

void TrainedParameters::load_masters(const checkpoint::TensorStore& base,
                                     const checkpoint::PeftAdapter* adapter) {
  if (decoder_.dtype() == at::kFloat) return;  // the values are the masters already
  const auto set = [&](const model::Parameter& parameter, const at::Tensor& value) {
    const TrainedParameter* trained = find(parameter);
    if (trained != nullptr && trained->master.sizes() == value.sizes())
      tensors::copy_by_pieces(trained->master, value);
  };
  for (const TrainedParameter& trained : all_) {
    const auto of_adapter = decoder_.of_adapter.find(trained.name);
    if (of_adapter != decoder_.of_adapter.end())
      set(*trained.parameter, adapter->load_parameter(of_adapter->second));
    else if (base.contains(trained.name) && base.info(trained.name).dtype != decoder_.dtype())
      set(*trained.parameter, base.load(trained.name));
  }
  if (adapter == nullptr) return;
  model::visit_linears(decoder_, [&](const std::string& name, const model::Linear& linear) {
    const auto pair = decoder_.of_adapter.find(name);
    if (pair == decoder_.of_adapter.end()) return;
    set(linear.lora->a, adapter->load_a(pair->second));
    set(linear.lora->b, adapter->load_b(pair->second));
    if (adapter->config().use_dora) set(linear.lora->magnitude, adapter->load_magnitude(pair->second));
  });
}

}  // namespace longlora::train
