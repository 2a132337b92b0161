#include "longlora/core/process.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>

namespace longlora {
namespace {

using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::Not;

// Runs commands of a shell, which the tests use to make a child do something.
ChildResult run_commands(const std::string& commands, const ChildLimits& limits = {},
                         const std::string& input = "") {
  return run_child({.words = {"sh", "-c", commands}, .input = input, .limits = limits});
}

TEST(Process, GetsItsInputAndReturnsWhatItWrites) {
  const std::string bytes = std::string(300000, 'x') + std::string("\0\n\xFF", 3);
  const ChildResult result = run_child({.words = {"cat"}, .input = bytes});
  EXPECT_TRUE(result.succeeded());
  EXPECT_EQ(result.exit_code, 0);
  EXPECT_EQ(result.output, bytes);
  EXPECT_EQ(result.messages, "");
}

TEST(Process, KeepsOutputAndMessagesApart) {
  const ChildResult result = run_commands("echo out; echo ' said ' >&2; exit 3");
  EXPECT_FALSE(result.succeeded());
  EXPECT_EQ(result.exit_code, 3);
  EXPECT_EQ(result.signal, 0);
  EXPECT_EQ(result.output, "out\n");
  EXPECT_EQ(result.messages, "said");
  EXPECT_EQ(result.describe_end(), "exit code 3");
}

TEST(Process, KeepsTheEndOfLongMessages) {
  const ChildResult result =
      run_commands("i=0; while [ $i -lt 9000 ]; do echo 'line number' $i; i=$((i+1)); done >&2");
  EXPECT_LE(result.messages.size(), ChildResult::kMaxMessageBytes);
  EXPECT_GE(result.messages.size(), ChildResult::kMaxMessageBytes - 2) << "space at the ends is trimmed";
  EXPECT_THAT(result.messages, EndsWith("line number 8999"));
}

TEST(Process, PassesWordsOnAsTheyAre) {
  const ChildResult result = run_child({.words = {"printf", "%s|", "a b", "$HOME", "*", "'\"", ""}});
  EXPECT_EQ(result.output, "a b|$HOME|*|'\"||");
}

TEST(Process, TellsThatAProgramIsMissing) {
  const ChildResult result = run_child({.words = {"/nowhere/program"}});
  EXPECT_EQ(result.start_error, ENOENT);
  EXPECT_FALSE(result.succeeded());
  EXPECT_EQ(result.describe_end(), "No such file or directory");
}

TEST(Process, TellsTheSignalThatEndedIt) {
  const ChildResult result = run_commands("kill -TERM $$");
  EXPECT_EQ(result.exit_code, -1);
  EXPECT_EQ(result.signal, SIGTERM);
  EXPECT_EQ(result.describe_end(), "signal 15 (Terminated)");
}

TEST(Process, IsKilledWhenItsTimeIsOver) {
  const ChildResult result =
      run_child({.words = {"sleep", "600"}, .limits = {.wall_time = std::chrono::milliseconds(50)}});
  EXPECT_TRUE(result.timed_out);
  EXPECT_EQ(result.signal, SIGKILL);
  EXPECT_FALSE(result.succeeded());
  EXPECT_EQ(result.describe_end(), "no end within its time");
}

TEST(Process, IsNotKilledWithinItsTime) {
  const ChildResult result = run_commands("echo done", {.wall_time = std::chrono::minutes(10)});
  EXPECT_FALSE(result.timed_out);
  EXPECT_EQ(result.output, "done\n");
}

TEST(Process, MayNotTakeMoreMemory) {
  const std::string grow = "x=aaaaaaaa; i=0; while [ $i -lt 27 ]; do x=$x$x; i=$((i+1)); done; echo grown";
  const ChildResult result = run_commands(grow, {.memory_bytes = int64_t{128} << 20});
  EXPECT_FALSE(result.succeeded());
  EXPECT_THAT(result.output, Not(HasSubstr("grown")));
}

TEST(Process, MayNotTakeMoreProcessorTime) {
  const ChildResult result = run_commands("while :; do :; done", {.cpu_seconds = 1});
  EXPECT_THAT(result.signal, testing::AnyOf(SIGXCPU, SIGKILL));
  EXPECT_FALSE(result.timed_out);
}

TEST(Process, MayNotWriteMore) {
  const ChildResult result =
      run_child({.words = {"dd", "if=/dev/zero", "bs=4096", "count=1000"}, .limits = {.output_bytes = 8192}});
  EXPECT_FALSE(result.succeeded());
  EXPECT_LE(result.output.size(), 8192u);
}

TEST(Process, IsUnderItsLimitsFromItsFirstInstruction) {
  const ChildLimits limits = {.memory_bytes = int64_t{1} << 30, .cpu_seconds = 7, .output_bytes = 8192};
  for (int run = 0; run < 50; ++run) {
    const ChildResult result = run_commands("ulimit -v; ulimit -t; ulimit -f", limits);
    ASSERT_EQ(result.output, "1048576\n7\n16\n");
  }
}

TEST(Process, DoesNotSucceedWhereItsLimitsLeaveNoRoomToStart) {
  EXPECT_FALSE(run_child({.words = {"true"}, .limits = {.memory_bytes = 1}}).succeeded());
}

TEST(Process, InheritsNoDescriptorButTheStandardOnes) {
  const int open_here = ::open("/dev/null", O_RDONLY);  // without O_CLOEXEC
  ASSERT_GE(open_here, 3);
  const ChildResult result = run_commands("ls /proc/self/fd");
  ::close(open_here);
  EXPECT_EQ(result.output, "0\n1\n2\n3\n") << "3 is the folder that ls reads";
}

TEST(Process, InheritsNoBlockedSignal) {
  sigset_t blocked, before;
  sigemptyset(&blocked);
  sigaddset(&blocked, SIGTERM);
  pthread_sigmask(SIG_BLOCK, &blocked, &before);
  const ChildResult result = run_commands("kill -TERM $$; echo alive");
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  EXPECT_EQ(result.signal, SIGTERM);
  EXPECT_EQ(result.output, "");
}

}  // namespace
}  // namespace longlora
