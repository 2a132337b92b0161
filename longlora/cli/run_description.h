// Describes a training run before its first step.
#pragma once

#include "longlora/cli/training_verb.h"
#include "longlora/train/trainer.h"

namespace longlora::cli {

/// Logs model, window, attention, rows and predicted memory of a run, and warns where it cannot learn or
/// where a flag changes nothing.
void describe_run(const TrainingArguments& arguments, const train::BuiltRun& run,
                  const train::Trainer& trainer);

}  // namespace longlora::cli
