#include "longlora/train/engine.h"

#include <c10/core/GradMode.h>
#include <fmt/format.h>
#include <torch/csrc/autograd/autograd.h>

#include <algorithm>

#include "longlora/core/error.h"
#include "longlora/forward/forward.h"
#include "longlora/forward/tiles.h"
#include "longlora/ops/backend.h"
#include "longlora/ops/cross_entropy.h"
#include "longlora/ops/embedding.h"

namespace longlora::train {
namespace {

// Returns the trained parameters of a block.
std::vector<TrainedParameter*> trained_of(TrainedParameters& trained, const model::Block& block) {
  std::vector<TrainedParameter*> found;
  model::visit_block(block, "", [&](const std::string&, const model::Parameter& parameter) {
    if (parameter.trainable()) found.push_back(trained.find(parameter));
  });
  return found;
}

at::Device device_of(const model::Decoder& decoder) {
  return decoder.embed_tokens.value.device();
}

Batch on_device(Batch batch, at::Device device) {
  for (at::Tensor* x : {&batch.ids, &batch.labels, &batch.positions, &batch.embedding_noise})
    if (x->defined()) *x = x->to(device);
  return batch;
}

}  // namespace

LossSums& LossSums::operator+=(const LossSums& other) {
  loss += other.loss;
  num_labels += other.num_labels;
  num_correct += other.num_correct;
  return *this;
}

Engine::Engine(TrainedParameters& trained, std::vector<Keep> keep, int64_t max_row_tokens,
               EngineOptions options, std::shared_ptr<const forward::LayerSource> source)
    : decoder_(trained.decoder()),
      embedding_(trained.find(decoder_.embed_tokens)),
      head_(trained.find(decoder_.head())),
      keep_(std::move(keep)),
      max_row_tokens_(max_row_tokens),
      options_(std::move(options)),
      inputs_(decoder_.blocks.size(), options_.inputs),
      source_(std::move(source)),
      rotary_(decoder_) {
  rotary_.reserve(max_row_tokens);
  if (keep_.size() != decoder_.blocks.size())
    throw Error(fmt::format("[engine] expected one entry for each of {} layers, got {}",
                            decoder_.blocks.size(), keep_.size()));
  for (const model::Block& block : decoder_.blocks) of_layers_.push_back(trained_of(trained, block));
  for (const model::Parameter* norm : {&decoder_.norm.weight, &decoder_.norm.bias})
    if (TrainedParameter* found = trained.find(*norm)) of_norm_.push_back(found);
  while (first_trained_layer_ < of_layers_.size() && of_layers_[first_trained_layer_].empty())
    ++first_trained_layer_;
}

void Engine::add_embedding_gradient(const at::Tensor& grad, const at::Tensor& ids) {
  const c10::NoGradGuard no_grad;
  if (!embedding_->grad_rows) return ops::add_embedding_gradient(grad, ids, embedding_->grad);
  embedding_->grad_rows->add(ids);
  const auto rows = static_cast<int64_t>(embedding_->grad_rows->rows().size());
  if (rows > embedding_->grad.size(0))
    throw Error(fmt::format("[engine] expected gradients of at most {} rows of the embedding, got {}",
                            embedding_->grad.size(0), rows));
  ops::add_embedding_gradient(grad, embedding_->grad_rows->places(ids), embedding_->grad);
}

void Engine::set_tiles(int64_t tile_tokens, int64_t loss_chunk_rows) {
  options_.tile_tokens = tile_tokens;
  options_.loss_chunk_rows = loss_chunk_rows;
}

model::Positions Engine::positions_of(const Batch& batch) {
  // The rotation does not check that its tables are long enough.
  const int64_t last = batch.positions.max().item<int64_t>();
  if (last >= max_row_tokens_)
    throw Error(fmt::format("[engine] expected positions below {}, got {}", max_row_tokens_, last));
  return rotary_.places(batch.positions, last + 1);
}

bool Engine::input_needs_gradient(size_t index) const {
  return embedding_ != nullptr || index > first_trained_layer_;
}

LossSums Engine::head_forward_backward(at::Tensor& hidden, const Batch& batch, double grad_scale) {
  ops::LinearCrossEntropyOptions options;
  options.grad_scale = grad_scale;
  options.chunk_rows = options_.loss_chunk_rows;
  if (head_ != nullptr) options.grad_weight = head_->grad;
  LossSums sums;
  const auto weight = source_->head(decoder_);
  source_->prefetch(decoder_, decoder_.blocks.size() - 1);
  forward::for_each_tile(hidden.size(0), options_.tile_tokens, [&](int64_t begin, int64_t end) {
    const c10::AutoGradMode grad_mode(true);
    const at::Tensor leaf = hidden.slice(0, begin, end).detach().requires_grad_(true);
    const at::Tensor normed = model::final_norm(decoder_, leaf);
    const auto result =
        ops::linear_cross_entropy(normed.detach(), weight->value, batch.labels.slice(0, begin, end), options);
    std::vector<at::Tensor> inputs = {leaf};
    for (const TrainedParameter* norm : of_norm_) inputs.push_back(norm->parameter->value.dense());
    const auto grads = torch::autograd::grad({normed}, inputs, {result.grad_hidden});
    const c10::NoGradGuard no_grad;
    hidden.slice(0, begin, end).copy_(grads[0]);
    for (size_t i = 0; i < of_norm_.size(); ++i) of_norm_[i]->grad.add_(grads[1 + i]);
    sums += {result.loss_sum, result.num_labels, result.num_correct};
  });
  return sums;
}

LossSums Engine::forward_backward(const Batch& given, double grad_scale) {
  const model::Positions positions = positions_of(given);
  const Batch batch = on_device(given, device_of(decoder_));
  forward::Segments segments(batch.plan);
  const auto pass_of = [&](size_t layer, const model::Block& block) {
    return LayerPass({layer, block, decoder_.config, positions, segments, options_.tile_tokens,
                      input_needs_gradient(layer), batch.dropout});
  };
  const size_t layers = decoder_.blocks.size();
  std::vector<LayerRecord> records(layers);
  // Layers below the lowest trained parameter need no backward.
  const size_t lowest = embedding_ != nullptr ? 0 : first_trained_layer_;
  at::Tensor hidden = model::embed(decoder_, batch.ids);
  if (batch.embedding_noise.defined()) hidden.add_(batch.embedding_noise);
  for (size_t i = 0; i < layers; ++i) {
    LayerRecord& record = records[i];
    record.input = std::move(hidden);
    const auto block = source_->layer(decoder_, i);
    source_->prefetch(decoder_, i + 1);
    hidden = pass_of(i, *block).forward(record, i < lowest ? Keep::kInput : keep_[i]);
    at::Tensor input = std::move(record.input);
    if (i >= lowest) inputs_.put(i, std::move(input));
  }
  at::Tensor grad = std::move(hidden);
  const LossSums sums = head_forward_backward(grad, batch, grad_scale);
  for (size_t i = layers; i-- > lowest;) {
    records[i].input = inputs_.take(i, lowest);
    const auto block = source_->layer(decoder_, i);
    if (i > lowest) source_->prefetch(decoder_, i - 1);
    pass_of(i, *block).backward(records[i], grad, of_layers_[i]);
  }
  if (embedding_ != nullptr) add_embedding_gradient(grad, batch.ids);
  return sums;
}

LossSums Engine::evaluate(const Batch& given) {
  const Batch batch = on_device(given, device_of(decoder_));
  forward::Segments segments(batch.plan);
  const at::Tensor hidden = forward::forward(decoder_, {batch.ids, positions_of(given)}, segments, *source_,
                                             {.tile_tokens = options_.tile_tokens});
  const auto result = forward::cross_entropy(
      decoder_, hidden, batch.labels, *source_,
      {.tile_tokens = options_.tile_tokens, .loss_chunk_rows = options_.loss_chunk_rows});
  return {result.loss_sum, result.num_labels, result.num_correct};
}

}  // namespace longlora::train
