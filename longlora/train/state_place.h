// Where the training state of a model lies: in memory or on a disk.
#pragma once

#include <filesystem>

#include "longlora/model/decoder.h"

namespace longlora::train {

/// Whose training state is on a disk: masters and what the optimizer keeps.
enum class StateOnDisk {
  kNone,
  kEmbedding,  // of an embedding that is looked up alone, its value too: of it few rows are needed at a time
  kAll,        // of every parameter that is not small
};

/// Where the training state is.
struct StatePlace {
  StateOnDisk on_disk = StateOnDisk::kNone;
  std::filesystem::path folder = {};
};

/// Whether each batch reads some rows of the parameter and nothing else does: an embedding beside a head of
/// its own.
bool is_looked_up_alone(const model::Decoder& decoder, const model::Parameter& parameter);

/// Whether the state of a parameter that trains lies on a disk where a place says `on_disk`.
bool has_state_on_disk(const model::Decoder& decoder, const model::Parameter& parameter, StateOnDisk on_disk);

/// Whether its value lies there too, as it does where it is looked up alone.
bool has_value_on_disk(const model::Decoder& decoder, const model::Parameter& parameter, StateOnDisk on_disk);

}  // namespace longlora::train
