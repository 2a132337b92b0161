#include "longlora/results/tensorboard.h"

#include <fmt/format.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstring>

#include "longlora/core/error.h"
#include "longlora/core/file.h"
#include "longlora/results/event_record.h"

namespace longlora::results {
namespace {

double now_seconds() {
  return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

std::string host_name() {
  std::array<char, 256> name{};
  if (gethostname(name.data(), name.size() - 1) != 0 || name[0] == '\0') return "localhost";
  return name.data();
}

std::string event_file_name(double wall_time_seconds) {
  static std::atomic<int> next_number{0};
  return fmt::format("events.out.tfevents.{:010d}.{}.{}.{}", static_cast<int64_t>(wall_time_seconds),
                     host_name(), getpid(), next_number.fetch_add(1));
}

[[noreturn]] void fail(const std::filesystem::path& path, const char* action) {
  throw ResourceError(
      fmt::format("[TensorBoard events] expected to {} {}, got '{}'. Free disk space or choose another "
                  "output folder.",
                  action, path.string(), std::strerror(errno)));
}

}  // namespace

TensorBoardWriter::TensorBoardWriter(const std::filesystem::path& directory,
                                     std::optional<int64_t> first_step) {
  make_directories(directory);
  const double now = now_seconds();
  path_ = directory / event_file_name(now);
  errno = 0;
  file_.open(path_, std::ios::binary | std::ios::trunc);
  if (!file_) fail(path_, "create");
  write(encode_file_version_event(now));
  if (first_step) write(encode_session_start_event({now, *first_step}));
  flush();
}

void TensorBoardWriter::scalar(const std::string& tag, double value, int64_t step) {
  write(encode_scalar_event({now_seconds(), step}, tag, value));
}

void TensorBoardWriter::flush() {
  errno = 0;
  if (!file_.flush()) fail(path_, "write");
}

void TensorBoardWriter::write(const std::string& payload) {
  const std::string frame = frame_record(payload);
  errno = 0;
  if (!file_.write(frame.data(), static_cast<std::streamsize>(frame.size()))) fail(path_, "write");
}

}  // namespace longlora::results
