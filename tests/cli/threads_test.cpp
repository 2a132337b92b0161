// The program's threads: how they wait, and how many there are. libgomp tells both with OMP_DISPLAY_ENV.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>

#include "tests/cli/process.h"

namespace longlora::test {
namespace {

using ::testing::HasSubstr;

// What libgomp was told, as it prints it to standard error when it is loaded.
std::string libgomp_settings(std::map<std::string, std::string> environment) {
  ::unsetenv("OMP_WAIT_POLICY");  // what these tests themselves may have been started with
  environment["OMP_DISPLAY_ENV"] = "true";
  return expect_exit(0, {"--version"}, {.environment = environment}).err;
}

TEST(Threads, SleepWhileTheyWait) {
  EXPECT_THAT(libgomp_settings({}), HasSubstr("OMP_WAIT_POLICY = 'PASSIVE'"));
}

TEST(Threads, WaitAsTheUserSays) {
  EXPECT_THAT(libgomp_settings({{"OMP_WAIT_POLICY", "active"}}), HasSubstr("OMP_WAIT_POLICY = 'ACTIVE'"));
}

}  // namespace
}  // namespace longlora::test
