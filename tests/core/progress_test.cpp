#include "longlora/core/progress.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

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

}  // namespace
}  // namespace longlora
