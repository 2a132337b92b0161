// Making parameters trainable, with their training state in memory or on a disk.
#pragma once

#include "longlora/model/decoder.h"

namespace longlora::model {

/// Whether the state of a parameter that trains lies on a disk where a place says `on_disk`.
bool has_state_on_disk(const Decoder& decoder, const Parameter& parameter, StateOnDisk on_disk);

/// Whether its value lies there too: each batch looks up some rows of it and nothing else reads it.
bool has_value_on_disk(const Decoder& decoder, const Parameter& parameter, StateOnDisk on_disk);

/// Gives a parameter of the decoder a master and a zero gradient, each where the decoder's state_place says;
/// the gradient of an embedding that is looked up alone is left to the engine, which knows how many rows it
/// takes. In float32 runs the master is the value. Throws ResourceError when the disk has no room.
void make_trainable(Decoder& decoder, Parameter& parameter);

/// Sets the decoder's state_place and moves there what already trains.
void place_state(Decoder& decoder, const StatePlace& place);

/// Zeros of a trainable parameter's shape for what the optimizer keeps of it, where its state belongs.
at::Tensor zero_state(const Decoder& decoder, const Parameter& parameter, at::ScalarType dtype);

}  // namespace longlora::model
