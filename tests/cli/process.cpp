#include "tests/cli/process.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstring>
#include <thread>

#include "longlora/core/random.h"

namespace longlora::test {
namespace {

namespace fs = std::filesystem;

// In the child.
void limit(__rlimit_resource resource, const std::optional<uint64_t>& bytes) {
  if (!bytes) return;
  const rlimit limits = {*bytes, *bytes};
  if (::setrlimit(resource, &limits) != 0) ::_exit(125);
}

// In the child: never returns.
[[noreturn]] void become_program(const Words& words, const Surroundings& surroundings, const fs::path& out,
                                 const fs::path& err) {
  const int out_file = ::open(out.c_str(), O_WRONLY | O_CREAT, 0600);
  const int err_file = ::open(err.c_str(), O_WRONLY | O_CREAT, 0600);
  if (out_file < 0 || err_file < 0) ::_exit(125);
  ::dup2(out_file, STDOUT_FILENO);
  ::dup2(err_file, STDERR_FILENO);
  if (!surroundings.working_folder.empty() && ::chdir(surroundings.working_folder.c_str()) != 0) ::_exit(125);
  limit(RLIMIT_FSIZE, surroundings.file_size_limit_bytes);
  limit(RLIMIT_AS, surroundings.address_space_limit_bytes);
  ::setenv("OMP_NUM_THREADS", "1", 1);
  for (const auto& [name, value] : surroundings.environment) ::setenv(name.c_str(), value.c_str(), 1);
  std::vector<char*> arguments = {const_cast<char*>(LONGLORA_BINARY)};
  for (const std::string& word : words) arguments.push_back(const_cast<char*>(word.c_str()));
  arguments.push_back(nullptr);
  ::execv(LONGLORA_BINARY, arguments.data());
  ::_exit(126);
}

void add_contents(const fs::path& folder, const std::string& prefix,
                  std::map<std::string, std::string>* all) {
  for (const fs::path& path : list_directory(folder)) {
    const std::string name = prefix + path.filename().string();
    struct stat info;
    if (::stat(path.c_str(), &info) == 0 && S_ISDIR(info.st_mode)) {
      (*all)[name + "/"] = "";
      add_contents(path, name + "/", all);
    } else {
      (*all)[name] = read_file(path);
    }
  }
}

}  // namespace

Process::Process(const Words& words, const Surroundings& surroundings) {
  const fs::path out = surroundings.stdout_path.empty() ? captured_ / "out" : surroundings.stdout_path;
  const fs::path err = captured_ / "err";
  pid_ = ::fork();
  if (pid_ == 0) become_program(words, surroundings, out, err);
  if (pid_ < 0) throw std::runtime_error(std::string("fork failed: ") + std::strerror(errno));
}

Process::~Process() {
  if (has_ended()) return;
  send(SIGKILL);
  wait();
}

void Process::send(int signal) const {
  if (!status_) ::kill(pid_, signal);
}

bool Process::has_ended() {
  int status = 0;
  if (!status_ && ::waitpid(pid_, &status, WNOHANG) == pid_) status_ = status;
  return status_.has_value();
}

bool Process::wait_until(const std::function<bool()>& holds) {
  while (true) {
    const bool ended = has_ended();  // before the look, so that the last state is seen
    if (holds()) return true;
    if (ended) return false;
    std::this_thread::sleep_for(std::chrono::microseconds(200));
  }
}

bool Process::wait_for(const std::string& text) {
  return wait_until([&] {
    return fs::exists(captured_ / "err") && read_file(captured_ / "err").find(text) != std::string::npos;
  });
}

Ending Process::wait() {
  int status = 0;
  while (!status_) {
    const pid_t ended = ::waitpid(pid_, &status, 0);
    if (ended == pid_)
      status_ = status;
    else if (errno != EINTR)
      throw std::runtime_error(std::string("waitpid failed: ") + std::strerror(errno));
  }
  Ending ending;
  if (WIFEXITED(*status_)) ending.exit_code = WEXITSTATUS(*status_);
  if (WIFSIGNALED(*status_)) ending.signal = WTERMSIG(*status_);
  if (fs::exists(captured_ / "out")) ending.out = read_file(captured_ / "out");
  if (fs::exists(captured_ / "err")) ending.err = read_file(captured_ / "err");
  return ending;
}

Ending run(const Words& words, const Surroundings& surroundings) {
  return Process(words, surroundings).wait();
}

Ending expect_exit(int exit_code, const Words& words, const Surroundings& surroundings) {
  const Ending ending = run(words, surroundings);
  std::string line = "longlora";
  for (const std::string& word : words) line += " " + word;
  EXPECT_EQ(ending.exit_code, exit_code) << line << "\nsignal " << ending.signal << "\n" << ending.err;
  return ending;
}

Surroundings in_trouble(const FileTrouble& trouble, const fs::path& counter) {
  Surroundings surroundings;
  surroundings.environment = {{"LD_PRELOAD", LONGLORA_FAILING_CALLS},
                              {"FAILING_CALLS_COUNTER", counter.string()},
                              // The sanitizers want to be the first library.
                              {"ASAN_OPTIONS", "verify_asan_link_order=0:detect_leaks=0"}};
  if (trouble.kill_at > 0)
    surroundings.environment["FAILING_CALLS_KILL_AT"] = std::to_string(trouble.kill_at);
  if (trouble.capacity)
    surroundings.environment["FAILING_CALLS_CAPACITY"] = std::to_string(*trouble.capacity);
  write_file_atomic(counter, std::string(sizeof(int64_t), '\0'));
  return surroundings;
}

int64_t count_operations(const fs::path& counter) {
  const std::string bytes = read_file(counter);
  int64_t count = 0;
  std::memcpy(&count, bytes.data(), sizeof count);
  return count;
}

std::map<std::string, std::string> contents(const fs::path& folder) {
  std::map<std::string, std::string> all;
  add_contents(folder, "", &all);
  return all;
}

std::vector<std::string> names_in(const fs::path& folder) {
  std::vector<std::string> names;
  for (const fs::path& path : list_directory(folder)) names.push_back(path.filename().string());
  return names;
}

void write_ids(const fs::path& path, int64_t count, int64_t vocab_size, uint64_t seed) {
  std::string bytes;
  for (int64_t i = 0; i < count; ++i) {
    const uint64_t id = mix_bits(seed, static_cast<uint64_t>(i)) % static_cast<uint64_t>(vocab_size);
    bytes += static_cast<char>(id);
    bytes += static_cast<char>(id >> 8);
  }
  write_file_atomic(path, bytes);
}

}  // namespace longlora::test
