// Who brings the weights of a layer to a pass.
#pragma once

#include <cstddef>
#include <memory>

#include "longlora/model/decoder.h"

namespace longlora::forward {

/// Weights that may be used for as long as the pointer lives. A source that brings weights from elsewhere
/// hands out a copy of the decoder's block in which these weights are filled in. The copy shares the tensors
/// that the decoder has in memory, so that gradients reach the decoder's own parameters.
template <typename Weights>
using Lease = std::shared_ptr<const Weights>;

/// Where a pass gets the weights of each layer from, one layer after the other, up to the head. Thread-safe.
class LayerSource {
 public:
  virtual ~LayerSource() = default;

  /// Returns layer `index` of the decoder with all of its weights.
  virtual Lease<model::Block> layer(const model::Decoder& decoder, size_t index) const = 0;
  /// Returns the weight of the head, which is the embedding's where the two are tied.
  virtual Lease<model::Parameter> head(const model::Decoder& decoder) const = 0;
  /// Tells the source that layer `index` is wanted next, or the head where `index` is the number of layers.
  /// Returns at once.
  virtual void prefetch(const model::Decoder& decoder, size_t index) const = 0;
};

/// The source of decoders whose weights are all in memory: it hands out the decoder's own.
std::shared_ptr<const LayerSource> resident();

}  // namespace longlora::forward
