#include "longlora/report/gnuplot.h"

#include <fmt/format.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <memory>
#include <vector>

#include "longlora/core/error.h"
#include "longlora/core/file.h"
#include "longlora/report/text.h"

namespace longlora::report {
namespace {

constexpr std::string_view kPngSignature = "\x89PNG\r\n\x1a\n";
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
  text.erase(text.find_last_not_of(" \n\r\t") + 1);
  return text;
}

struct ChildResult {
  int spawn_error = 0;  // errno of posix_spawn; the rest is unset when not 0
  bool succeeded = false;
  std::string output;  // standard output and standard error together
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
  if (std::fwrite(input.data(), 1, input.size(), in.get()) != input.size() || std::fflush(in.get()) != 0) {
    throw ResourceError(
        "[temporary file] expected to write a gnuplot script, got a full disk. Free space in the folder for "
        "temporary files.");
  }
  std::rewind(in.get());

  std::vector<char*> argv;
  for (std::string& argument : arguments) {
    argv.push_back(argument.data());
  }
  argv.push_back(nullptr);

  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, fileno(in.get()), STDIN_FILENO);
  posix_spawn_file_actions_adddup2(&actions, fileno(out.get()), STDOUT_FILENO);
  posix_spawn_file_actions_adddup2(&actions, fileno(out.get()), STDERR_FILENO);
  pid_t child = 0;
  ChildResult result;
  result.spawn_error = posix_spawnp(&child, argv[0], &actions, nullptr, argv.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  if (result.spawn_error == 0) {
    result.succeeded = wait_for(child);
    result.output = read_from_start(out.get());
  }
  return result;
}

bool is_png(const std::filesystem::path& path) {
  std::array<char, 8> head{};
  const std::unique_ptr<std::FILE, CloseFile> file(std::fopen(path.c_str(), "rb"));
  return file && std::fread(head.data(), 1, head.size(), file.get()) == head.size() &&
         std::string_view(head.data(), head.size()) == kPngSignature;
}

/// A file that is gone at the end, whatever happens, unless it was renamed.
struct RemoveAtEnd {
  std::filesystem::path path;
  ~RemoveAtEnd() {
    std::error_code ignored;
    std::filesystem::remove(path, ignored);
  }
};

}  // namespace

Gnuplot::Gnuplot(std::string program) : program_(std::move(program)) {
  const ChildResult result = run_child({program_, "--version"}, "");
  if (result.spawn_error != 0) {
    throw Error(fmt::format("[pictures] expected the program '{}', got '{}'. {}", program_,
                            std::strerror(result.spawn_error), kHowToInstall));
  }
  if (!result.succeeded || result.output.rfind("gnuplot ", 0) != 0) {
    throw Error(fmt::format("[pictures] expected '{} --version' to print gnuplot's version, got '{}'. {}",
                            program_, shorten(result.output, 200), kHowToInstall));
  }
  version_ = result.output;
}

void Gnuplot::draw(const std::filesystem::path& png, const std::string& script) const {
  // An absolute path: gnuplot would start a program for one that begins with '|'.
  const std::filesystem::path target = std::filesystem::absolute(png);
  std::filesystem::path temporary = target;
  temporary += fmt::format(".{}.tmp", getpid());
  const RemoveAtEnd cleanup{temporary};
  // Creating the file here gives the system's own reason when that cannot be done.
  if (const std::unique_ptr<std::FILE, CloseFile> probe(std::fopen(temporary.c_str(), "wb")); !probe) {
    throw ResourceError(fmt::format("[picture] expected to write {}, got '{}'. Choose another output path.",
                                    png.string(), std::strerror(errno)));
  }

  const std::string input =
      fmt::format("set output {}\n{}\nunset output\n", quote_gnuplot(temporary.string()), script);
  const ChildResult result = run_child({program_, "-d", "-"}, input);
  if (result.spawn_error != 0 || !result.succeeded) {
    throw Error(fmt::format("[picture] expected {} to draw {}, got '{}'", program_, png.string(),
                            result.spawn_error != 0 ? std::strerror(result.spawn_error) : result.output));
  }
  if (!is_png(temporary)) {
    throw ResourceError(
        fmt::format("[picture] expected gnuplot to write the PNG {}, got none ('{}'). Free disk space, or "
                    "install a gnuplot "
                    "with the pngcairo terminal (Debian: gnuplot-nox).",
                    png.string(), result.output));
  }
  std::error_code error;
  std::filesystem::rename(temporary, target, error);
  if (error) {
    throw ResourceError(fmt::format("[picture] expected to write {}, got '{}'. Choose another output path.",
                                    png.string(), error.message()));
  }
}

}  // namespace longlora::report
