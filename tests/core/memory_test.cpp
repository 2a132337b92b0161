#include "longlora/core/memory.h"

#include <gtest/gtest.h>

#include <cstring>
#include <memory>

#include "longlora/core/memory_internal.h"
#include "tests/support/temporary_directory.h"

namespace longlora {
namespace {

constexpr int64_t kMiB = 1024 * 1024;

// A machine's /proc and /sys below a temporary folder, with 1000 MiB available.
class FakeMachine {
 public:
  FakeMachine() { put("proc/meminfo", "MemTotal: 4096000 kB\nMemAvailable: 1024000 kB\n"); }
  void put(const std::string& name, const std::string& text) {
    make_directories((folder_ / name).parent_path());
    write_file_atomic(folder_ / name, text);
  }
  int64_t available_mib() const { return internal::available_memory_bytes(folder_.path()) / kMiB; }

 private:
  test::TemporaryDirectory folder_;
};

TEST(Memory, PeakFollowsATouchedBlock) {
  const int64_t before = peak_rss_bytes();
  EXPECT_GT(current_rss_bytes(), 0);
  const size_t size = static_cast<size_t>(before) + 64 * kMiB;
  {
    const std::unique_ptr<char[]> block(new char[size]);
    std::memset(block.get(), 1, size);
    EXPECT_GE(current_rss_bytes(), before);
  }
  EXPECT_GE(peak_rss_bytes(), before + 64 * kMiB);
}

TEST(Memory, SomeMemoryIsAvailableHere) {
  EXPECT_GT(available_memory_bytes(), kMiB);
  EXPECT_LT(available_memory_bytes(), int64_t{1} << 50);
}

TEST(Memory, WithoutControlGroupsIsWhatTheMachineHas) {
  EXPECT_EQ(FakeMachine().available_mib(), 1000);
}

TEST(Memory, TakesTheTightestAncestorOfAVersion2Group) {
  FakeMachine machine;
  machine.put("proc/self/cgroup", "0::/user/job\n");
  machine.put("proc/self/mountinfo", "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw\n");
  machine.put("sys/fs/cgroup/user/memory.max", "524288000\n");                         // 500 MiB
  machine.put("sys/fs/cgroup/user/memory.current", "314572800\n");                     // 300 MiB
  machine.put("sys/fs/cgroup/user/memory.stat", "anon 1\ninactive_file 104857600\n");  // 100 MiB
  machine.put("sys/fs/cgroup/user/job/memory.max", "max\n");
  machine.put("sys/fs/cgroup/user/job/memory.current", "1\n");
  EXPECT_EQ(machine.available_mib(), 300);
}

TEST(Memory, ReadsAVersion1GroupMountedAtItsOwnRoot) {
  FakeMachine machine;
  machine.put("proc/self/cgroup", "5:cpu,cpuacct:/docker/abc\n4:memory:/docker/abc\n");
  machine.put("proc/self/mountinfo",
              "40 30 0:30 /docker/abc /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n");
  machine.put("sys/fs/cgroup/memory/memory.limit_in_bytes", "209715200\n");                    // 200 MiB
  machine.put("sys/fs/cgroup/memory/memory.usage_in_bytes", "104857600\n");                    // 100 MiB
  machine.put("sys/fs/cgroup/memory/memory.stat", "cache 1\ntotal_inactive_file 52428800\n");  // 50 MiB
  EXPECT_EQ(machine.available_mib(), 150);
}

TEST(Memory, IgnoresAnUnlimitedVersion1Group) {
  FakeMachine machine;
  machine.put("proc/self/cgroup", "4:memory:/\n");
  machine.put("proc/self/mountinfo", "40 30 0:30 / /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n");
  machine.put("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
  machine.put("sys/fs/cgroup/memory/memory.usage_in_bytes", "104857600\n");
  EXPECT_EQ(machine.available_mib(), 1000);
}

}  // namespace
}  // namespace longlora
