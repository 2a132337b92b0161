// Draws pictures with gnuplot, which runs as a child process.
#pragma once

#include <string>

#include "longlora/core/error.h"

namespace longlora::report {

/// The program is not there, or may not be started; says how to get it.
class MissingGnuplot : public Error {
 public:
  using Error::Error;
};

/// Runs gnuplot without a shell. The script goes in by standard input and the picture comes out by standard
/// output; the user's own gnuplot settings are not read.
class Gnuplot {
 public:
  /// Starts `program --version` once. Throws MissingGnuplot when the program is missing, and Error, which
  /// says what to install, when it is not gnuplot.
  explicit Gnuplot(std::string program = "gnuplot");

  /// The version as gnuplot states it: "gnuplot 5.4 patchlevel 4".
  const std::string& version() const { return version_; }

  /// Runs `script`, which sets a PNG terminal and plots but names no output, and
  /// returns the picture's bytes. Throws Error with gnuplot's own words.
  std::string draw(const std::string& script) const;

 private:
  std::string program_;
  std::string version_;
};

}  // namespace longlora::report
