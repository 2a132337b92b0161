// Checks of flags that a training run cannot follow together with its other flags.
#pragma once

#include <string>
#include <vector>

#include "longlora/cli/training_verb.h"

namespace longlora::cli {

/// Returns a line for each flag that was given (TrainingArguments::given) and that the run could only ignore:
/// it is about something that is not trained, about an attention that is not used, or contradicts another
/// flag. Reads the words of the command line before they become options.
std::vector<std::string> refused_flags(const TrainingArguments& arguments);

/// Returns a line for each flag that was given and is valid but changes nothing in this run.
std::vector<std::string> idle_flags(const TrainingArguments& arguments);

/// Throws UsageError where flags contradict the adapter of --peft_model, whose pairs have their shape
/// already. The message names each such flag. `shape` is the run's decoder, which needs no values.
void check_adapter_flags(const TrainingArguments& arguments, const checkpoint::PeftAdapter& adapter,
                         const model::Decoder& shape);

}  // namespace longlora::cli
