// The flags that say which model a verb works on.
#pragma once

#include <CLI/App.hpp>

#include <optional>

#include "longlora/core/output_paths.h"
#include "longlora/generate/runtime.h"
#include "longlora/model/config.h"
#include "longlora/ops/nf4_options.h"
#include "longlora/results/evaluated_model.h"

namespace longlora::cli {

/// Declares --quantize, --quantize_block and --double_quant, which set `quantize` when the command line has
/// been read. `quantize` must live as long as the verb.
void add_quantize_flags(CLI::App& verb, std::optional<ops::Nf4Options>& quantize);

/// Declares the flags of a model that a verb runs without training it: --base_model, --peft_model,
/// --context_size, --rope_scaling, --dtype and others, with the flags of the released scripts that have no
/// effect.
void add_runtime_flags(CLI::App& verb, generate::RuntimeOptions& options);

/// Returns the paths that a verb with these flags reads, with their flags. `more` are further inputs of the
/// verb.
std::vector<NamedPath> model_inputs(const generate::RuntimeOptions& options,
                                    std::vector<NamedPath> more = {});
/// Returns several paths of one flag, each with its name.
std::vector<NamedPath> named_paths(const std::string& flag, const std::vector<std::filesystem::path>& paths);

/// Returns the type of scaling that --rope_scaling asks for, or nullopt where it was not given.
std::optional<model::RopeType> asked_rope_scaling(const std::string& flag);

/// Describes the model of a verb's result, without a label.
results::EvaluatedModel evaluated_model(const generate::RuntimeOptions& options,
                                        const generate::Runtime& model);
/// As above, with the label of --label.
results::EvaluatedModel evaluated_model(const generate::RuntimeOptions& options,
                                        const generate::Runtime& model, const std::string& label);

}  // namespace longlora::cli
