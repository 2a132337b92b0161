// The flags that say which model a verb evaluates.
#pragma once

#include <CLI/App.hpp>

#include "longlora/core/json.h"
#include "longlora/eval/open_model.h"

namespace longlora::cli {

/// --base_model, --peft_model, --context_size, --rope_scaling, --dtype, and the
/// flags of the released scripts that have no effect.
void add_model_flags(CLI::App& verb, eval::ModelOptions& options);

/// How a result file begins: verb, label, model, peft_model, context_size, rope_scaling, dtype.
Json result_header(const std::string& verb, const std::string& label, const eval::ModelOptions& options,
                   const eval::LoadedModel& model);

}  // namespace longlora::cli
