#include "longlora/train/layer_memory.h"

#include <c10/core/GradMode.h>
#include <torch/csrc/autograd/autograd.h>

#include <algorithm>
#include <vector>

#include "longlora/forward/measured_layer.h"
#include "longlora/ops/matrix_product.h"
#include "longlora/tensors/meta_memory.h"

namespace longlora::train {
namespace {

// Any probability above 0 makes the same tensors.
constexpr double kSomeDropout = 0.5;

// Makes what a parameter's gradients are added to.
at::Tensor accumulator_of(const model::Parameter& parameter) {
  return at::empty(parameter.value.sizes(), at::TensorOptions(at::kFloat).device(at::kMeta));
}

// Returns the trained parameters of a block.
std::vector<TrainedParameter> trained_of(model::Block& block) {
  std::vector<TrainedParameter> trained;
  model::visit_block(
      block, "", [&](const std::string& name, model::ParameterRole role, model::Parameter& parameter) {
        if (parameter.trainable())
          trained.push_back({name, role, &parameter, /*master=*/{}, accumulator_of(parameter)});
      });
  return trained;
}

}  // namespace

// Measures the last layer. No layer holds more, and those below the lowest trained parameter hold less,
// because they run no backward.
LayerMemory::LayerMemory(const model::Decoder& decoder, const Shape& shape)
    : decoder_(decoder), shape_(shape), block_(forward::without_values(decoder.blocks.back())) {
  if (shape_.tile_tokens >= shape_.tokens) shape_.tile_tokens = 0;
}

int64_t LayerMemory::input() const {
  return shape_.tokens * decoder_.config.hidden_size *
         static_cast<int64_t>(c10::elementSize(decoder_.dtype()));
}

const LayerPhases& LayerMemory::phases(Keep keep) const {
  auto& found = phases_[static_cast<size_t>(keep)];
  if (!found) {
    const auto [kept, forward, backward] = forward::measured_at(
        shape_.tokens, shape_.tile_tokens, [&](int64_t tokens) { return measure_layer(keep, tokens); });
    found = {kept, forward, backward};
  }
  return *found;
}

std::array<int64_t, 3> LayerMemory::measure_layer(Keep keep, int64_t tokens) const {
  model::Block block = block_;
  std::vector<TrainedParameter> trained = trained_of(block);
  std::vector<TrainedParameter*> parameters;
  parameters.reserve(trained.size());
  for (TrainedParameter& parameter : trained) parameters.push_back(&parameter);
  const forward::MeasuredRow row(decoder_.config, tokens);
  forward::Segments segments(row.segments);
  const LayerPass pass({/*index=*/0,
                        block,
                        decoder_.config,
                        row.positions,
                        segments,
                        shape_.tile_tokens,
                        /*input_needs_gradient=*/true,
                        {.probability = shape_.dropout ? kSomeDropout : 0.0}});
  LayerRecord record;
  tensors::MetaMemory memory;
  record.input = forward::hidden_without_values(decoder_, tokens);
  const int64_t input = memory.held_bytes();
  pass.forward(record, keep);
  const int64_t held = memory.held_bytes();  // without the output, which is freed here
  const int64_t forward = memory.most_bytes() - held;
  at::Tensor grad = forward::hidden_without_values(decoder_, tokens);
  memory.reset_most();
  pass.backward(record, grad, parameters);
  return {held - input, forward, memory.most_bytes() - held};
}

int64_t LayerMemory::loss() const {
  if (!loss_) loss_ = measure_loss();
  return *loss_;
}

// Does what Engine::head_forward_backward and ops::linear_cross_entropy do with one tile and one chunk. The
// labels have values, because the loss reads them.
int64_t LayerMemory::measure_loss() const {
  model::Decoder last;
  last.config = decoder_.config;
  last.norm = forward::without_values(decoder_.norm);
  const model::Parameter head = forward::without_values(decoder_.head());
  const int64_t tile = shape_.tile_tokens > 0 ? shape_.tile_tokens : shape_.tokens;
  at::Tensor head_grad = accumulator_of(head);
  const tensors::MetaMemory memory;
  const at::Tensor hidden = forward::hidden_without_values(decoder_, shape_.tokens);
  const c10::AutoGradMode grad_mode(true);
  const at::Tensor leaf = hidden.slice(0, 0, tile).detach().requires_grad_(true);
  const at::Tensor normed = model::final_norm(last, leaf);
  const at::Tensor grad_normed = at::zeros_like(normed);
  {
    const c10::NoGradGuard no_grad;
    const at::Tensor chunk = at::empty_like(normed.slice(0, 0, std::min(tile, shape_.loss_chunk_rows)));
    const at::Tensor logits = ops::matrix_product(chunk, {head.value, /*transposed=*/true});
    ops::matrix_product(logits, {head.value});
    if (head.trainable()) ops::add_transposed_product(logits, chunk, head_grad);
  }
  std::vector<at::Tensor> inputs = {leaf};
  for (const model::Parameter* norm : {&last.norm.weight, &last.norm.bias})
    if (norm->trainable()) inputs.push_back(norm->value.dense());
  torch::autograd::grad({normed}, inputs, {grad_normed});
  return memory.most_bytes();
}

int64_t LayerMemory::product_scratch() const {
  const auto element = static_cast<int64_t>(c10::elementSize(decoder_.dtype()));
  const int64_t tile = shape_.tile_tokens > 0 ? shape_.tile_tokens : shape_.tokens;
  const model::Parameter& head = decoder_.head();
  int64_t scratch = head.trainable() ? std::min(tile, shape_.loss_chunk_rows) * head.value.size(0) : 0;
  model::visit_block_linears(block_, [&](const char*, const model::Linear& linear) {
    if (linear.weight.trainable()) scratch = std::max(scratch, tile * linear.weight.value.size(0));
  });
  return scratch * element;
}

}  // namespace longlora::train
