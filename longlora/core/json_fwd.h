// The name of JSON values alone, for headers of functions that take or return them.
#pragma once

#include <nlohmann/json_fwd.hpp>

namespace longlora {

/// Keys keep the order in which they were written.
using Json = nlohmann::ordered_json;

}  // namespace longlora
