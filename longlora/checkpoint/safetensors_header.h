// The header of a .safetensors file: a parser that trusts nothing, and the names that the format gives to
// dtypes.
#pragma once

#include <c10/core/ScalarType.h>

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace longlora::checkpoint {

/// One tensor as the header describes it. Offsets are from the start of the file.
struct HeaderEntry {
  std::string name;
  at::ScalarType dtype;
  std::vector<int64_t> shape;
  uint64_t begin_bytes;
  uint64_t end_bytes;
};

struct SafetensorsHeader {
  std::vector<HeaderEntry> entries;  // by offset
  std::map<std::string, std::string> metadata;
};

/// Checks and reads the header at the start of `file`, which holds the bytes of the whole file; `source`
/// names it in errors. Afterwards it is certain that every tensor lies inside the file and has exactly the
/// bytes that its shape and dtype need, and that the tensors cover the data without overlap, hole or rest.
/// Throws InputError.
SafetensorsHeader parse_safetensors_header(std::string_view file, const std::string& source);

/// The format's name for a dtype: "BF16" for at::kBFloat16. Throws InputError for a dtype that has none.
std::string safetensors_dtype_name(at::ScalarType dtype);

}  // namespace longlora::checkpoint
