#include "longlora/core/progress.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "longlora/core/log.h"

namespace longlora {
namespace {

using ::testing::MatchesRegex;

TEST(Progress, EndsWithOneLineThatStatesTheTotal) {
  testing::internal::CaptureStderr();
  {
    Progress progress("tokenizing", 10, "files");
    progress.update(10, "loss 1.5");
    progress.finish();
  }
  const std::string text = testing::internal::GetCapturedStderr();
  EXPECT_THAT(text, MatchesRegex("tokenizing: 10 files in [^\n]*, loss 1.5\n"));
}

TEST(Log, MarksWarningsAndErrors) {
  testing::internal::CaptureStderr();
  log_info("a");
  log_warning("b");
  log_error("c");
  EXPECT_EQ(testing::internal::GetCapturedStderr(), "a\nwarning: b\nerror: c\n");
}

}  // namespace
}  // namespace longlora
