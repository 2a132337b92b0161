#include "longlora/generate/prefill.h"

#include <c10/core/GradMode.h>

#include <algorithm>

namespace longlora::generate {

ChunkWalk::ChunkWalk(const forward::ReadyDecoder& ready, PagedSequence& sequence, const ops::PageShape& shape,
                     std::span<const int64_t> ids, int64_t text_tokens, bool wants_hidden)
    : ready_(ready),
      count_(static_cast<int64_t>(ids.size())),
      attend_(shape, {{&sequence, static_cast<int64_t>(ids.size())}}),
      wants_hidden_(wants_hidden) {
  const c10::NoGradGuard no_grad;
  const at::Tensor on_host = at::empty({count_}, at::kLong);
  std::copy(ids.begin(), ids.end(), on_host.mutable_data_ptr<int64_t>());
  const model::Positions positions = ready.rotary->range(
      sequence.num_tokens(), count_, std::max(text_tokens, sequence.num_tokens() + count_));
  rows_ = {.ids = on_host.to(positions.index.device()), .positions = positions};
  hidden_ = model::embed(ready.decoder, rows_.ids);
  if (ready.decoder.blocks.empty()) hidden_ = hidden_.slice(0, wants_hidden ? count_ - 1 : count_);
  sequence.extend(count_);
}

bool ChunkWalk::run_layer() {
  const c10::NoGradGuard no_grad;
  const model::Decoder& decoder = ready_.decoder;
  const size_t layers = decoder.blocks.size();
  if (layer_ == layers) return false;
  const auto block = ready_.source->layer(decoder, layer_);
  ready_.source->prefetch(decoder, layer_ + 1);
  forward::ForwardOptions options = {.tile_tokens = ready_.tile_tokens};
  if (layer_ + 1 == layers) options.wanted_tokens = wants_hidden_ ? 1 : 0;
  hidden_ = forward::run_layer(decoder, *block, layer_, rows_, std::move(hidden_), attend_, options);
  return ++layer_ < layers;
}

double ChunkWalk::share_done() const {
  return static_cast<double>(layer_) / static_cast<double>(std::max<size_t>(1, ready_.decoder.blocks.size()));
}

at::Tensor ChunkWalk::logits() const {
  return forward::logits(ready_.decoder, hidden_, *ready_.source).squeeze(0);
}

}  // namespace longlora::generate
