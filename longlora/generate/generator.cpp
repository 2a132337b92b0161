#include "longlora/generate/generator.h"

#include <c10/core/GradMode.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "longlora/core/error.h"
#include "longlora/generate/cached_attention.h"
#include "longlora/model/not_finite.h"
#include "longlora/ops/matrix_product.h"
#include "longlora/ops/segment_attention.h"

namespace longlora::generate {
namespace {

std::unique_ptr<KeyValueCache> make_full_cache(const model::Decoder& decoder, int64_t max_tokens) {
  return std::make_unique<FullCache>(decoder.config,
                                     max_tokens > 0 ? max_tokens : decoder.config.context_window(),
                                     decoder.embed_tokens.value.dense().options());
}

}  // namespace

void check_ids(const model::Decoder& decoder, std::span<const int64_t> ids) {
  if (ids.empty()) throw InputError("[ids] expected at least one token, got none");
  const int64_t vocab_size = decoder.embed_tokens.value.size(0);
  for (size_t i = 0; i < ids.size(); ++i) {
    if (ids[i] >= 0 && ids[i] < vocab_size) continue;
    throw InputError(
        fmt::format("[ids] expected ids in [0, {}), the rows of the model's embedding, got {} at "
                    "position {}; use the model's own tokenizer",
                    vocab_size, ids[i], i));
  }
}

DecodeSession::DecodeSession(const model::Decoder& decoder, std::unique_ptr<KeyValueCache> cache,
                             int64_t prefill_chunk_tokens)
    : decoder_(decoder), cache_(std::move(cache)), prefill_chunk_tokens_(prefill_chunk_tokens) {
  if (prefill_chunk_tokens < 1)
    throw Error(fmt::format("[prefill chunk] expected at least one token, got {}", prefill_chunk_tokens));
  const model::RopeType scaling = decoder.config.rope_scaling.type;
  // As transformers: Phi-3 alone does, whose configuration knows the original window.
  remakes_keys_ = scaling == model::RopeType::kLongRope && decoder.config.family().longrope_only;
  if (!model::depends_on_length(scaling))
    rotary_ = rotary_table({0, cache_->max_tokens(), cache_->max_tokens()});
}

model::RotaryTable DecodeSession::rotary_table(const model::RotaryRange& range) const {
  const model::RotaryTable table = model::make_rotary_table(decoder_.config, range);
  const at::Device device = decoder_.embed_tokens.value.device();
  return {table.cos.to(device), table.sin.to(device)};
}

DecodeSession::DecodeSession(const model::Decoder& decoder, int64_t max_tokens, int64_t prefill_chunk_tokens)
    : DecodeSession(decoder, make_full_cache(decoder, max_tokens), prefill_chunk_tokens) {}

model::Positions DecodeSession::positions_of(int64_t place, int64_t count, int64_t sequence_tokens) const {
  const at::TensorOptions index = at::TensorOptions(at::kLong).device(decoder_.embed_tokens.value.device());
  if (rotary_.cos.defined()) return {rotary_, at::arange(place, place + count, index)};
  return {rotary_table({place, count, sequence_tokens}), at::arange(count, index)};
}

at::Tensor DecodeSession::forward_chunk(std::span<const int64_t> ids, int64_t sequence_tokens,
                                        Wanted wanted) {
  const auto count = static_cast<int64_t>(ids.size());
  const bool from_empty = cache_->num_tokens() == 0;
  const int64_t place = cache_->extend(count);
  const at::Tensor on_host = at::empty({count}, at::kLong);
  std::copy(ids.begin(), ids.end(), on_host.mutable_data_ptr<int64_t>());
  const model::Positions positions = positions_of(place, count, sequence_tokens);
  // With nothing before them the new tokens see only each other.
  ops::SegmentPlan plan;
  if (from_empty) plan = ops::make_segment_plan({.num_rows = 1, .row_tokens = count});

  at::Tensor hidden = model::embed(decoder_, on_host.to(positions.index.device()));
  for (size_t i = 0; i < decoder_.blocks.size(); ++i) {
    const model::Block& block = decoder_.blocks[i];
    const auto qkv = model::project_query_key_value(block, decoder_.config, hidden, positions);
    cache_->store(i, qkv.k, qkv.v);
    if (i + 1 == decoder_.blocks.size()) {
      // Nothing reads the last layer but the next token's logits.
      if (wanted == Wanted::kNothing) return {};
      const at::Tensor last = cached_attention(qkv.q.slice(0, count - 1), cache_->view(i),
                                               {.window_tokens = block.window_tokens});
      return model::finish_block(block, decoder_.config, hidden.slice(0, count - 1), last);
    }
    const at::Tensor attention =
        from_empty ? ops::segment_attention(qkv.q, qkv.k, qkv.v, ops::with_window(plan, block.window_tokens))
                   : cached_attention(qkv.q, cache_->view(i), {.window_tokens = block.window_tokens});
    hidden = model::finish_block(block, decoder_.config, hidden, attention);
  }
  return hidden.slice(0, count - 1);  // a model without layers
}

bool DecodeSession::leaves_short_factors(int64_t count) const {
  if (!remakes_keys_) return false;
  const int64_t before = cache_->num_tokens(), window = decoder_.config.original_window();
  // A cache that drops tokens cannot be filled again from the text.
  return before > 0 && before <= window && before + count > window &&
         before == static_cast<int64_t>(ids_.size());
}

at::Tensor DecodeSession::forward(std::span<const int64_t> ids) {
  const auto count = static_cast<int64_t>(ids.size());
  const int64_t sequence_tokens = cache_->num_tokens() + count;
  at::Tensor hidden;
  for (int64_t begin = 0; begin < count; begin += prefill_chunk_tokens_) {
    const int64_t chunk = std::min(prefill_chunk_tokens_, count - begin);
    hidden = forward_chunk(ids.subspan(static_cast<size_t>(begin), static_cast<size_t>(chunk)),
                           sequence_tokens, begin + chunk == count ? Wanted::kLastHidden : Wanted::kNothing);
    if (hear_) hear_(begin + chunk);
  }
  return hidden;
}

at::Tensor DecodeSession::feed(std::span<const int64_t> ids) {
  check_ids(decoder_, ids);
  const auto count = static_cast<int64_t>(ids.size());
  const int64_t before = cache_->num_tokens();
  if (count > cache_->remaining_tokens())
    throw InputError(
        fmt::format("[context] expected at most {} tokens, got {}; shorten the text or raise the "
                    "context size",
                    before + cache_->remaining_tokens(), before + count));
  const c10::NoGradGuard no_grad;
  cache_->reserve(before + count);
  const bool again = leaves_short_factors(count);
  if (remakes_keys_) ids_.insert(ids_.end(), ids.begin(), ids.end());
  if (again) cache_->clear();
  const at::Tensor hidden = forward(again ? std::span<const int64_t>(ids_) : ids);
  const at::Tensor last = model::final_norm(decoder_, hidden);
  const at::Tensor logits =
      ops::matrix_product(last, {decoder_.head().value, /*transposed=*/true}).squeeze(0).to(at::kFloat);
  check_finite(logits);
  return logits;
}

void DecodeSession::check_finite(const at::Tensor& logits) const {
  // In double no sum of float32 overflows; it is finite where every term is.
  const auto sum = logits.sum(at::kDouble).item<double>();
  if (std::isfinite(sum)) return;
  throw InputError(fmt::format("[logits] expected finite numbers after token {} of the text, got {}; {}",
                               cache_->num_tokens(), sum, model::explain_not_finite(decoder_)));
}

void DecodeSession::reset() {
  cache_->clear();
  ids_.clear();
}

int64_t pick_greedy(const at::Tensor& logits) {
  return logits.argmax(-1).item<int64_t>();
}

Generation generate(DecodeSession& session, std::span<const int64_t> prompt, const StopRules& rules,
                    const PickToken& pick, const std::function<bool(int64_t)>& on_token) {
  Generation result;
  KeyValueCache& cache = session.cache();
  // Room for the answer too, unless that is a guess far beyond what will come.
  const int64_t answer = std::clamp<int64_t>(rules.max_new_tokens, 0, 1024);
  cache.reserve(cache.num_tokens() + static_cast<int64_t>(prompt.size()) + answer);
  at::Tensor logits = session.feed(prompt);
  while (static_cast<int64_t>(result.ids.size()) < rules.max_new_tokens) {
    const int64_t next = pick(logits);
    if (std::find(rules.stop_ids.begin(), rules.stop_ids.end(), next) != rules.stop_ids.end()) {
      result.reason = StopReason::kStopId;
      return result;
    }
    result.ids.push_back(next);
    if (on_token && !on_token(next)) {
      result.reason = StopReason::kCaller;
      return result;
    }
    if (static_cast<int64_t>(result.ids.size()) == rules.max_new_tokens) break;
    if (cache.remaining_tokens() == 0) {
      result.reason = StopReason::kContextFull;
      return result;
    }
    logits = session.feed(std::span(&next, 1));
  }
  return result;
}

}  // namespace longlora::generate
