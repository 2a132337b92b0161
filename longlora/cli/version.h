// What the program says of itself.
#pragma once

#include <string>

namespace longlora::cli {

/// "0.1.0"
std::string version();

/// The version, how the program was built, the libtorch that it was loaded with, and what it computes with on
/// this machine: kernels and threads. One line each, without the last line's end.
std::string describe_program();

}  // namespace longlora::cli
