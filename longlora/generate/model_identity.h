// The name of everything that the keys and values of a model depend on.
#pragma once

#include <string>

#include "longlora/generate/runtime.h"

namespace longlora::generate {

/// Returns a text that differs where keys and values may differ: base, adapter, dtype, four bits, rotary
/// scaling, the processor's kernels, and `version`, that of the program. `runtime` was opened with `options`.
/// Throws InputError for files that cannot be read.
std::string model_identity(const RuntimeOptions& options, const Runtime& runtime, const std::string& version);

}  // namespace longlora::generate
