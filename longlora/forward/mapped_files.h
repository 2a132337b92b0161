// Frozen weights of the layers and the head that stay in their files and are seen there when a layer runs.
#pragma once

#include <cstddef>
#include <memory>
#include <set>
#include <string>

#include "longlora/checkpoint/tensor_store.h"
#include "longlora/forward/layer_source.h"

namespace longlora::forward {

/// Brings the weights that a decoder was loaded without (model::LoadOptions::left_in_files): they are read
/// where their files are mapped, and the files' pages no longer count as memory of this process once a
/// layer's lease has ended.
class MappedFiles : public LayerSource {
 public:
  /// `names` of the weights, each in `store` with the shape that the decoder expects, and the dtype that is
  /// computed in.
  MappedFiles(checkpoint::TensorStore store, std::set<std::string> names, at::ScalarType dtype);

  /// Whether a weight has another dtype or place in its file than the computation wants, so that one layer's
  /// weights are copied when it runs; otherwise they are read where they are mapped.
  bool copies() const { return copies_; }

  Lease<model::Block> layer(const model::Decoder& decoder, size_t index) const override;
  Lease<model::Parameter> head(const model::Decoder& decoder) const override;
  void prefetch(const model::Decoder& decoder, size_t index) const override;

 private:
  /// The weight, from its file.
  at::Tensor bring(const std::string& name, at::IntArrayRef shape) const;

  std::shared_ptr<const checkpoint::TensorStore> store_;  // leases keep it alive
  std::set<std::string> names_;
  at::ScalarType dtype_;
  bool copies_ = false;
};

/// The large frozen weights of the blocks and the head, which need not be in memory.
std::set<std::string> streamable_weights(const model::Decoder& decoder);

/// Whether the files hold these weights in `dtype`, whole and aligned, so that they can be seen where they
/// lie.
bool are_stored_as(const checkpoint::TensorStore& store, const std::set<std::string>& names,
                   at::ScalarType dtype);

}  // namespace longlora::forward
