#include "longlora/forward/pass_memory.h"

#include <c10/core/GradMode.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <map>
#include <optional>

#include "longlora/core/format.h"
#include "longlora/forward/attend.h"
#include "longlora/forward/forward.h"
#include "longlora/forward/measured_layer.h"
#include "longlora/ops/matrix_product.h"
#include "longlora/tensors/meta_memory.h"

namespace longlora::forward {
namespace {

// What the program grows by when it runs: the pages of libraries that are executed, kernels that are
// generated at run time, and the heap.
constexpr int64_t kRunningBytes = int64_t{75} << 20;
// The size of the logits of a chunk that LinearCrossEntropyOptions::chunk_rows chooses by default.
constexpr int64_t kLogitsBytes = int64_t{32} << 20;
// What a token takes in ids, labels and positions.
constexpr int64_t kBatchBytes = 24;
// What a hidden state that the head reads takes in places, labels and losses.
constexpr int64_t kLossBytes = 24;
// The sizes of tiles that are tried, in this order; 0: all tokens in one.
constexpr int64_t kTileTokens[] = {0, 4096, 512, 128};

// Returns the most bytes that tensors hold while a layer runs. Its input and output count, its weights do
// not.
int64_t measure_layer(const model::Decoder& decoder, const model::Block& block, int64_t tokens,
                      int64_t tile_tokens) {
  const MeasuredRow row(decoder.config, tokens);
  Segments segments(row.segments);
  const tensors::MetaMemory memory;
  run_layer(decoder, block, 0, {.ids = {}, .positions = row.positions},
            hidden_without_values(decoder, tokens), segments, {.tile_tokens = tile_tokens});
  return memory.most_bytes();
}

// Returns how many rows of logits ops::linear_cross_entropy makes at a time.
int64_t loss_chunk_rows(int64_t rows, int64_t logits_row_bytes) {
  const int64_t most = std::max<int64_t>(64, kLogitsBytes / logits_row_bytes);
  const int64_t num_chunks = (rows + most - 1) / most;
  return (rows + num_chunks - 1) / num_chunks;
}

// Returns the most bytes that tensors hold while last norm, head and loss run on `tokens` hidden states. The
// hidden states count, the weights do not.
int64_t measure_head(const model::Decoder& decoder, int64_t tokens, int64_t tile_tokens) {
  model::Decoder last;
  last.config = decoder.config;
  last.norm = without_values(decoder.norm);
  const model::Parameter head = without_values(decoder.head());
  const int64_t tile = tile_tokens > 0 ? std::min(tile_tokens, tokens) : tokens;
  const int64_t row_bytes = head.value.size(0) * static_cast<int64_t>(c10::elementSize(decoder.dtype()));
  const c10::NoGradGuard no_grad;
  const tensors::MetaMemory memory;
  const at::Tensor hidden = hidden_without_values(decoder, tokens);
  const at::Tensor normed = model::final_norm(last, hidden.slice(0, 0, tile));
  const at::Tensor chunk = at::empty_like(normed.slice(0, 0, loss_chunk_rows(tile, row_bytes)));
  ops::matrix_product(chunk, {head.value, /*transposed=*/true});
  return memory.most_bytes() + tokens * kLossBytes;
}

// Returns the bytes of the keys and values of so many tokens in all layers.
int64_t cache_bytes(const model::Decoder& decoder, int64_t tokens) {
  const model::ModelConfig& config = decoder.config;
  return 2 * config.num_hidden_layers * config.num_key_value_heads * config.head_dim * tokens *
         static_cast<int64_t>(c10::elementSize(decoder.dtype()));
}

// What the weights take in memory, and how much more the largest layer and the head take while they are read
// from their files.
struct WeightBytes {
  int64_t all = 0, streamable = 0, layer = 0, head = 0;
};

WeightBytes count_weights(const model::Decoder& decoder, const PassRequest& request) {
  WeightBytes bytes;
  int64_t largest = 0;
  std::map<std::string, int64_t> streamable;
  model::visit_parameters(decoder, [&](const std::string& name, const model::Parameter& parameter) {
    const int64_t held = parameter.value.num_bytes();
    bytes.all += held;
    if (request.streamable.count(name) == 0) return;
    bytes.streamable += held;
    largest = std::max(largest, parameter.value.numel() * 4);
    streamable[name] = held;
  });
  const int64_t converted = request.copies ? largest : 0;
  for (size_t i = 0; i < decoder.blocks.size(); ++i) {
    int64_t layer = converted;
    model::visit_block(decoder.blocks[i], model::block_prefix(*decoder.blocks[i].names, i),
                       [&](const std::string& name, const model::Parameter&) {
                         if (const auto found = streamable.find(name); found != streamable.end())
                           layer += found->second;
                       });
    bytes.layer = std::max(bytes.layer, layer);
  }
  const auto head = streamable.find(model::head_name(decoder.config));
  if (head != streamable.end()) bytes.head = head->second + converted;
  return bytes;
}

// Returns the bytes of the operands that attention packs: each thread holds those of one head in one row.
int64_t attention_scratch(const model::Decoder& decoder, const PassRequest& request) {
  const int64_t row = request.row_tokens > 0 ? request.row_tokens : request.tokens;
  const auto element = static_cast<int64_t>(c10::elementSize(decoder.dtype()));
  return request.num_threads * row * (decoder.config.head_dim * 2 * element + 8);
}

}  // namespace

std::string PassPlan::describe() const {
  std::string text =
      fmt::format("{} (weights {}, work space {}, program {})", format_bytes(total_bytes()),
                  format_bytes(weights_bytes), format_bytes(pass_bytes), format_bytes(program_bytes));
  if (tile_tokens > 0) text += fmt::format("; tiles of {} rows", format_count(tile_tokens));
  if (weights_streamed)
    text += fmt::format("; {} of weights read from their files as needed", format_bytes(streamed_bytes));
  return text;
}

PassPlan predict_pass(const model::Decoder& decoder, const PassRequest& request, int64_t tile_tokens,
                      bool streamed) {
  const WeightBytes weights = count_weights(decoder, request);
  const model::Block block = without_values(decoder.blocks.front());
  const auto [layer] = measured_at(request.tokens, tile_tokens, [&](int64_t tokens) {
    return std::array{measure_layer(decoder, block, tokens, tile_tokens)};
  });
  const int64_t wanted = request.wanted_tokens.value_or(request.tokens);
  const int64_t head = measure_head(decoder, wanted, tile_tokens);
  const int64_t row = request.row_tokens > 0 ? request.row_tokens : request.tokens;
  const int64_t tables = row * rotary_bytes(decoder.config) + request.tokens * kBatchBytes;
  PassPlan plan;
  plan.weights_streamed = streamed;
  plan.tile_tokens = tile_tokens;
  plan.streamed_bytes = streamed ? weights.streamable : 0;
  plan.weights_bytes = weights.all - plan.streamed_bytes;
  plan.pass_bytes = tables + cache_bytes(decoder, request.cache_tokens) +
                    std::max(layer + (streamed ? weights.layer : 0), head + (streamed ? weights.head : 0));
  plan.program_bytes = request.program_bytes + kRunningBytes + attention_scratch(decoder, request);
  plan.fits = plan.total_bytes() <= request.budget_bytes;
  return plan;
}

PassPlan plan_pass(const model::Decoder& decoder, const PassRequest& request) {
  std::optional<PassPlan> least;
  for (const bool streamed : {false, true})
    for (const int64_t tile_tokens : kTileTokens) {
      if ((streamed && request.streamable.empty()) || tile_tokens >= request.tokens) continue;
      PassPlan plan = predict_pass(decoder, request, tile_tokens, streamed);
      if (plan.fits) return plan;
      if (!least || plan.total_bytes() < least->total_bytes()) least = plan;
    }
  return *least;
}

}  // namespace longlora::forward
