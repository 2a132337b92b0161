// The program as a process: started with words, watched, signalled, limited.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "tests/cli/words.h"
#include "tests/support/temporary_directory.h"

namespace longlora::test {

/// What a process is started with beside its words.
struct Surroundings {
  /// Added to the test's own; one thread unless it says more.
  std::map<std::string, std::string> environment = {};
  std::optional<uint64_t> file_size_limit_bytes = {};      // RLIMIT_FSIZE
  std::optional<uint64_t> address_space_limit_bytes = {};  // RLIMIT_AS
  std::filesystem::path stdout_path = {};                  // empty: captured
  std::filesystem::path working_folder = {};               // empty: the test's own
};

/// How a process ended.
struct Ending {
  int exit_code = -1;  // -1: by a signal
  int signal = 0;
  std::string out;
  std::string err;
};

/// One running longlora. Killed and waited for at the end of the object.
class Process {
 public:
  explicit Process(const Words& words, const Surroundings& surroundings = {});
  ~Process();
  Process(const Process&) = delete;
  Process& operator=(const Process&) = delete;

  void send(int signal) const;
  /// Waits until `holds()` is true; false when the process ended before it was.
  bool wait_until(const std::function<bool()>& holds);
  /// Waits until standard error holds `text`; false when the process ended without.
  bool wait_for(const std::string& text);
  /// Waits for the end.
  Ending wait();

 private:
  bool has_ended();

  TemporaryDirectory captured_;
  pid_t pid_ = -1;
  std::optional<int> status_;
};

/// Starts the program and waits for its end.
Ending run(const Words& words, const Surroundings& surroundings = {});

/// Fails the test unless the program ends with `exit_code`, and shows what it said.
Ending expect_exit(int exit_code, const Words& words, const Surroundings& surroundings = {});

/// What the child does at the file operation that failing_calls.cpp is told to watch for. Operations are
/// counted from 1: files created, written, synced, renamed and removed, folders made.
struct FileTrouble {
  int64_t kill_at = 0;                   // SIGKILL in this operation, in the middle of a write; 0: never
  std::optional<int64_t> capacity = {};  // bytes that fit on the disk
};

/// Surroundings in which the program meets `trouble`. `counter` is a file that receives the number of
/// operations made.
Surroundings in_trouble(const FileTrouble& trouble, const std::filesystem::path& counter);
/// What the counter holds.
int64_t count_operations(const std::filesystem::path& counter);

/// All files below `folder` by relative path, with their content; folders end in "/".
std::map<std::string, std::string> contents(const std::filesystem::path& folder);
/// Names in `folder`, hidden ones included, sorted.
std::vector<std::string> names_in(const std::filesystem::path& folder);

/// Writes `count` pseudo-random ids below `vocab_size` as uint16.
void write_ids(const std::filesystem::path& path, int64_t count, int64_t vocab_size, uint64_t seed = 1);

}  // namespace longlora::test
