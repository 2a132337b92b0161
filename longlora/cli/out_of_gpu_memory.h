// What the program says when a GPU has no memory left.
#pragma once

#include <string>

namespace longlora::cli {

/// The text for the user of a GPU's c10::OutOfMemoryError with this message: how much was asked for, how much
/// was free, and which flags make the run smaller.
std::string describe_out_of_memory(const std::string& message);

}  // namespace longlora::cli
