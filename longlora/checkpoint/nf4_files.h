// Weights in 4-bit NormalFloat in tensor files, as bitsandbytes stores them. NAME holds the codes. Beside it
// are NAME.absmax, NAME.quant_map, NAME.quant_state.bitsandbytes__nf4 (JSON as bytes) and, with double
// quantisation, NAME.nested_absmax and NAME.nested_quant_map.
#pragma once

#include <ATen/ATen.h>

#include <set>
#include <string>
#include <vector>

#include "longlora/checkpoint/tensor_store.h"
#include "longlora/ops/nf4.h"

namespace longlora::checkpoint {

/// Whether a weight is stored in four bits. Throws InputError for another quantised form (FP4, eight bits).
bool is_stored_quantized(const TensorStore& store, const std::string& name);

/// Reads a weight of `shape` [out, in]. Throws InputError that names file and tensor where parts are missing
/// or of the wrong type or size, where the table of values is another one, where settings contradict each
/// other, and where numbers are not finite.
ops::Nf4Matrix load_nf4(const TensorStore& store, const std::string& name, at::IntArrayRef shape);

/// The names of the tensors that a weight is stored in; the weight's own name comes first.
std::vector<std::string> nf4_part_names(const std::string& name);

/// Appends the tensors that `matrix` is stored in to `tensors`, under their names.
void append_nf4_tensors(const std::string& name, const ops::Nf4Matrix& matrix, NamedTensors& tensors);

/// A weight whose parts have their sizes and lie on the meta device, without values. Plans use it.
ops::Nf4Matrix nf4_of_shape(at::IntArrayRef shape, const ops::Nf4Options& options);

/// Reads a weight from a file in whatever dtype it is stored in, and quantises it to four bits. Throws
/// InputError that names file and tensor for elements that are not finite.
ops::Nf4Matrix quantize_stored(const TensorStore& store, const std::string& name, at::IntArrayRef shape,
                               const ops::Nf4Options& options);

}  // namespace longlora::checkpoint
