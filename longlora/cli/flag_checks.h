// Flags that a training run cannot honour beside the others it was given.
#pragma once

#include <string>
#include <vector>

#include "longlora/cli/training_verb.h"

namespace longlora::cli {

/// One line for each flag that was given (TrainingArguments::given) and that the run could only drop: of what
/// does not train, of an attention that is not used, contradicting another. Reads the words of the command
/// line, before they become options.
std::vector<std::string> refused_flags(const TrainingArguments& arguments);

/// One line for each flag that was given and is right as it stands, but that changes nothing in this run.
std::vector<std::string> idle_flags(const TrainingArguments& arguments);

/// Throws UsageError that names every flag whose value is not that of the adapter that a run with
/// --peft_model goes on from: its pairs have their shape already. `shape` is the run's decoder, which needs
/// no values.
void check_adapter_flags(const TrainingArguments& arguments, const checkpoint::PeftAdapter& adapter,
                         const model::Decoder& shape);

}  // namespace longlora::cli
