// Whether a run that is resumed reads what it was started with.
#pragma once

#include "longlora/core/json.h"
#include "longlora/train/options.h"

namespace longlora::train {

/// Under this name the fingerprints stand in the identity of a run.
inline constexpr const char* kInputs = "inputs";

/// By flag, a fingerprint of the content of the base model (its weight files and config.json), of the adapter
/// that the run goes on from and of the configuration of a model from nothing: equal for equal files wherever
/// they lie. Large files are sampled (file_fingerprint). Data has its own (TrainingRows::fingerprint). Throws
/// InputError for files that cannot be read.
Json input_fingerprints(const TrainOptions& options);

}  // namespace longlora::train
