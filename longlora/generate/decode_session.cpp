#include "longlora/generate/decode_session.h"

#include <c10/core/GradMode.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "longlora/core/error.h"
#include "longlora/forward/forward.h"
#include "longlora/generate/cached_attention.h"
#include "longlora/model/not_finite.h"

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

DecodeSession::DecodeSession(const forward::ReadyDecoder& ready, std::unique_ptr<KeyValueCache> cache,
                             int64_t prefill_chunk_tokens)
    : ready_(ready), cache_(std::move(cache)), prefill_chunk_tokens_(prefill_chunk_tokens) {
  if (prefill_chunk_tokens < 1)
    throw Error(fmt::format("[prefill chunk] expected at least one token, got {}", prefill_chunk_tokens));
  const model::ModelConfig& config = decoder().config;
  // transformers makes keys again for Phi-3 alone, whose configuration knows the original window.
  remakes_keys_ = config.rope_scaling.type == model::RopeType::kLongRope && config.family().longrope_only;
  ready_.rotary->reserve(cache_->max_tokens());
}

DecodeSession::DecodeSession(const forward::ReadyDecoder& ready, int64_t max_tokens,
                             int64_t prefill_chunk_tokens)
    : DecodeSession(ready, make_full_cache(ready.decoder, max_tokens), prefill_chunk_tokens) {}

at::Tensor DecodeSession::forward_chunk(std::span<const int64_t> ids, int64_t sequence_tokens,
                                        int64_t wanted_tokens) {
  const auto count = static_cast<int64_t>(ids.size());
  const int64_t place = cache_->extend(count);
  const at::Tensor on_host = at::empty({count}, at::kLong);
  std::copy(ids.begin(), ids.end(), on_host.mutable_data_ptr<int64_t>());
  const model::Positions positions = ready_.rotary->range(place, count, sequence_tokens);
  Cached attend(*cache_);
  return forward::forward(decoder(), {on_host.to(positions.index.device()), positions}, attend,
                          *ready_.source,
                          {.tile_tokens = ready_.tile_tokens, .wanted_tokens = wanted_tokens});
}

bool DecodeSession::leaves_short_factors(int64_t count) const {
  if (!remakes_keys_) return false;
  const int64_t before = cache_->num_tokens(), window = decoder().config.original_window();
  // A cache that drops tokens cannot be filled again from the text.
  return before > 0 && before <= window && before + count > window &&
         before == static_cast<int64_t>(ids_.size());
}

at::Tensor DecodeSession::last_hidden(std::span<const int64_t> ids) {
  const auto count = static_cast<int64_t>(ids.size());
  const int64_t sequence_tokens = cache_->num_tokens() + count;
  at::Tensor hidden;
  for (int64_t begin = 0; begin < count; begin += prefill_chunk_tokens_) {
    const int64_t chunk = std::min(prefill_chunk_tokens_, count - begin);
    hidden = forward_chunk(ids.subspan(static_cast<size_t>(begin), static_cast<size_t>(chunk)),
                           sequence_tokens, /*wanted_tokens=*/begin + chunk == count ? 1 : 0);
    if (hear_) hear_(begin + chunk);
  }
  return hidden;
}

at::Tensor DecodeSession::feed(std::span<const int64_t> ids) {
  check_ids(decoder(), ids);
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
  const at::Tensor hidden = last_hidden(again ? std::span<const int64_t>(ids_) : ids);
  const at::Tensor logits = forward::logits(decoder(), hidden, *ready_.source).squeeze(0);
  check_finite(logits);
  return logits;
}

void DecodeSession::check_finite(const at::Tensor& logits) const {
  // A sum of float32 does not overflow in double, so that it is finite where every term is.
  const auto sum = logits.sum(at::kDouble).item<double>();
  if (std::isfinite(sum)) return;
  throw InputError(fmt::format("[logits] expected finite numbers after token {} of the text, got {}; {}",
                               cache_->num_tokens(), sum, model::explain_not_finite(decoder())));
}

void DecodeSession::reset() {
  cache_->clear();
  ids_.clear();
}

}  // namespace longlora::generate
