// Frozen weights of the layers and the head that stay in their files and are seen there when a layer runs.
#pragma once

#include <cstddef>
#include <filesystem>
#include <set>
#include <string>

#include "longlora/checkpoint/tensor_store.h"
#include "longlora/model/decoder.h"

namespace longlora::model {

/// The weights of a decoder that are not in memory: their parameters have values on the meta device. Asked
/// for by the number of the layer; that after the last is the head.
class StreamedWeights {
 public:
  /// `names` of the weights, each in `store` with the shape that the decoder expects.
  StreamedWeights(checkpoint::TensorStore store, std::set<std::string> names, at::ScalarType dtype);

  /// Whether a weight has another dtype or place in its file than the computation wants, so that one
  /// layer's weights are copied when it runs; otherwise they are read where they are mapped.
  bool copies() const { return copies_; }

  /// Gives the parameters of a layer their values.
  void bring(Decoder& decoder, size_t layer) const;
  /// Takes them away again; the files' pages no longer count as memory of this process.
  void drop(Decoder& decoder, size_t layer) const;
  /// Asks the system to read a layer's weights ahead.
  void will_need(const Decoder& decoder, size_t layer) const;

 private:
  template <typename DecoderType, typename Visit>
  void visit_layer(DecoderType& decoder, size_t layer, const Visit& visit) const;

  checkpoint::TensorStore store_;
  std::set<std::string> names_;
  at::ScalarType dtype_;
  bool copies_ = false;
};

/// The large frozen weights of the blocks and the head, which need not be in memory.
std::set<std::string> streamable_weights(const Decoder& decoder);

/// Whether a directory's files hold these weights in `dtype`, whole and aligned, so that they can be seen
/// where they lie. Throws InputError as TensorStore::open_model_directory.
bool are_stored_as(const std::filesystem::path& directory, const std::set<std::string>& names,
                   at::ScalarType dtype);

/// A layer, or after the last one the head, whose weights are in reach for as long as this lives; nothing to
/// do where they are in memory.
class LayerInReach {
 public:
  LayerInReach(Decoder& decoder, size_t layer);
  ~LayerInReach();
  LayerInReach(const LayerInReach&) = delete;
  LayerInReach& operator=(const LayerInReach&) = delete;

 private:
  Decoder& decoder_;
  size_t layer_;
};

}  // namespace longlora::model
