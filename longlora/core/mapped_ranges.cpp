#include "longlora/core/mapped_ranges.h"

#include <fmt/core.h>
#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <cstdint>
#include <mutex>
#include <string>

#include "longlora/core/error.h"

namespace longlora {
namespace {

// One mapping. The signal handler walks over the ranges without a lock: so they are never freed but used
// again, and all that the handler needs is made beforehand.
struct Range {
  std::atomic<uintptr_t> begin{0};  // 0: free
  std::atomic<size_t> num_bytes{0};
  std::atomic<int> exit_code{0};
  std::atomic<const std::string*> message{nullptr};
  Range* next = nullptr;
};

std::atomic<Range*> first{nullptr};
std::mutex writers;

Range& free_range() {
  for (Range* range = first; range != nullptr; range = range->next)
    if (range->begin == 0) return *range;
  auto* range = new Range;
  range->next = first;
  first = range;
  return *range;
}

std::string describe(MappedKind kind, const std::filesystem::path& path) {
  if (kind == MappedKind::kScratch)
    return fmt::format(
        "error: [{}] expected the disk to hold the training state that is there, got an error when "
        "it was read or written; check the disk, and resume from the last checkpoint\n",
        path.string());
  return fmt::format(
      "error: [{}] expected a file that stays as it is while it is read, got one that was cut short "
      "or a disk that fails; restore the file and start again\n",
      path.string());
}

// Handles SIGBUS. It calls only functions that are safe in a signal handler.
void end_with_message(int signal, siginfo_t* info, void*) {
  const auto address = reinterpret_cast<uintptr_t>(info->si_addr);
  for (const Range* range = first; range != nullptr; range = range->next) {
    const uintptr_t begin = range->begin;
    if (begin == 0 || address < begin || address - begin >= range->num_bytes) continue;
    const std::string* message = range->message;
    (void)!::write(STDERR_FILENO, message->data(), message->size());
    ::_exit(range->exit_code);
  }
  ::signal(signal, SIG_DFL);  // the failing access comes again and ends the process
}

}  // namespace

void remember_mapping(const void* begin, size_t num_bytes, MappedKind kind,
                      const std::filesystem::path& path) {
  const std::lock_guard lock(writers);
  Range& range = free_range();
  delete range.message.exchange(new std::string(describe(kind, path)));
  range.exit_code = static_cast<int>(kind == MappedKind::kInput ? ExitCode::kInput : ExitCode::kResources);
  range.num_bytes = num_bytes;
  range.begin = reinterpret_cast<uintptr_t>(begin);
}

void forget_mapping(const void* begin) {
  const std::lock_guard lock(writers);
  for (Range* range = first; range != nullptr; range = range->next)
    if (range->begin == reinterpret_cast<uintptr_t>(begin)) range->begin = 0;
}

void end_on_failed_mappings() {
  struct sigaction action = {};
  action.sa_flags = SA_SIGINFO;
  action.sa_sigaction = end_with_message;
  sigaction(SIGBUS, &action, nullptr);
}

}  // namespace longlora
