#include <fmt/format.h>

#include <algorithm>

#include "longlora/jinja/builtins.h"
#include "longlora/jinja/fault.h"

namespace longlora::jinja {

std::vector<std::optional<Value>> Arguments::bind(std::initializer_list<std::string_view> names) const {
  if (positional.size() > names.size())
    throw Fault(fmt::format("expected at most {} arguments, got {}", names.size(), positional.size()));
  std::vector<std::optional<Value>> bound(names.size());
  std::copy(positional.begin(), positional.end(), bound.begin());
  for (const auto& [name, value] : named) {
    const auto found = std::find(names.begin(), names.end(), name);
    if (found == names.end()) throw Fault(fmt::format("expected arguments that there are, got \"{}\"", name));
    auto& place = bound[static_cast<size_t>(found - names.begin())];
    if (place) throw Fault(fmt::format("expected \"{}\" once, got it twice", name));
    place = value;
  }
  return bound;
}

}  // namespace longlora::jinja
