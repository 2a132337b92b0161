// Where training state lies, in memory or on a disk. It is the masters and what the optimizer keeps.
#pragma once

#include <filesystem>

#include "longlora/model/decoder.h"

namespace longlora::train {

/// Which parameters have their training state on a disk.
enum class StateOnDisk {
  kNone,
  kEmbedding,  // the embedding, where it is looked up alone; its value is on the disk, too, because a step
               // needs few rows
  kAll,        // every parameter that is not small
};

/// Which training state is on a disk, and in which folder.
struct StatePlace {
  StateOnDisk on_disk = StateOnDisk::kNone;
  std::filesystem::path folder = {};
};

/// Whether a parameter is an embedding that is not also the head, so that a batch reads only the rows of its
/// ids.
bool is_looked_up_alone(const model::Decoder& decoder, const model::Parameter& parameter);

/// Whether the training state of a trained parameter is on a disk, given the choice `on_disk`.
bool has_state_on_disk(const model::Decoder& decoder, const model::Parameter& parameter, StateOnDisk on_disk);

/// Whether the parameter's value is on the disk, too, as that of an embedding that is looked up alone is.
bool has_value_on_disk(const model::Decoder& decoder, const model::Parameter& parameter, StateOnDisk on_disk);

}  // namespace longlora::train
