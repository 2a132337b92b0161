// Python's methods of str. Internal to this room.
#pragma once

#include <string_view>
#include <vector>

#include "longlora/jinja/builtins.h"

namespace longlora::jinja {

/// Returns null for a name that str does not have here.
MethodFunction find_text_method(std::string_view name);
std::vector<std::string_view> text_method_names();

}  // namespace longlora::jinja
