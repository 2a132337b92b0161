#include "longlora/model/streamed_weights.h"

#include <algorithm>
#include <utility>

namespace longlora::model {

StreamedWeights::StreamedWeights(checkpoint::TensorStore store, std::set<std::string> names,
                                 at::ScalarType dtype)
    : store_(std::move(store)), names_(std::move(names)), dtype_(dtype) {
  for (const std::string& name : names_) copies_ = copies_ || !store_.can_view(name, dtype);
}

void StreamedWeights::bring(Block& block, size_t index) const {
  visit_block(block, block_prefix(*block.names, index), [&](const std::string& name, Parameter& parameter) {
    if (!names_.count(name)) return;
    const auto shape = parameter.value.sizes();
    parameter.value =
        store_.can_view(name, dtype_) ? store_.view(name, shape) : store_.load(name, shape, dtype_);
  });
}

void StreamedWeights::drop(Block& block, size_t index) const {
  visit_block(block, block_prefix(*block.names, index), [&](const std::string& name, Parameter& parameter) {
    if (!names_.count(name)) return;
    parameter.value = at::empty(parameter.value.sizes(),
                                at::TensorOptions(parameter.value.scalar_type()).device(at::kMeta));
    store_.release(name);
  });
}

void StreamedWeights::will_need(const Block& block, size_t index) const {
  visit_block(block, block_prefix(*block.names, index), [&](const std::string& name, const Parameter&) {
    if (names_.count(name)) store_.will_need(name);
  });
}

std::set<std::string> streamable_weights(const Decoder& decoder) {
  std::set<std::string> names;
  for (size_t i = 0; i < decoder.blocks.size(); ++i) {
    const Block& block = decoder.blocks[i];
    visit_block(
        block, block_prefix(*block.names, i), [&](const std::string& name, const Parameter& parameter) {
          const bool is_low_rank = name.find(".lora_") != std::string::npos;
          if (!parameter.trainable() && !is_low_rank && !parameter.quantized && parameter.value.dim() == 2)
            names.insert(name);
        });
  }
  return names;
}

bool are_stored_as(const std::filesystem::path& directory, const std::set<std::string>& names,
                   at::ScalarType dtype) {
  const auto store = checkpoint::TensorStore::open_model_directory(directory);
  return std::all_of(names.begin(), names.end(), [&](const std::string& name) {
    return store.contains(name) && store.can_view(name, dtype);
  });
}

BlockInReach::BlockInReach(Decoder& decoder, size_t index) : decoder_(decoder), index_(index) {
  if (decoder_.streamed) decoder_.streamed->bring(decoder_.blocks[index], index);
}

BlockInReach::~BlockInReach() {
  if (decoder_.streamed) decoder_.streamed->drop(decoder_.blocks[index_], index_);
}

}  // namespace longlora::model
