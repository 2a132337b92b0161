// Writes shapes for messages.
#pragma once

#include <ATen/ATen.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <string>

namespace longlora::ops {

/// Returns the shape of a tensor or a weight as text: "[2, 8]", or "[]" where it has no dimensions.
template <typename Shaped>
std::string shape_text(const Shaped& operand) {
  return fmt::format("[{}]", fmt::join(operand.sizes().begin(), operand.sizes().end(), ", "));
}

}  // namespace longlora::ops
