// Weights in 4-bit NormalFloat in tensor files, as bitsandbytes stores them: beside NAME, which holds the
// codes, NAME.absmax, NAME.quant_map, NAME.quant_state.bitsandbytes__nf4 (JSON as bytes) and, with double
// quantisation, NAME.nested_absmax and NAME.nested_quant_map.
#pragma once

#include <ATen/ATen.h>

#include <set>
#include <string>
#include <vector>

#include "longlora/checkpoint/tensor_store.h"
#include "longlora/ops/nf4.h"

namespace longlora::checkpoint {

/// Whether a weight is stored in four bits. Throws InputError where it is in another quantised form (FP4,
/// eight bits).
bool is_stored_quantized(const TensorStore& store, const std::string& name);

/// Reads a weight of `shape` [out, in]. Throws InputError that names file and tensor: parts that are missing
/// or of the wrong type or size, another table of values, settings that contradict each other, numbers that
/// are not finite.
ops::Nf4Matrix load_nf4(const TensorStore& store, const std::string& name, at::IntArrayRef shape);

/// Names of the parts of a weight, that of the weight itself first.
std::vector<std::string> nf4_part_names(const std::string& name);

/// Appends the parts under their names.
void append_nf4_tensors(const std::string& name, const ops::Nf4Matrix& matrix, NamedTensors& tensors);

/// Parts whose sizes follow from the weight's, without values on the meta device: for plans.
ops::Nf4Matrix nf4_of_shape(at::IntArrayRef shape, const ops::Nf4Options& options);

/// A weight of a file in four bits, from the dtype it is stored in. Throws InputError that names file and
/// tensor for elements that are not finite.
ops::Nf4Matrix quantize_stored(const TensorStore& store, const std::string& name, at::IntArrayRef shape,
                               const ops::Nf4Options& options);

}  // namespace longlora::checkpoint
