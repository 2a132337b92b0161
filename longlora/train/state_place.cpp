#include "longlora/train/state_place.h"

namespace longlora::train {
namespace {

// Smaller parameters stay in memory, because each tensor on disk is a file.
constexpr int64_t kLeastElements = 4096;

}  // namespace

bool is_looked_up_alone(const model::Decoder& decoder, const model::Parameter& parameter) {
  return &parameter == &decoder.embed_tokens && decoder.lm_head.value.defined();
}

bool has_value_on_disk(const model::Decoder& decoder, const model::Parameter& parameter,
                       StateOnDisk on_disk) {
  return is_looked_up_alone(decoder, parameter) && on_disk != StateOnDisk::kNone;
}

bool has_state_on_disk(const model::Decoder& decoder, const model::Parameter& parameter,
                       StateOnDisk on_disk) {
  if (has_value_on_disk(decoder, parameter, on_disk)) return true;
  return on_disk == StateOnDisk::kAll && parameter.value.numel() >= kLeastElements;
}

}  // namespace longlora::train
