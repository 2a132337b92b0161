// The fields of samples and messages that say whether an answer is learned. Internal to this room.
#pragma once

#include <optional>

#include "longlora/data/sample_fields.h"

namespace longlora::data {

/// Whether the fields of a sample or of a message say that its answers are learned ("train", "weight",
/// "loss_mask" and others, each 0, 1, true or false); nullopt where they say nothing about it. `what` names
/// the object in messages: "a message". Throws InputError for another value, for fields that contradict each
/// other, and for names of which it is not known whether true means learned or left out ("mask").
std::optional<bool> read_learn_flag(SampleFields& fields, const char* what);

/// Throws InputError where such a field stands in a part of a message, since a message is learned as a whole.
void refuse_learn_flag(const SampleFields& part);

}  // namespace longlora::data
