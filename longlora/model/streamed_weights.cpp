#include "longlora/model/streamed_weights.h"

#include <algorithm>
#include <utility>

namespace longlora::model {
namespace {

std::string head_name(const Decoder& decoder) {
  return std::string(decoder.config.family().names.lm_head) + ".weight";
}

}  // namespace

StreamedWeights::StreamedWeights(checkpoint::TensorStore store, std::set<std::string> names,
                                 at::ScalarType dtype)
    : store_(std::move(store)), names_(std::move(names)), dtype_(dtype) {
  for (const std::string& name : names_) copies_ = copies_ || !store_.can_view(name, dtype);
}

/// Calls visit(name, parameter) for the weights of a layer that are not in memory.
template <typename DecoderType, typename Visit>
void StreamedWeights::visit_layer(DecoderType& decoder, size_t layer, const Visit& visit) const {
  const auto visit_streamed = [&](const std::string& name, auto& parameter) {
    if (names_.count(name)) visit(name, parameter);
  };
  if (layer < decoder.blocks.size()) {
    auto& block = decoder.blocks[layer];
    visit_block(block, block_prefix(*block.names, layer), visit_streamed);
  } else if (decoder.lm_head.value.defined()) {
    visit_streamed(head_name(decoder), decoder.lm_head);
  }
}

void StreamedWeights::bring(Decoder& decoder, size_t layer) const {
  visit_layer(decoder, layer, [&](const std::string& name, Parameter& parameter) {
    const auto shape = parameter.value.sizes();
    parameter.value =
        store_.can_view(name, dtype_) ? store_.view(name, shape) : store_.load(name, shape, dtype_);
  });
}

void StreamedWeights::drop(Decoder& decoder, size_t layer) const {
  visit_layer(decoder, layer, [&](const std::string& name, Parameter& parameter) {
    parameter.value = at::empty(parameter.value.sizes(),
                                at::TensorOptions(parameter.value.scalar_type()).device(at::kMeta));
    store_.release(name);
  });
}

void StreamedWeights::will_need(const Decoder& decoder, size_t layer) const {
  visit_layer(decoder, layer, [&](const std::string& name, const Parameter&) { store_.will_need(name); });
}

std::set<std::string> streamable_weights(const Decoder& decoder) {
  std::set<std::string> names;
  for (size_t i = 0; i < decoder.blocks.size(); ++i) {
    const Block& block = decoder.blocks[i];
    visit_block(block, block_prefix(*block.names, i),
                [&](const std::string& name, const Parameter& parameter) {
                  const bool is_low_rank = name.find(".lora_") != std::string::npos;
                  if (!parameter.trainable() && !is_low_rank && !parameter.value.is_nf4() &&
                      parameter.value.dim() == 2)
                    names.insert(name);
                });
  }
  const Parameter& head = decoder.lm_head;
  if (head.value.defined() && !head.trainable() && !head.value.is_nf4()) names.insert(head_name(decoder));
  return names;
}

bool are_stored_as(const std::filesystem::path& directory, const std::set<std::string>& names,
                   at::ScalarType dtype) {
  const auto store = checkpoint::TensorStore::open_model_directory(directory);
  return std::all_of(names.begin(), names.end(), [&](const std::string& name) {
    return store.contains(name) && store.can_view(name, dtype);
  });
}

LayerInReach::LayerInReach(Decoder& decoder, size_t layer) : decoder_(decoder), layer_(layer) {
  if (decoder_.streamed) decoder_.streamed->bring(decoder_, layer_);
}

LayerInReach::~LayerInReach() {
  if (decoder_.streamed) decoder_.streamed->drop(decoder_, layer_);
}

}  // namespace longlora::model
