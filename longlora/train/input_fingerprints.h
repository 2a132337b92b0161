// Fingerprints of what a run reads, by which a resumed run sees whether it has changed.
#pragma once

#include "longlora/core/json.h"
#include "longlora/train/options.h"

namespace longlora::train {

/// The key of the fingerprints in the identity of a run.
inline constexpr const char* kInputs = "inputs";

/// Returns fingerprints of contents by the flags that name them: of the base model (weight files and
/// config.json), of the adapter that the run goes on from, and of the configuration of a model that starts
/// from random weights. They are equal for equal files, wherever these lie. Of large files samples are read
/// (file_fingerprint). Data have fingerprints of their own (TrainingRows::fingerprint). Throws InputError for
/// files that cannot be read.
Json input_fingerprints(const TrainOptions& options);

}  // namespace longlora::train
