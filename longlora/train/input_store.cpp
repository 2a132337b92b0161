#include "longlora/train/input_store.h"

#include <fmt/format.h>

#include <utility>

#include "longlora/core/error.h"

namespace longlora::train {

InputStore::InputStore(size_t num_layers, const InputPlaces& places) : places_(places), inputs_(num_layers) {
  if (places.on_disk > 0)
    file_ = std::make_unique<ScratchFile>(places.scratch_dir, places.on_disk * places.input_bytes);
}

void InputStore::put(size_t layer, at::Tensor input) {
  if (!is_on_disk(layer)) {
    inputs_[layer] = std::move(input);
    return;
  }
  const auto num_bytes = static_cast<int64_t>(input.nbytes());
  if (num_bytes > places_.input_bytes || !input.is_contiguous())
    throw Error(fmt::format("[input store] expected at most {} contiguous bytes, got {}", places_.input_bytes,
                            num_bytes));
  inputs_[layer] = at::empty(input.sizes(), input.options().device(at::kMeta));
  if (writing_.valid()) writing_.get();
  const int64_t offset = static_cast<int64_t>(layer) * places_.input_bytes;
  writing_ = std::async(std::launch::async, [this, offset, num_bytes, input = std::move(input)] {
    file_->write(offset, input.const_data_ptr(), num_bytes);
  });
}

void InputStore::start_reading(size_t layer) {
  const at::Tensor shape = std::exchange(inputs_[layer], {});
  const int64_t offset = static_cast<int64_t>(layer) * places_.input_bytes;
  reading_ = std::async(std::launch::async, [this, offset, shape] {
    at::Tensor input = at::empty(shape.sizes(), shape.options().device(at::kCPU));
    file_->read(offset, input.mutable_data_ptr(), static_cast<int64_t>(input.nbytes()));
    return input;
  });
}

at::Tensor InputStore::take(size_t layer, size_t lowest) {
  if (writing_.valid()) writing_.get();
  at::Tensor input;
  if (is_on_disk(layer)) {
    if (!reading_.valid()) start_reading(layer);
    input = reading_.get();
  } else {
    input = std::exchange(inputs_[layer], {});
  }
  if (layer > lowest && is_on_disk(layer - 1)) start_reading(layer - 1);
  return input;
}

}  // namespace longlora::train
