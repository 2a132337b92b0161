// The name alone of the type of JSON values, for headers of functions that take or return them.
#pragma once

#include <nlohmann/json_fwd.hpp>

namespace longlora {

/// A JSON value. An object keeps its keys in the order in which they were written.
using Json = nlohmann::ordered_json;

}  // namespace longlora
