// What the few globals that a torch.save pickle may name make of their arguments.
#pragma once

#include <string>
#include <string_view>

#include "longlora/checkpoint/pickle.h"

namespace longlora::checkpoint::internal {

enum class PickleGlobal : uint8_t {
  kOrderedDict,
  kSet,
  kSize,
  kDevice,
  kRebuildTensor,
  kRebuildTensorV2,
  kRebuildTensorV3,
  kRebuildParameter,
  kStorageType,
  kUntypedStorage,
  kDtype,
};

/// The value that stands for module.name. Throws InputError that names a global that is not known.
PickleValue find_global(std::string_view module, std::string_view name, const std::string& source);

/// Calls global(*arguments), where `arguments` refers to a tuple. Adds the result to `pickle` and returns it.
PickleRef call_global(Pickle& pickle, PickleRef global, PickleRef arguments, const std::string& source);

/// The storage that a persistent id ("storage", type, key, location, size[, view]) names.
PickleRef load_persistent(Pickle& pickle, PickleRef id, const std::string& source);

/// Appends a value. Throws InputError when there are more than any checkpoint has.
PickleRef add_value(Pickle& pickle, PickleValue value, const std::string& source);

[[noreturn]] void fail_pickle(const std::string& source, const std::string& expected, const std::string& got);

}  // namespace longlora::checkpoint::internal
