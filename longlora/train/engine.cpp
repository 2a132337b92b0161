#include "longlora/train/engine.h"

#include <c10/core/GradMode.h>
#include <fmt/format.h>
#include <torch/csrc/autograd/autograd.h>

#include "longlora/core/error.h"
#include "longlora/ops/cross_entropy.h"
#include "longlora/ops/embedding.h"

namespace longlora::train {
namespace {

/// Adds freshly computed gradients to the float32 accumulators.
void accumulate(const std::vector<model::Parameter*>& parameters, const std::vector<at::Tensor>& grads,
                size_t offset) {
  const c10::NoGradGuard no_grad;
  for (size_t i = 0; i < parameters.size(); ++i)
    if (grads[offset + i].defined()) parameters[i]->grad.add_(grads[offset + i]);
}

std::vector<model::Parameter*> trainable_parameters(model::Block& block) {
  std::vector<model::Parameter*> parameters;
  model::visit_block(block, "", [&](const std::string&, model::Parameter& parameter) {
    if (parameter.trainable()) parameters.push_back(&parameter);
  });
  return parameters;
}

}  // namespace

LossSums& LossSums::operator+=(const LossSums& other) {
  loss += other.loss;
  num_labels += other.num_labels;
  num_correct += other.num_correct;
  return *this;
}

Batch make_next_token_batch(const at::Tensor& ids, int64_t group_tokens) {
  if (ids.dim() != 2) throw Error("[batch] expected ids [rows, tokens]");
  const int64_t rows = ids.size(0), tokens = ids.size(1);
  Batch batch;
  batch.ids = ids.reshape({-1});
  at::Tensor labels = at::full_like(ids, ops::kIgnoreLabel);
  labels.slice(1, 0, tokens - 1).copy_(ids.slice(1, 1, tokens));
  batch.labels = labels.reshape({-1});
  batch.positions = at::arange(tokens, ids.options()).repeat({rows});
  batch.plan = ops::make_segment_plan({.num_rows = rows, .row_tokens = tokens, .group_tokens = group_tokens});
  return batch;
}

Engine::Engine(model::Decoder& decoder, std::vector<Keep> keep, int64_t max_row_tokens)
    : decoder_(decoder),
      keep_(std::move(keep)),
      max_row_tokens_(max_row_tokens),
      rotary_(model::make_rotary_table(decoder.config, max_row_tokens)) {
  if (keep_.size() != decoder.blocks.size())
    throw Error(fmt::format("[engine] expected one entry for each of {} layers, got {}",
                            decoder.blocks.size(), keep_.size()));
  // An untied embedding gets gradients from lookups alone.
  model::Parameter& embedding = decoder.embed_tokens;
  const bool tied = &decoder.head() == &embedding;
  if (embedding.trainable() && !tied && embedding.grad.device().is_cpu() && !embedding.grad_rows)
    embedding.grad_rows = std::make_shared<model::RowSet>(embedding.grad.size(0));
  while (first_trained_layer_ < decoder.blocks.size() &&
         trainable_parameters(decoder.blocks[first_trained_layer_]).empty())
    ++first_trained_layer_;
}

void Engine::prepare_positions(const Batch& batch) {
  const int64_t last = batch.positions.max().item<int64_t>();
  if (last >= max_row_tokens_)
    throw Error(fmt::format("[engine] expected positions below {}, got {}", max_row_tokens_, last));
  const bool by_length = model::depends_on_length(decoder_.config.rope_scaling.type);
  if (by_length && last + 1 != rotary_.cos.size(0))
    rotary_ = model::make_rotary_table(decoder_.config, last + 1);
}

bool Engine::input_needs_gradient(size_t index) const {
  return decoder_.embed_tokens.trainable() || index > first_trained_layer_;
}

Engine::LayerRecord Engine::run_layer(size_t index, const at::Tensor& input, const Batch& batch,
                                      bool with_graph, ops::KeptAttention* kept) const {
  const c10::AutoGradMode grad_mode(with_graph);
  LayerRecord record;
  record.input = input.detach();
  if (with_graph && input_needs_gradient(index)) record.input.requires_grad_(true);
  record.output = model::forward_block(decoder_.blocks[index], decoder_.config, record.input,
                                       {rotary_, batch.positions}, batch.plan, kept);
  return record;
}

LossSums Engine::head_forward_backward(const at::Tensor& hidden, const Batch& batch, double grad_scale,
                                       at::Tensor& grad_hidden) {
  const c10::AutoGradMode grad_mode(true);
  at::Tensor leaf = hidden.detach().requires_grad_(true);
  const at::Tensor normed = model::final_norm(decoder_, leaf);
  model::Parameter& head = decoder_.head();
  ops::LinearCrossEntropyOptions options;
  options.grad_scale = grad_scale;
  if (head.trainable()) options.grad_weight = head.grad;
  const auto result = ops::linear_cross_entropy(normed.detach(), head.value.detach(), batch.labels, options);

  std::vector<at::Tensor> inputs = {leaf};
  std::vector<model::Parameter*> norms;
  for (model::Parameter* norm : {&decoder_.norm.weight, &decoder_.norm.bias})
    if (norm->trainable()) norms.push_back(norm);
  for (const model::Parameter* norm : norms) inputs.push_back(norm->value);
  const auto grads = torch::autograd::grad({normed}, inputs, {result.grad_hidden});
  grad_hidden = grads[0];
  accumulate(norms, grads, 1);
  return {result.loss_sum, result.num_labels, result.num_correct};
}

at::Tensor Engine::layer_backward(size_t index, LayerRecord& record, const Batch& batch,
                                  const at::Tensor& grad_output) {
  if (keep_[index] != Keep::kEverything) {
    ops::KeptAttention attention = std::move(record.attention);
    record = run_layer(index, record.input, batch, /*with_graph=*/true,
                       keep_[index] == Keep::kAttention ? &attention : nullptr);
  }
  const auto parameters = trainable_parameters(decoder_.blocks[index]);
  const bool wants_input = input_needs_gradient(index);
  std::vector<at::Tensor> inputs;
  if (wants_input) inputs.push_back(record.input);
  for (const model::Parameter* parameter : parameters) inputs.push_back(parameter->value);
  if (inputs.empty()) return {};
  const auto grads = torch::autograd::grad({record.output}, inputs, {grad_output}, /*retain_graph=*/false,
                                           /*create_graph=*/false, /*allow_unused=*/true);
  accumulate(parameters, grads, wants_input ? 1 : 0);
  record = {};
  return wants_input ? grads[0] : at::Tensor();
}

LossSums Engine::forward_backward(const Batch& batch, double grad_scale) {
  prepare_positions(batch);
  const size_t layers = decoder_.blocks.size();
  std::vector<LayerRecord> records(layers);
  // Layers below all that trains need no backward.
  const size_t lowest = decoder_.embed_tokens.trainable() ? 0 : first_trained_layer_;
  at::Tensor hidden = model::embed(decoder_, batch.ids);
  if (batch.embedding_noise.defined()) hidden.add_(batch.embedding_noise);
  for (size_t i = 0; i < layers; ++i) {
    const bool with_graph = keep_[i] == Keep::kEverything && i >= lowest;
    ops::KeptAttention attention;
    records[i] = run_layer(i, hidden, batch, with_graph, keep_[i] == Keep::kAttention ? &attention : nullptr);
    hidden = records[i].output.detach();
    if (i < lowest) {
      records[i] = {};
    } else if (!with_graph) {
      records[i].output.reset();
      records[i].attention = std::move(attention);
    }
  }
  at::Tensor grad;
  const LossSums sums = head_forward_backward(hidden, batch, grad_scale, grad);
  hidden.reset();
  for (size_t i = layers; i-- > lowest;) {
    grad = layer_backward(i, records[i], batch, grad);
  }
  if (decoder_.embed_tokens.trainable()) {
    const c10::NoGradGuard no_grad;
    ops::add_embedding_gradient(grad, batch.ids, decoder_.embed_tokens.grad);
    if (decoder_.embed_tokens.grad_rows) decoder_.embed_tokens.grad_rows->add(batch.ids);
  }
  return sums;
}

LossSums Engine::evaluate(const Batch& batch) {
  prepare_positions(batch);
  const c10::NoGradGuard no_grad;
  at::Tensor hidden = model::embed(decoder_, batch.ids);
  for (size_t i = 0; i < decoder_.blocks.size(); ++i) hidden = run_layer(i, hidden, batch, false).output;
  const auto result =
      ops::linear_cross_entropy(model::final_norm(decoder_, hidden), decoder_.head().value, batch.labels, {});
  return {result.loss_sum, result.num_labels, result.num_correct};
}

}  // namespace longlora::train
