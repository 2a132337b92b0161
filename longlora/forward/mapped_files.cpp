#include "longlora/forward/mapped_files.h"

#include <algorithm>
#include <utility>
#include <vector>

namespace longlora::forward {
namespace {

using Store = std::shared_ptr<const checkpoint::TensorStore>;

// Makes a lease on weights. When it ends, the pages of those in `names` are given back to the store's files.
template <typename Weights>
Lease<Weights> lease(Weights weights, const Store& store, std::vector<std::string> names) {
  return {new Weights(std::move(weights)), [store, names = std::move(names)](const Weights* leased) {
            delete leased;
            for (const std::string& name : names) store->release(name);
          }};
}

}  // namespace

MappedFiles::MappedFiles(checkpoint::TensorStore store, std::set<std::string> names, at::ScalarType dtype)
    : store_(std::make_shared<const checkpoint::TensorStore>(std::move(store))),
      names_(std::move(names)),
      dtype_(dtype) {
  for (const std::string& name : names_) copies_ = copies_ || !store_->can_view(name, dtype);
}

at::Tensor MappedFiles::bring(const std::string& name, at::IntArrayRef shape) const {
  return store_->can_view(name, dtype_) ? store_->view(name, shape) : store_->load(name, shape, dtype_);
}

Lease<model::Block> MappedFiles::layer(const model::Decoder& decoder, size_t index) const {
  model::Block block = decoder.blocks[index];
  std::vector<std::string> brought;
  model::visit_block(block, model::block_prefix(*block.names, index),
                     [&](const std::string& name, model::Parameter& parameter) {
                       if (!names_.count(name)) return;
                       parameter.value = bring(name, parameter.value.sizes());
                       brought.push_back(name);
                     });
  return lease(std::move(block), store_, std::move(brought));
}

Lease<model::Parameter> MappedFiles::head(const model::Decoder& decoder) const {
  const std::string name = model::head_name(decoder.config);
  if (!decoder.lm_head.value.defined() || !names_.count(name)) return resident()->head(decoder);
  model::Parameter head = decoder.lm_head;
  head.value = bring(name, head.value.sizes());
  return lease(std::move(head), store_, {name});
}

void MappedFiles::prefetch(const model::Decoder& decoder, size_t index) const {
  const auto read_ahead = [&](const std::string& name) {
    if (names_.count(name)) store_->will_need(name);
  };
  if (index == decoder.blocks.size()) return read_ahead(model::head_name(decoder.config));
  const model::Block& block = decoder.blocks[index];
  model::visit_block(block, model::block_prefix(*block.names, index),
                     [&](const std::string& name, const model::Parameter&) { read_ahead(name); });
}

std::set<std::string> streamable_weights(const model::Decoder& decoder) {
  std::set<std::string> names;
  for (size_t i = 0; i < decoder.blocks.size(); ++i) {
    const std::string prefix = model::block_prefix(*decoder.blocks[i].names, i);
    model::visit_block_linears(decoder.blocks[i], [&](const char* name, const model::Linear& linear) {
      if (!linear.weight.trainable() && !linear.weight.value.is_nf4())
        names.insert(prefix + name + ".weight");
    });
  }
  const model::Parameter& head = decoder.lm_head;
  if (head.value.defined() && !head.trainable() && !head.value.is_nf4())
    names.insert(model::head_name(decoder.config));
  return names;
}

bool are_stored_as(const checkpoint::TensorStore& store, const std::set<std::string>& names,
                   at::ScalarType dtype) {
  return std::all_of(names.begin(), names.end(), [&](const std::string& name) {
    return store.contains(name) && store.can_view(name, dtype);
  });
}

}  // namespace longlora::forward
