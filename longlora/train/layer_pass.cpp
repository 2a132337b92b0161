#include "longlora/train/layer_pass.h"

#include <c10/core/GradMode.h>
#include <torch/csrc/autograd/engine.h>
#include <torch/csrc/autograd/variable.h>

#include <utility>

#include "longlora/forward/tiles.h"

namespace longlora::train {
namespace {

using torch::autograd::edge_list;
using torch::autograd::variable_list;
using torch::autograd::impl::gradient_edge;

// Returns rows [begin, end) of x as a leaf of a new graph.
at::Tensor leaf_of(const at::Tensor& x, int64_t begin, int64_t end, bool needs_gradient) {
  at::Tensor leaf = x.slice(0, begin, end).detach();
  if (needs_gradient) leaf.requires_grad_(true);
  return leaf;
}

void add_root(GraphPiece& piece, const at::Tensor& result) {
  piece.roots.push_back(result.requires_grad() ? gradient_edge(result) : torch::autograd::Edge());
}

void add_leaf(GraphPiece& piece, const at::Tensor& leaf) {
  piece.leaves.push_back(leaf.requires_grad() ? gradient_edge(leaf) : torch::autograd::Edge());
}

// Sends gradients, one for each root, back through a piece of graph, which is released. Adds the gradients of
// the parameters to their accumulators, and returns those of the leaves, which are undefined where none was
// wanted.
variable_list run_backward(GraphPiece piece, const variable_list& grads,
                           const std::vector<TrainedParameter*>& parameters) {
  edge_list roots, outputs;
  variable_list root_grads;
  for (size_t i = 0; i < piece.roots.size(); ++i) {
    if (!piece.roots[i].is_valid() || !grads[i].defined()) continue;
    roots.push_back(piece.roots[i]);
    root_grads.push_back(grads[i]);
  }
  variable_list leaf_grads(piece.leaves.size());
  if (roots.empty()) return leaf_grads;
  for (const auto& leaf : piece.leaves)
    if (leaf.is_valid()) outputs.push_back(leaf);
  const size_t num_leaves = outputs.size();
  for (const TrainedParameter* trained : parameters)
    outputs.push_back(gradient_edge(trained->parameter->value.dense()));
  if (outputs.empty()) return leaf_grads;
  piece.roots.clear();
  const auto found = torch::autograd::Engine::get_default_engine().execute(
      roots, root_grads, /*keep_graph=*/false, /*create_graph=*/false, /*accumulate_grad=*/false, outputs);
  const c10::NoGradGuard no_grad;
  for (size_t i = 0; i < parameters.size(); ++i)
    if (found[num_leaves + i].defined()) parameters[i]->grad.add_(found[num_leaves + i]);
  size_t next = 0;
  for (size_t i = 0; i < piece.leaves.size(); ++i)
    if (piece.leaves[i].is_valid()) leaf_grads[i] = found[next++];
  return leaf_grads;
}

}  // namespace

model::PairDropout LayerPass::dropout_from(int64_t row) const {
  model::PairDropout dropout = operands_.dropout;
  dropout.first_row = row;
  return dropout;
}

LayerPass::Projected LayerPass::project(const at::Tensor& input, bool with_graph) const {
  const c10::AutoGradMode grad_mode(with_graph);
  const int64_t tokens = input.size(0);
  Projected projected;
  forward::TiledRows q(tokens), k(tokens), v(tokens);
  forward::for_each_tile(tokens, operands_.tile_tokens, [&](int64_t begin, int64_t end) {
    const at::Tensor leaf = leaf_of(input, begin, end, with_graph && operands_.input_needs_gradient);
    const model::Positions positions = {operands_.positions.table,
                                        operands_.positions.index.slice(0, begin, end)};
    const model::QueryKeyValue tile = model::project_query_key_value(operands_.block, operands_.config, leaf,
                                                                     positions, dropout_from(begin));
    if (with_graph) {
      GraphPiece piece = {begin, end, {}, {}};
      for (const at::Tensor* result : {&tile.q, &tile.k, &tile.v}) add_root(piece, *result);
      add_leaf(piece, leaf);
      projected.pieces.push_back(std::move(piece));
      projected.q_needs_gradient = tile.q.requires_grad();
      projected.k_needs_gradient = tile.k.requires_grad();
      projected.v_needs_gradient = tile.v.requires_grad();
    }
    q.put(begin, end, tile.q);
    k.put(begin, end, tile.k);
    v.put(begin, end, tile.v);
  });
  projected.whole = {q.take(), k.take(), v.take()};
  return projected;
}

at::Tensor LayerPass::attend(const Projected& projected, bool with_graph, ops::KeptAttention* kept,
                             std::vector<GraphPiece>& attended) const {
  const c10::AutoGradMode grad_mode(with_graph);
  const auto& [q_whole, k_whole, v_whole] = projected.whole;
  const auto leaf = [&](const at::Tensor& x, bool needs_gradient) {
    return leaf_of(x, 0, x.size(0), with_graph && needs_gradient);
  };
  const model::QueryKeyValue qkv = {leaf(q_whole, projected.q_needs_gradient),
                                    leaf(k_whole, projected.k_needs_gradient),
                                    leaf(v_whole, projected.v_needs_gradient)};
  const at::Tensor out =
      operands_.attention.attend(operands_.index, operands_.block.window_tokens, qkv, kept);
  if (out.requires_grad()) {
    GraphPiece piece = {0, out.size(0), {}, {}};
    add_root(piece, out);
    for (const at::Tensor* operand : {&qkv.q, &qkv.k, &qkv.v}) add_leaf(piece, *operand);
    attended.push_back(std::move(piece));
  }
  return out.detach();
}

at::Tensor LayerPass::finish(const at::Tensor& input, const at::Tensor& attention,
                             bool attention_needs_gradient, GraphPiece& piece, bool with_graph) const {
  const c10::AutoGradMode grad_mode(with_graph);
  const at::Tensor hidden =
      leaf_of(input, piece.begin, piece.end, with_graph && operands_.input_needs_gradient);
  const at::Tensor attended =
      leaf_of(attention, piece.begin, piece.end, with_graph && attention_needs_gradient);
  const at::Tensor output =
      model::finish_block(operands_.block, operands_.config, hidden, attended, dropout_from(piece.begin));
  if (with_graph) {
    add_root(piece, output);
    add_leaf(piece, hidden);
    add_leaf(piece, attended);
  }
  return output.detach();
}

at::Tensor LayerPass::forward(LayerRecord& record, Keep keep) const {
  const bool with_graph = keep == Keep::kEverything;
  at::Tensor attention;
  bool attention_needs_gradient = false;
  {
    Projected projected = project(record.input, with_graph);
    record.projections = std::move(projected.pieces);
    attention = attend(projected, with_graph, keep == Keep::kAttention ? &record.attention : nullptr,
                       record.attended);
    attention_needs_gradient = !record.attended.empty();
  }
  forward::TiledRows output(record.input.size(0));
  forward::for_each_tile(record.input.size(0), operands_.tile_tokens, [&](int64_t begin, int64_t end) {
    GraphPiece piece = {begin, end, {}, {}};
    output.put(begin, end, finish(record.input, attention, attention_needs_gradient, piece, with_graph));
    if (with_graph) record.finishes.push_back(std::move(piece));
  });
  return output.take();
}

void LayerPass::backward(LayerRecord& record, at::Tensor& grad,
                         const std::vector<TrainedParameter*>& parameters) const {
  const int64_t tokens = record.input.size(0);
  const bool again = record.finishes.empty();
  at::Tensor attention;
  if (again) {
    Projected projected = project(record.input, /*with_graph=*/true);
    record.projections = std::move(projected.pieces);
    attention = attend(projected, /*with_graph=*/true, &record.attention, record.attended);
    record.attention = {};
  }
  const bool attention_needs_gradient = !record.attended.empty();
  forward::TiledRows attention_grad(tokens);
  size_t tile = 0;
  forward::for_each_tile(tokens, operands_.tile_tokens, [&](int64_t begin, int64_t end) {
    GraphPiece piece = {begin, end, {}, {}};
    if (again)
      finish(record.input, attention, attention_needs_gradient, piece, /*with_graph=*/true);
    else
      piece = std::move(record.finishes[tile]);
    ++tile;
    const at::Tensor output_grad = grad.slice(0, begin, end);
    const auto grads = run_backward(std::move(piece), {output_grad}, parameters);
    if (attention_needs_gradient) attention_grad.put(begin, end, grads[1]);
    if (!operands_.input_needs_gradient) return;
    // The gradient of a tile that has all tokens replaces `grad`; that of a smaller tile is written over its
    // rows.
    if (end - begin == tokens)
      grad = grads[0];
    else
      grad.slice(0, begin, end).copy_(grads[0]);
  });
  attention.reset();
  record.finishes.clear();
  if (attention_needs_gradient) {
    GraphPiece piece = std::move(record.attended[0]);
    record.attended.clear();
    variable_list grads = run_backward(std::move(piece), {attention_grad.take()}, {});
    for (GraphPiece& projection : record.projections) {
      variable_list parts;
      for (const at::Tensor& part : grads)
        parts.push_back(part.defined() ? part.slice(0, projection.begin, projection.end) : part);
      const int64_t begin = projection.begin, end = projection.end;
      const auto tile_grads = run_backward(std::move(projection), parts, parameters);
      if (tile_grads[0].defined()) grad.slice(0, begin, end).add_(tile_grads[0]);
    }
  }
  record = {};
}

}  // namespace longlora::train
