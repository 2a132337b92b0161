// Frozen weights of layers and head that stay in their files, where a layer reads them when it runs.
#pragma once

#include <cstddef>
#include <memory>
#include <set>
#include <string>

#include "longlora/checkpoint/tensor_store.h"
#include "longlora/forward/layer_source.h"

namespace longlora::forward {

/// Brings the weights that a decoder was loaded without (model::LoadOptions::left_in_files). A layer reads
/// them from the mapped file. When its lease ends, the pages of the file are given back and no longer count
/// as memory of this process.
class MappedFiles : public LayerSource {
 public:
  /// `names` are the weights to bring. Each is in `store` and has the shape that the decoder expects. `dtype`
  /// is what the pass computes in.
  MappedFiles(checkpoint::TensorStore store, std::set<std::string> names, at::ScalarType dtype);

  /// Whether a weight has a dtype in its file that the pass does not compute in, or an address that is not
  /// aligned. Then the weights of a layer are copied when it runs; otherwise they are read where they are
  /// mapped.
  bool copies() const { return copies_; }

  Lease<model::Block> layer(const model::Decoder& decoder, size_t index) const override;
  Lease<model::Parameter> head(const model::Decoder& decoder) const override;
  void prefetch(const model::Decoder& decoder, size_t index) const override;

 private:
  /// Returns the weight of that name, from its file.
  at::Tensor bring(const std::string& name, at::IntArrayRef shape) const;

  std::shared_ptr<const checkpoint::TensorStore> store_;  // leases keep it alive
  std::set<std::string> names_;
  at::ScalarType dtype_;
  bool copies_ = false;
};

/// Returns the names of the large frozen weights of the blocks and the head, which need not be in memory.
std::set<std::string> streamable_weights(const model::Decoder& decoder);

/// Whether the files hold each of these weights in `dtype`, in one piece and aligned, so that it can be read
/// where it is mapped.
bool are_stored_as(const checkpoint::TensorStore& store, const std::set<std::string>& names,
                   at::ScalarType dtype);

}  // namespace longlora::forward
