#include "longlora/forward/pass_memory.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <optional>

#include "longlora/core/format.h"

namespace longlora::forward {
namespace {

/// What running adds to the program: pages of libraries that it runs through, generated kernels, the heap.
constexpr int64_t kRunningBytes = int64_t{75} << 20;
/// Logits of a chunk, as LinearCrossEntropyOptions::chunk_rows chooses it by default.
constexpr int64_t kLogitsBytes = int64_t{32} << 20;
/// Ids, labels, positions and losses, for each token.
constexpr int64_t kBatchBytes = 48;
/// Rows of a tile, tried in this order; 0: all.
constexpr int64_t kTileRows[] = {0, 4096, 512, 128};

/// Bytes that the tensors of a pass hold, as forward.cpp and model/decoder.cpp allocate them.
class PassMemory {
 public:
  PassMemory(const model::Decoder& decoder, int64_t tokens, int64_t tile_rows);

  /// The most that is held while a layer runs, its hidden states included and its weights not.
  int64_t layer() const { return std::max({projecting(), attending(), finishing()}); }
  /// The same of the last norm, the head and the loss.
  int64_t head() const {
    return tokens_ * hidden_ + tile_ * hidden_ + std::min(kLogitsBytes, tile_ * vocabulary_);
  }

 private:
  bool is_whole() const { return tile_ == tokens_; }
  int64_t projecting() const {
    // First the normed input, then rotated queries and keys beside those before.
    const int64_t made = query_ + 2 * key_;
    return tokens_ * (hidden_ + (is_whole() ? 0 : made)) + tile_ * (made + std::max(hidden_, query_ + key_));
  }
  int64_t attending() const {
    return tokens_ * (hidden_ + 2 * query_ + 2 * key_ + (is_whole() ? fused_ : 0) + sums_);
  }
  int64_t finishing() const { return tokens_ * (hidden_ + query_) + tile_ * (3 * hidden_ + streams_); }

  int64_t tokens_, tile_;
  // Bytes a token.
  int64_t hidden_, query_, key_, vocabulary_;
  int64_t fused_ = 0;  // of a fused projection, which stays while a part of it is in use
  int64_t sums_;       // of attention's exponents
  int64_t streams_;    // of the MLP
};

PassMemory::PassMemory(const model::Decoder& decoder, int64_t tokens, int64_t tile_rows)
    : tokens_(tokens), tile_(tile_rows > 0 ? std::min(tile_rows, tokens) : tokens) {
  const model::ModelConfig& config = decoder.config;
  const model::BlockForm& form = config.form;
  const auto element = static_cast<int64_t>(c10::elementSize(decoder.dtype()));
  hidden_ = config.hidden_size * element;
  query_ = config.num_attention_heads * config.head_dim * element;
  key_ = config.num_key_value_heads * config.head_dim * element;
  vocabulary_ = config.vocab_size * element;
  sums_ = 4 * config.num_attention_heads;
  if (form.qkv != model::QkvLayout::kSeparate) fused_ = query_ + key_;
  const bool is_silu = form.activation == model::Activation::kSilu;
  int64_t widths = form.mlp == model::MlpForm::kPlain ? 2 : 3;  // gate, up and what becomes of them
  if (form.mlp == model::MlpForm::kFusedGated) widths += 2;     // copies of the halves
  if (form.mlp != model::MlpForm::kPlain && !is_silu) ++widths;
  streams_ =
      std::max(widths * config.intermediate_size * element, config.intermediate_size * element + 2 * hidden_);
  if (form.residual != model::ResidualForm::kSequential) streams_ += hidden_;
}

/// What the weights take, and the most that one layer and the head take while they are brought.
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
  const auto head = streamable.find(std::string(decoder.config.family().names.lm_head) + ".weight");
  if (head != streamable.end()) bytes.head = head->second + converted;
  return bytes;
}

/// Packed operands of one head in one row, as attention holds them for each thread.
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
  if (tile_rows > 0) text += fmt::format("; tiles of {} rows", format_count(tile_rows));
  if (weights_streamed)
    text += fmt::format("; {} of weights read from their files as needed", format_bytes(streamed_bytes));
  return text;
}

PassPlan predict_pass(const model::Decoder& decoder, const PassRequest& request, int64_t tile_rows,
                      bool streamed) {
  const WeightBytes weights = count_weights(decoder, request);
  const PassMemory memory(decoder, request.tokens, tile_rows);
  const int64_t row = request.row_tokens > 0 ? request.row_tokens : request.tokens;
  const int64_t tables = row * decoder.config.head_dim * 4 + request.tokens * kBatchBytes;
  PassPlan plan;
  plan.weights_streamed = streamed;
  plan.tile_rows = tile_rows;
  plan.streamed_bytes = streamed ? weights.streamable : 0;
  plan.weights_bytes = weights.all - plan.streamed_bytes;
  plan.pass_bytes = tables + std::max(memory.layer() + (streamed ? weights.layer : 0),
                                      memory.head() + (streamed ? weights.head : 0));
  plan.program_bytes = request.program_bytes + kRunningBytes + attention_scratch(decoder, request);
  plan.fits = plan.total_bytes() <= request.budget_bytes;
  return plan;
}

PassPlan plan_pass(const model::Decoder& decoder, const PassRequest& request) {
  std::optional<PassPlan> least;
  for (const bool streamed : {false, true})
    for (const int64_t tile_rows : kTileRows) {
      if ((streamed && request.streamable.empty()) || tile_rows >= request.tokens) continue;
      PassPlan plan = predict_pass(decoder, request, tile_rows, streamed);
      if (plan.fits) return plan;
      if (!least || plan.total_bytes() < least->total_bytes()) least = plan;
    }
  return *least;
}

}  // namespace longlora::forward
