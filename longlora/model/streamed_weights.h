// Frozen weights of the layers that stay in their files and are seen there when a layer runs.
#pragma once

#include <cstddef>
#include <filesystem>
#include <set>
#include <string>

#include "longlora/checkpoint/tensor_store.h"
#include "longlora/model/decoder.h"

namespace longlora::model {

/// The weights of a decoder's blocks that are not in memory: their parameters have values on the meta device.
class StreamedWeights {
 public:
  /// `names` of the weights, each in `store` with the shape that the decoder expects.
  StreamedWeights(checkpoint::TensorStore store, std::set<std::string> names, at::ScalarType dtype);

  /// Whether a weight has another dtype or place in its file than the computation wants, so that one
  /// layer's weights are copied when it runs; otherwise they are read where they are mapped.
  bool copies() const { return copies_; }

  /// Gives the parameters of a block their values.
  void bring(Block& block, size_t index) const;
  /// Takes them away again; the files' pages no longer count as memory of this process.
  void drop(Block& block, size_t index) const;
  /// Asks the system to read a block's weights ahead.
  void will_need(const Block& block, size_t index) const;

 private:
  checkpoint::TensorStore store_;
  std::set<std::string> names_;
  at::ScalarType dtype_;
  bool copies_ = false;
};

/// The large frozen weights of the blocks, which need not be in memory.
std::set<std::string> streamable_weights(const Decoder& decoder);

/// Whether a directory's files hold these weights in `dtype`, whole and aligned, so that they can be seen
/// where they lie. Throws InputError as TensorStore::open_model_directory.
bool are_stored_as(const std::filesystem::path& directory, const std::set<std::string>& names,
                   at::ScalarType dtype);

/// A block whose weights are in reach for as long as this lives; nothing to do where they are in memory.
class BlockInReach {
 public:
  BlockInReach(Decoder& decoder, size_t index);
  ~BlockInReach();
  BlockInReach(const BlockInReach&) = delete;
  BlockInReach& operator=(const BlockInReach&) = delete;

 private:
  Decoder& decoder_;
  size_t index_;
};

}  // namespace longlora::model
