// Shapes in messages.
#pragma once

#include <ATen/ATen.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <string>

namespace longlora::ops {

/// "[2, 8]" for a tensor or a weight; "[]" for one without dimensions.
template <typename Shaped>
std::string shape_text(const Shaped& operand) {
  return fmt::format("[{}]", fmt::join(operand.sizes().begin(), operand.sizes().end(), ", "));
}

}  // namespace longlora::ops
