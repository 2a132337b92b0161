// Who brings the weights of a layer to a pass.
#pragma once

#include <cstddef>
#include <memory>

#include "longlora/model/decoder.h"

namespace longlora::forward {

/// Weights that may be used for as long as the pointer lives. A source that brings weights from elsewhere
/// hands out a copy of the decoder's block with these weights filled in. Tensors that the decoder has in
/// memory are shared with the copy, so that gradients reach the decoder's own parameters.
template <typename Weights>
using Lease = std::shared_ptr<const Weights>;

/// Where a pass gets the weights of each layer from, one layer after the other, up to the head. Thread-safe.
class LayerSource {
 public:
  virtual ~LayerSource() = default;

  /// Layer `index` of the decoder, with all of its weights.
  virtual Lease<model::Block> layer(const model::Decoder& decoder, size_t index) const = 0;
  /// The weight of the head, which is the embedding's where the two are tied.
  virtual Lease<model::Parameter> head(const model::Decoder& decoder) const = 0;
  /// A hint that layer `index`, or for the number of layers the head, is wanted next. Returns at once.
  virtual void prefetch(const model::Decoder& decoder, size_t index) const = 0;
};

/// The source of decoders whose weights are all in memory: it hands out the decoder's own.
std::shared_ptr<const LayerSource> resident();

}  // namespace longlora::forward
