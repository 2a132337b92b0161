#include "longlora/report/gnuplot.h"

#include <fmt/format.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <memory>
#include <vector>

#include "longlora/core/error.h"
#include "longlora/core/format.h"
#include "longlora/report/text.h"

namespace longlora::report {
namespace {

constexpr std::string_view kPngSignature = "\x89PNG\r\n\x1a\n";
constexpr std::string_view kPngEnd = "IEND\xAE\x42\x60\x82";
constexpr const char* kHowToInstall =
    "Install it (Debian: apt-get install gnuplot-nox) or put it on the PATH.";

struct CloseFile {
  void operator()(std::FILE* file) const { std::fclose(file); }
};
using TemporaryFile = std::unique_ptr<std::FILE, CloseFile>;

/// Files rather than pipes: neither side can block, and a child that dies early
/// raises no SIGPIPE.
TemporaryFile make_temporary_file() {
  TemporaryFile file(std::tmpfile());
  if (!file) {
    throw ResourceError(
        fmt::format("[temporary file] expected to create one, got '{}'. Free space in the "
                    "folder for temporary files.",
                    std::strerror(errno)));
  }
  return file;
}

std::string read_from_start(std::FILE* file) {
  std::rewind(file);
  std::string text;
  std::array<char, 4096> buffer;
  while (const size_t count = std::fread(buffer.data(), 1, buffer.size(), file)) {
    text.append(buffer.data(), count);
  }
  return text;
}

std::string trimmed(const std::string& text) {
  const size_t first = std::min(text.find_first_not_of(" \n\r\t"), text.size());
  return text.substr(first, text.find_last_not_of(" \n\r\t") + 1 - first);
}

struct ChildResult {
  int spawn_error = 0;  // errno of posix_spawn; the rest is unset when not 0
  bool succeeded = false;
  std::string output;
  std::string messages;  // standard error
};

/// Waits for the child; true when it exited with 0.
bool wait_for(pid_t child) {
  int status = 0;
  while (waitpid(child, &status, 0) < 0) {
    if (errno != EINTR) {
      return false;
    }
  }
  return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

ChildResult run_child(std::vector<std::string> arguments, const std::string& input) {
  const TemporaryFile in = make_temporary_file();
  const TemporaryFile out = make_temporary_file();
  const TemporaryFile messages = make_temporary_file();
  if (std::fwrite(input.data(), 1, input.size(), in.get()) != input.size() || std::fflush(in.get()) != 0) {
    throw ResourceError(
        "[temporary file] expected to write a gnuplot script, got a full disk. Free space in the folder for "
        "temporary files.");
  }
  std::rewind(in.get());

  std::vector<char*> argv;
  argv.reserve(arguments.size() + 1);
  for (std::string& argument : arguments) {
    argv.push_back(argument.data());
  }
  argv.push_back(nullptr);

  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, fileno(in.get()), STDIN_FILENO);
  posix_spawn_file_actions_adddup2(&actions, fileno(out.get()), STDOUT_FILENO);
  posix_spawn_file_actions_adddup2(&actions, fileno(messages.get()), STDERR_FILENO);
  pid_t child = 0;
  ChildResult result;
  result.spawn_error = posix_spawnp(&child, argv[0], &actions, nullptr, argv.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  if (result.spawn_error == 0) {
    result.succeeded = wait_for(child);
    result.output = read_from_start(out.get());
    result.messages = trimmed(read_from_start(messages.get()));
  }
  return result;
}

/// From the signature to the last chunk: a full disk leaves less.
bool is_whole_png(const std::string& bytes) {
  return bytes.compare(0, kPngSignature.size(), kPngSignature) == 0 && bytes.size() > kPngEnd.size() &&
         bytes.compare(bytes.size() - kPngEnd.size(), kPngEnd.size(), kPngEnd) == 0;
}

}  // namespace

Gnuplot::Gnuplot(std::string program) : program_(std::move(program)) {
  const ChildResult result = run_child({program_, "--version"}, "");
  if (result.spawn_error != 0) {
    throw Error(fmt::format("[pictures] expected the program '{}', got '{}'. {}", program_,
                            std::strerror(result.spawn_error), kHowToInstall));
  }
  if (!result.succeeded || result.output.rfind("gnuplot ", 0) != 0) {
    throw Error(fmt::format("[pictures] expected '{} --version' to print gnuplot's version, got '{}'. {}",
                            program_, shorten(trimmed(result.output + result.messages), 200), kHowToInstall));
  }
  version_ = trimmed(result.output);
}

std::string Gnuplot::draw(const std::string& script) const {
  const ChildResult result = run_child({program_, "-d", "-"}, script + "\nunset output\n");
  if (result.spawn_error != 0 || !result.succeeded) {
    throw Error(fmt::format("[picture] expected {} to draw it, got '{}'", program_,
                            result.spawn_error != 0 ? std::strerror(result.spawn_error) : result.messages));
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
