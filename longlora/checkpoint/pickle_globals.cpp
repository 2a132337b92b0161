#include "longlora/checkpoint/pickle_globals.h"

#include <fmt/core.h>

#include "longlora/checkpoint/bytes.h"
#include "longlora/core/error.h"
#include "longlora/tensors/dtypes.h"

namespace longlora::checkpoint::internal {
namespace {

// The largest number of values: a state dict of 100,000 tensors has 2 million.
constexpr size_t kMaxValues = 8'000'000;
// The largest number of items in all containers, because a call may copy a long list again and again.
constexpr uint64_t kMaxItems = 64'000'000;
constexpr size_t kMaxRank = 64;

struct KnownGlobal {
  const char* module;
  const char* name;
  PickleGlobal global;
};

constexpr KnownGlobal kGlobals[] = {
    {"collections", "OrderedDict", PickleGlobal::kOrderedDict},
    {"builtins", "set", PickleGlobal::kSet},
    {"__builtin__", "set", PickleGlobal::kSet},
    {"torch", "Size", PickleGlobal::kSize},
    {"torch", "device", PickleGlobal::kDevice},
    {"torch._utils", "_rebuild_tensor", PickleGlobal::kRebuildTensor},
    {"torch._utils", "_rebuild_tensor_v2", PickleGlobal::kRebuildTensorV2},
    {"torch._utils", "_rebuild_tensor_v3", PickleGlobal::kRebuildTensorV3},
    {"torch._utils", "_rebuild_parameter", PickleGlobal::kRebuildParameter},
    {"torch._utils", "_rebuild_parameter_with_state", PickleGlobal::kRebuildParameter},
    {"torch", "UntypedStorage", PickleGlobal::kUntypedStorage},
    {"torch.storage", "UntypedStorage", PickleGlobal::kUntypedStorage},
    {"torch.storage", "_UntypedStorage", PickleGlobal::kUntypedStorage},
};

PickleValue global_value(PickleGlobal global, at::ScalarType dtype) {
  PickleValue value;
  value.kind = PickleKind::kGlobal;
  value.integer = static_cast<int64_t>(global);
  value.dtype = dtype;
  return value;
}

bool is_global(const PickleValue& value, PickleGlobal global) {
  return value.kind == PickleKind::kGlobal && value.integer == static_cast<int64_t>(global);
}

// The arguments of a call, which are checked as they are taken.
class Arguments {
 public:
  Arguments(const Pickle& pickle, const std::vector<PickleRef>& items, const char* what,
            const std::string& source)
      : pickle_(pickle), items_(items), what_(what), source_(source) {}

  size_t size() const { return items_.size(); }
  const PickleValue& at(size_t index, PickleKind kind, const char* expected) const {
    if (index >= items_.size()) fail(expected, "nothing");
    const PickleValue& value = pickle_.value(items_[index]);
    if (value.kind != kind) fail(expected, "something else");
    return value;
  }
  uint64_t count(size_t index, const char* expected) const {
    const PickleValue& value = at(index, PickleKind::kInt, expected);
    if (value.integer < 0 || static_cast<uint64_t>(value.integer) > kMaxPickledCount)
      fail(expected, std::to_string(value.integer));
    return static_cast<uint64_t>(value.integer);
  }
  std::vector<int64_t> sizes(size_t index, const char* expected) const {
    const PickleValue& tuple = at(index, PickleKind::kTuple, expected);
    if (tuple.items.size() > kMaxRank) fail(expected, fmt::format("{} of them", tuple.items.size()));
    std::vector<int64_t> result;
    result.reserve(tuple.items.size());
    const Arguments inner(pickle_, tuple.items, what_, source_);
    for (size_t i = 0; i < tuple.items.size(); ++i)
      result.push_back(static_cast<int64_t>(inner.count(i, expected)));
    return result;
  }
  [[noreturn]] void fail(const std::string& expected, const std::string& got) const {
    fail_pickle(source_, fmt::format("{} for {}", expected, what_), got);
  }

 private:
  const Pickle& pickle_;
  const std::vector<PickleRef>& items_;
  const char* what_;
  const std::string& source_;
};

bool is_empty_or_none(const PickleValue& value) {
  return value.kind == PickleKind::kNone || value.items.empty();
}

PickleRef rebuild_tensor(Pickle& pickle, PickleGlobal global, const PickleValue& tuple,
                         const std::string& source) {
  const Arguments arguments(pickle, tuple.items, "a tensor", source);
  const PickleValue& storage_value = arguments.at(0, PickleKind::kStorage, "a storage");
  const PickledStorage& storage = pickle.storages[static_cast<size_t>(storage_value.integer)];
  PickledTensor tensor;
  tensor.storage = static_cast<uint32_t>(storage_value.integer);
  tensor.dtype = storage.dtype;
  tensor.offset = arguments.count(1, "an offset");
  tensor.shape = arguments.sizes(2, "a tuple of sizes");
  tensor.strides = arguments.sizes(3, "a tuple of strides");
  if (global == PickleGlobal::kRebuildTensorV3) {
    const PickleValue& dtype = arguments.at(6, PickleKind::kGlobal, "a dtype");
    if (!is_global(dtype, PickleGlobal::kDtype)) arguments.fail("a dtype", "another global");
    tensor.dtype = dtype.dtype;
  } else if (storage.is_untyped) {
    arguments.fail("a typed storage", "an untyped one");
  }
  const size_t metadata = global == PickleGlobal::kRebuildTensorV3 ? 7 : 6;
  if (arguments.size() > metadata && !is_empty_or_none(pickle.value(tuple.items[metadata])))
    arguments.fail("no further properties", "a conjugated or negated view; save it with .resolve_conj()");
  if (tensor.shape.size() != tensor.strides.size())
    arguments.fail("as many strides as sizes",
                   fmt::format("{} and {}", tensor.strides.size(), tensor.shape.size()));

  PickleValue value;
  value.kind = PickleKind::kTensor;
  value.integer = static_cast<int64_t>(pickle.tensors.size());
  pickle.tensors.push_back(std::move(tensor));
  return add_value(pickle, std::move(value), source);
}

// Calls OrderedDict() or OrderedDict([[key, value], …]).
PickleRef make_dict(Pickle& pickle, const PickleValue& tuple, const std::string& source) {
  const Arguments arguments(pickle, tuple.items, "an OrderedDict", source);
  PickleValue dict;
  dict.kind = PickleKind::kDict;
  if (arguments.size() > 0) {
    for (const PickleRef item : arguments.at(0, PickleKind::kList, "a list of pairs").items) {
      const PickleValue& pair = pickle.value(item);
      if ((pair.kind != PickleKind::kList && pair.kind != PickleKind::kTuple) || pair.items.size() != 2)
        arguments.fail("pairs of key and value", "something else");
      dict.items.insert(dict.items.end(), pair.items.begin(), pair.items.end());
    }
  }
  return add_value(pickle, std::move(dict), source);
}

}  // namespace

void fail_pickle(const std::string& source, const std::string& expected, const std::string& got) {
  throw InputError(fmt::format("[{}] expected {}, got {}", source, expected, got));
}

PickleRef add_value(Pickle& pickle, PickleValue value, const std::string& source) {
  if (pickle.values.size() >= kMaxValues)
    fail_pickle(source, fmt::format("a pickle of at most {} values", kMaxValues), "more");
  pickle.num_items += value.items.size();
  if (pickle.num_items > kMaxItems)
    fail_pickle(source, fmt::format("containers of at most {} values together", kMaxItems), "more");
  pickle.values.push_back(std::move(value));
  return static_cast<PickleRef>(pickle.values.size() - 1);
}

PickleValue find_global(std::string_view module, std::string_view name, const std::string& source) {
  for (const KnownGlobal& known : kGlobals)
    if (module == known.module && name == known.name) {
      const bool is_untyped = known.global == PickleGlobal::kUntypedStorage;
      return global_value(known.global, is_untyped ? at::kByte : at::ScalarType::Undefined);
    }
  if (module == "torch" || module == "torch.cuda") {
    if (const tensors::DtypeNames* storage = tensors::dtype_of_torch_storage(name))
      return global_value(PickleGlobal::kStorageType, storage->dtype);
    if (const tensors::DtypeNames* dtype = tensors::dtype_of_torch(name))
      return global_value(PickleGlobal::kDtype, dtype->dtype);
  }
  throw InputError(
      fmt::format("[{}] expected tensors and plain containers alone, got the global {}.{}, which is refused: "
                  "a pickle that names it could run code; save a state dict of tensors instead",
                  source, shown_text(module), shown_text(name)));
}

PickleRef call_global(Pickle& pickle, PickleRef global, PickleRef arguments_ref, const std::string& source) {
  const PickleValue& callee = pickle.value(global);
  const PickleValue& tuple = pickle.value(arguments_ref);
  if (callee.kind != PickleKind::kGlobal || tuple.kind != PickleKind::kTuple)
    fail_pickle(source, "a call of a known function with a tuple", "something else; the pickle is damaged");
  const Arguments arguments(pickle, tuple.items, "a call", source);
  switch (const auto which = static_cast<PickleGlobal>(callee.integer); which) {
    case PickleGlobal::kOrderedDict:
      return make_dict(pickle, tuple, source);
    case PickleGlobal::kSize:
      arguments.sizes(0, "a tuple of sizes");
      return tuple.items[0];
    case PickleGlobal::kRebuildTensor:
    case PickleGlobal::kRebuildTensorV2:
    case PickleGlobal::kRebuildTensorV3:
      return rebuild_tensor(pickle, which, tuple, source);
    case PickleGlobal::kRebuildParameter:
      arguments.at(0, PickleKind::kTensor, "a tensor");
      return tuple.items[0];
    case PickleGlobal::kSet: {
      PickleValue set;
      set.kind = PickleKind::kSet;
      if (arguments.size() > 0) set.items = arguments.at(0, PickleKind::kList, "a list").items;
      return add_value(pickle, std::move(set), source);
    }
    case PickleGlobal::kDevice: {
      PickleValue device;
      device.kind = PickleKind::kOpaque;
      return add_value(pickle, std::move(device), source);
    }
    case PickleGlobal::kStorageType:
    case PickleGlobal::kUntypedStorage:
    case PickleGlobal::kDtype:
      break;
  }
  fail_pickle(source, "a known function", "a call of a type; the pickle is damaged");
}

PickleRef load_persistent(Pickle& pickle, PickleRef id, const std::string& source) {
  const PickleValue& tuple = pickle.value(id);
  if (tuple.kind != PickleKind::kTuple)
    fail_pickle(source, "storages by a tuple", "another reference; the pickle is damaged");
  const Arguments arguments(pickle, tuple.items, "a storage", source);
  const std::string_view what = arguments.at(0, PickleKind::kText, "a kind").text;
  if (what != "storage")
    fail_pickle(source, "storages", fmt::format("\"{}\"; save a state dict instead", shown_text(what)));
  const PickleValue& type = arguments.at(1, PickleKind::kGlobal, "a storage type");
  const bool is_untyped = is_global(type, PickleGlobal::kUntypedStorage);
  if (!is_untyped && !is_global(type, PickleGlobal::kStorageType))
    arguments.fail("a storage type", "another global");
  PickledStorage storage;
  storage.key = arguments.at(2, PickleKind::kText, "a key").text;
  storage.dtype = type.dtype;
  storage.is_untyped = is_untyped;
  storage.num_elements = arguments.count(4, "a number of elements");
  storage.view_offset = 0;
  storage.view_elements = storage.num_elements;
  if (arguments.size() > 5 && pickle.value(tuple.items[5]).kind != PickleKind::kNone) {
    const Arguments view(pickle, arguments.at(5, PickleKind::kTuple, "a view").items, "a view", source);
    storage.view_offset = view.count(1, "an offset");
    storage.view_elements = view.count(2, "a number of elements");
    if (storage.view_offset > storage.num_elements ||
        storage.view_elements > storage.num_elements - storage.view_offset)
      view.fail(fmt::format("a range inside {} elements", storage.num_elements),
                fmt::format("{} from {}", storage.view_elements, storage.view_offset));
  }
  PickleValue value;
  value.kind = PickleKind::kStorage;
  value.integer = static_cast<int64_t>(pickle.storages.size());
  pickle.storages.push_back(storage);
  return add_value(pickle, std::move(value), source);
}

}  // namespace longlora::checkpoint::internal
