// The one table of element types, with their names in configurations and file formats and their widths. It
// needs c10's headers, but not its library.
#pragma once

#include <c10/core/ScalarType.h>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace longlora::tensors {

/// One element type as the formats name it.
struct DtypeNames {
  at::ScalarType dtype;
  uint64_t element_bytes;
  const char* safetensors;    // "BF16"; nullptr where the format has no name
  const char* torch;          // "bfloat16", as in torch.bfloat16
  const char* torch_storage;  // "BFloat16Storage"; nullptr where torch.save stores untyped bytes
};

/// The row of a dtype, or nullptr for one that no format here stores.
const DtypeNames* dtype_names(at::ScalarType dtype);

/// The row that a name belongs to, or nullptr.
const DtypeNames* dtype_of_safetensors(std::string_view name);
const DtypeNames* dtype_of_torch(std::string_view name);
const DtypeNames* dtype_of_torch_storage(std::string_view name);

/// The name by which configurations and flags know a dtype: "bfloat16" for at::kBFloat16. Throws Error for a
/// dtype that is not in the table.
std::string dtype_name(at::ScalarType dtype);

/// The dtype of weights that "float32", "bfloat16" or "float16" names; nullopt for any other text.
std::optional<at::ScalarType> weight_dtype_from_name(std::string_view name);

/// The number of bytes of one element, or 0 for a dtype that dtype_names() does not know.
uint64_t element_bytes(at::ScalarType dtype);

}  // namespace longlora::tensors
