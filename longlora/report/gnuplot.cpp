#include "longlora/report/gnuplot.h"

#include <fmt/format.h>

#include <cstring>
#include <string_view>

#include "longlora/core/error.h"
#include "longlora/core/format.h"
#include "longlora/core/process.h"
#include "longlora/core/text.h"

namespace longlora::report {
namespace {

constexpr std::string_view kPngSignature = "\x89PNG\r\n\x1a\n";
constexpr std::string_view kPngEnd = "IEND\xAE\x42\x60\x82";
constexpr const char* kHowToInstall =
    "Install it (Debian: apt-get install gnuplot-nox) or put it on the PATH.";

// Whether a PNG has everything from its signature to its last chunk; a full disk leaves less.
bool is_whole_png(const std::string& bytes) {
  return bytes.compare(0, kPngSignature.size(), kPngSignature) == 0 && bytes.size() > kPngEnd.size() &&
         bytes.compare(bytes.size() - kPngEnd.size(), kPngEnd.size(), kPngEnd) == 0;
}

}  // namespace

Gnuplot::Gnuplot(std::string program) : program_(std::move(program)) {
  const ChildResult result = run_child({.words = {program_, "--version"}});
  if (result.start_error != 0) {
    throw MissingGnuplot(fmt::format("[pictures] expected the program '{}', got '{}'. {}", program_,
                                     std::strerror(result.start_error), kHowToInstall));
  }
  if (!result.succeeded() || result.output.rfind("gnuplot ", 0) != 0) {
    throw Error(fmt::format("[pictures] expected '{} --version' to print gnuplot's version, got '{}'. {}",
                            program_, shorten(trimmed(result.output + result.messages), 200), kHowToInstall));
  }
  version_ = trimmed(result.output);
}

std::string Gnuplot::draw(const std::string& script) const {
  const ChildResult result =
      run_child({.words = {program_, "-d", "-"}, .input = script + "\nunset output\n"});
  if (!result.succeeded()) {
    throw Error(fmt::format("[picture] expected {} to draw it, got '{}'", program_,
                            result.start_error != 0 ? std::strerror(result.start_error) : result.messages));
  }
  if (!is_whole_png(result.output)) {
    throw Error(fmt::format(
        "[picture] expected {} to draw a PNG, got {} other bytes ('{}'). Free space in the folder for "
        "temporary files, or install a gnuplot with the pngcairo terminal (Debian: gnuplot-nox).",
        program_, result.output.size(), result.messages));
  }
  return result.output;
}

}  // namespace longlora::report
