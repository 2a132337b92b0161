#include "longlora/tensors/dtypes.h"

#include <algorithm>
#include <iterator>

#include "longlora/core/error.h"

namespace longlora::tensors {
namespace {

constexpr DtypeNames kDtypes[] = {
    {at::kDouble, 8, "F64", "float64", "DoubleStorage"},
    {at::kFloat, 4, "F32", "float32", "FloatStorage"},
    {at::kHalf, 2, "F16", "float16", "HalfStorage"},
    {at::kBFloat16, 2, "BF16", "bfloat16", "BFloat16Storage"},
    {at::kLong, 8, "I64", "int64", "LongStorage"},
    {at::kInt, 4, "I32", "int32", "IntStorage"},
    {at::kShort, 2, "I16", "int16", "ShortStorage"},
    {at::kChar, 1, "I8", "int8", "CharStorage"},
    {at::kByte, 1, "U8", "uint8", "ByteStorage"},
    {at::kBool, 1, "BOOL", "bool", "BoolStorage"},
    {at::kUInt64, 8, "U64", "uint64", nullptr},
    {at::kUInt32, 4, "U32", "uint32", nullptr},
    {at::kUInt16, 2, "U16", "uint16", nullptr},
    {at::kFloat8_e4m3fn, 1, "F8_E4M3", "float8_e4m3fn", nullptr},
    {at::kFloat8_e5m2, 1, "F8_E5M2", "float8_e5m2", nullptr},
    {at::kComplexFloat, 8, nullptr, "complex64", "ComplexFloatStorage"},
    {at::kComplexDouble, 16, nullptr, "complex128", "ComplexDoubleStorage"},
};

const DtypeNames* find(const char* DtypeNames::*field, std::string_view name) {
  const auto* found = std::find_if(std::begin(kDtypes), std::end(kDtypes), [&](const DtypeNames& row) {
    return row.*field != nullptr && name == row.*field;
  });
  return found == std::end(kDtypes) ? nullptr : found;
}

}  // namespace

const DtypeNames* dtype_names(at::ScalarType dtype) {
  const auto* found = std::find_if(std::begin(kDtypes), std::end(kDtypes),
                                   [&](const DtypeNames& row) { return row.dtype == dtype; });
  return found == std::end(kDtypes) ? nullptr : found;
}

const DtypeNames* dtype_of_safetensors(std::string_view name) {
  return find(&DtypeNames::safetensors, name);
}
const DtypeNames* dtype_of_torch(std::string_view name) {
  return find(&DtypeNames::torch, name);
}
const DtypeNames* dtype_of_torch_storage(std::string_view name) {
  return find(&DtypeNames::torch_storage, name);
}

std::string dtype_name(at::ScalarType dtype) {
  const DtypeNames* names = dtype_names(dtype);
  if (names == nullptr) throw Error("[dtype] expected an element type that has a name, got another");
  return names->torch;
}

std::optional<at::ScalarType> weight_dtype_from_name(std::string_view name) {
  const DtypeNames* names = dtype_of_torch(name);
  const bool is_weight = names != nullptr && (names->dtype == at::kFloat || names->dtype == at::kBFloat16 ||
                                              names->dtype == at::kHalf);
  return is_weight ? std::optional(names->dtype) : std::nullopt;
}

uint64_t element_bytes(at::ScalarType dtype) {
  const DtypeNames* names = dtype_names(dtype);
  return names == nullptr ? 0 : names->element_bytes;
}

}  // namespace longlora::tensors
