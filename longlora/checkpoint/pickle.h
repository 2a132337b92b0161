// Pickles of torch.save, read by a machine that knows tensors, storages and plain containers and runs
// nothing.
#pragma once

#include <c10/core/ScalarType.h>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace longlora::checkpoint {

/// No count, size or stride in a pickle is larger: times the widest element it is still a file offset.
constexpr uint64_t kMaxPickledCount = uint64_t{1} << 56;

enum class PickleKind : uint8_t {
  kNone,
  kBool,
  kInt,
  kBigInt,  // beyond 64 bits; its bytes are the text
  kFloat,
  kText,
  kBytes,
  kTuple,
  kList,
  kDict,
  kSet,
  kGlobal,
  kStorage,
  kTensor,
  kOpaque,  // known and of no interest here: torch.device("cpu")
};

/// A place in Pickle::values. Values are never freed one by one, so a pickle
/// may hold a container inside itself.
using PickleRef = uint32_t;

struct PickleValue {
  PickleKind kind = PickleKind::kNone;
  at::ScalarType dtype = at::ScalarType::Undefined;  // of a global that stands for a dtype or a storage type
  int64_t integer = 0;           // kInt, kBool; the index of a kStorage or kTensor; which kGlobal
  double number = 0.0;           // kFloat
  std::string_view text;         // kText, kBytes, kBigInt: inside the pickle's bytes
  std::vector<PickleRef> items;  // of a container; of a dict key, value, key, value …
};

/// A storage that tensors refer to by its key. The bytes lie elsewhere in the file.
struct PickledStorage {
  std::string_view key;
  at::ScalarType dtype;  // kByte for an untyped one
  bool is_untyped;
  uint64_t num_elements;
  /// Files before torch 1.6: a range of elements of the storage `key` that stands for a storage of its own.
  uint64_t view_offset;
  uint64_t view_elements;
};

/// A tensor: sizes and strides in elements, not negative and each below 2^56. Whether its elements lie
/// inside the storage is for the reader to check, who knows the tensor's name.
struct PickledTensor {
  uint32_t storage;  // index into Pickle::storages
  at::ScalarType dtype;
  uint64_t offset;  // in elements, from the start of the view
  std::vector<int64_t> shape;
  std::vector<int64_t> strides;
};

/// What one pickle holds. Text points into the bytes it was read from.
struct Pickle {
  std::vector<PickleValue> values;
  std::vector<PickledStorage> storages;
  std::vector<PickledTensor> tensors;
  PickleRef root = 0;
  size_t num_bytes = 0;    // up to and with the STOP
  uint64_t num_items = 0;  // in containers when they were made

  const PickleValue& value(PickleRef ref) const { return values[ref]; }
};

/// Reads the pickle (protocols 2 to 5) at the start of `bytes`; `source` names
/// the file in errors. The globals it may name are OrderedDict, set, torch.Size,
/// torch.device, dtypes, storage types and the functions of torch._utils that
/// rebuild tensors and parameters; any other is refused by name, and nothing of
/// a pickle is ever run. Throws InputError: another global, a damaged or
/// truncated pickle, more values than a checkpoint has.
Pickle read_pickle(std::string_view bytes, const std::string& source);

}  // namespace longlora::checkpoint
