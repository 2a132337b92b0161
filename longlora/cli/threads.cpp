#include "longlora/cli/threads.h"

#include <ATen/Parallel.h>
#include <unistd.h>

#include <array>
#include <climits>
#include <cstdlib>
#include <cstring>

#include "longlora/core/processors.h"

#if defined(__SANITIZE_ADDRESS__)
#define LONGLORA_BEFORE_SANITIZERS __attribute__((no_sanitize("address", "undefined")))
#else
#define LONGLORA_BEFORE_SANITIZERS
#endif

namespace longlora::cli {

void limit_threads() {
  if (std::getenv("OMP_NUM_THREADS") != nullptr) return;
  const int processors = available_processors();
  if (processors < at::get_num_threads()) at::set_num_threads(processors);
}

namespace {

constexpr size_t kMaxVariables = 8192;

LONGLORA_BEFORE_SANITIZERS bool is_variable(const char* entry, const char* name) {
  while (*name != '\0' && *entry == *name) ++entry, ++name;
  return *name == '\0' && *entry == '=';
}

// Starts the program again with OMP_WAIT_POLICY=passive in its environment.
//
// libgomp's threads spin for milliseconds at the end of every parallel loop before they sleep. On a machine
// with other work the thread that they wait for may not be running, and spinning keeps it from running:
// small models were 20 to 40 times slower than on one thread. libgomp reads the policy when it is loaded,
// before main, so the variable has to be there when the process starts. This function runs before the
// constructors of all libraries, when starting again costs 10 ms; it must not use anything that such a
// constructor sets up.
LONGLORA_BEFORE_SANITIZERS void start_with_sleeping_threads(int, char** arguments, char** environment) {
  static std::array<char*, kMaxVariables> changed;
  static std::array<char, PATH_MAX + 1> program;
  static char policy[] = "OMP_WAIT_POLICY=passive";
  size_t count = 0;
  for (; environment[count] != nullptr; ++count) {
    if (is_variable(environment[count], "OMP_WAIT_POLICY") ||
        is_variable(environment[count], "GOMP_SPINCOUNT"))
      return;
    if (count + 2 >= kMaxVariables) return;
    changed.data()[count] = environment[count];
  }
  changed.data()[count] = policy;
  const ssize_t length = ::readlink("/proc/self/exe", program.data(), PATH_MAX);
  if (length <= 0) return;
  // Where that fails, the program goes on as it was started.
  ::execve(program.data(), arguments, changed.data());
}

using BeforeConstructors = void (*)(int, char**, char**);
__attribute__((section(".preinit_array"), used)) const BeforeConstructors kBeforeConstructors =
    start_with_sleeping_threads;

}  // namespace
}  // namespace longlora::cli
