// Reads the pickles of torch.save with a machine that knows tensors, storages and plain containers, and runs
// nothing.
#pragma once

#include <c10/core/ScalarType.h>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace longlora::checkpoint {

/// The largest count, size or stride that a pickle may hold. Times the widest element it still fits a file
/// offset.
constexpr uint64_t kMaxPickledCount = uint64_t{1} << 56;

enum class PickleKind : uint8_t {
  kNone,
  kBool,
  kInt,
  kBigInt,  // a number beyond 64 bits; the text holds its bytes
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
  kOpaque,  // a known value that does not matter here: torch.device("cpu")
};

/// A place in Pickle::values. Values are never freed one by one, because a container in a pickle may hold
/// itself.
using PickleRef = uint32_t;

struct PickleValue {
  PickleKind kind = PickleKind::kNone;
  at::ScalarType dtype =
      at::ScalarType::Undefined;  // the dtype for which a global stands, by itself or as a storage type
  int64_t integer = 0;    // of kInt and kBool; the index of a kStorage or kTensor; the number of a kGlobal
  double number = 0.0;    // of kFloat
  std::string_view text;  // of kText, kBytes, kBigInt; it lies in the pickle's bytes
  std::vector<PickleRef> items;  // of a container; a dict has key, value, key, value …
};

/// A storage that tensors refer to by its key. The bytes lie elsewhere in the file.
struct PickledStorage {
  std::string_view key;
  at::ScalarType dtype;  // kByte for an untyped storage
  bool is_untyped;
  uint64_t num_elements;
  /// Where a view begins. Files before torch 1.6 may have a range of elements of the storage `key` stand for
  /// a storage of its own.
  uint64_t view_offset;
  uint64_t view_elements;
};

/// A tensor. Sizes and strides are in elements, not negative, and each below 2^56. Whether the elements lie
/// inside the storage is checked by the reader, which knows the tensor's name.
struct PickledTensor {
  uint32_t storage;  // index into Pickle::storages
  at::ScalarType dtype;
  uint64_t offset;  // in elements, from the start of the view
  std::vector<int64_t> shape;
  std::vector<int64_t> strides;
};

/// The content of one pickle. Its text points into the bytes from which it was read.
struct Pickle {
  std::vector<PickleValue> values;
  std::vector<PickledStorage> storages;
  std::vector<PickledTensor> tensors;
  PickleRef root = 0;
  size_t num_bytes = 0;    // including the STOP at the end
  uint64_t num_items = 0;  // in all containers, counted when they were made

  const PickleValue& value(PickleRef ref) const { return values[ref]; }
};

/// Reads the pickle (protocols 2 to 5) at the start of `bytes`; `source` names the file in errors. It may
/// name the globals OrderedDict, set, torch.Size, torch.device, dtypes, storage types, and the functions of
/// torch._utils that rebuild tensors and parameters. Any other global is refused by name, and nothing of a
/// pickle is ever run. Throws InputError for another global, for a damaged or truncated pickle, and for more
/// values than a checkpoint has.
Pickle read_pickle(std::string_view bytes, const std::string& source);

}  // namespace longlora::checkpoint
