#include "longlora/core/processors.h"

#include <gtest/gtest.h>

#include "longlora/core/file.h"
#include "tests/support/temporary_directory.h"

namespace longlora {
namespace {

// A machine's /proc and /sys below a temporary folder, where the process may run on 16 processors.
class FakeMachine {
 public:
  void put(const std::string& name, const std::string& text) const {
    make_directories((folder_ / name).parent_path());
    write_file_atomic(folder_ / name, text);
  }
  int processors() const { return internal::available_processors(16, folder_.path()); }

 private:
  test::TemporaryDirectory folder_;
};

// Gives the machine one unified hierarchy, in which the process is in the group /pod/job.
void use_version_2(const FakeMachine& machine) {
  machine.put("proc/self/cgroup", "0::/pod/job\n");
  machine.put("proc/self/mountinfo", "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw\n");
}

TEST(Processors, SomeAreAvailableHere) {
  EXPECT_GE(available_processors(), 1);
}

TEST(Processors, WithoutControlGroupsAreThoseOfTheAffinity) {
  EXPECT_EQ(FakeMachine().processors(), 16);
}

TEST(Processors, AVersion2GroupAllowsItsQuotaRoundedUp) {
  FakeMachine machine;
  use_version_2(machine);
  machine.put("sys/fs/cgroup/pod/cpu.max", "250000 100000\n");
  machine.put("sys/fs/cgroup/pod/job/cpu.max", "max 100000\n");
  EXPECT_EQ(machine.processors(), 3);
}

TEST(Processors, AGroupOfMoreThanTheAffinityChangesNothing) {
  FakeMachine machine;
  use_version_2(machine);
  machine.put("sys/fs/cgroup/pod/job/cpu.max", "6400000 100000\n");
  EXPECT_EQ(machine.processors(), 16);
}

TEST(Processors, AVersion1GroupAllowsItsQuota) {
  FakeMachine machine;
  machine.put("proc/self/cgroup", "5:cpu,cpuacct:/docker/abc\n4:memory:/docker/abc\n");
  machine.put("proc/self/mountinfo",
              "40 30 0:30 /docker/abc /sys/fs/cgroup/cpu ro - cgroup cgroup rw,cpu,cpuacct\n");
  machine.put("sys/fs/cgroup/cpu/cpu.cfs_quota_us", "50000\n");
  machine.put("sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n");
  EXPECT_EQ(machine.processors(), 1);
  machine.put("sys/fs/cgroup/cpu/cpu.cfs_quota_us", "-1\n");
  EXPECT_EQ(machine.processors(), 16);
}

}  // namespace
}  // namespace longlora
