// What the program says when a GPU has no memory left.
#pragma once

#include <string>

namespace longlora::cli {

/// Returns what to tell the user of a c10::OutOfMemoryError of a GPU with this message: how much was asked
/// for, how much was free, and which flags make the run smaller.
std::string describe_out_of_memory(const std::string& message);

}  // namespace longlora::cli
