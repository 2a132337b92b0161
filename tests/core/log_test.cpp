#include "longlora/core/log.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <thread>
#include <vector>

#include "longlora/core/log_sink.h"
#include "longlora/core/progress.h"

namespace longlora {
namespace {

using ::testing::ElementsAre;
using ::testing::StartsWith;

// Keeps what it is told, each message with the first letter of its level.
class Recorder : public LogSink {
 public:
  void write(LogLevel level, std::string_view message) override {
    const char letter = "iwe"[static_cast<int>(level)];
    lines.push_back(std::string(1, letter) + " " + std::string(message));
  }
  std::vector<std::string> lines;
};

TEST(Log, MarksWarningsAndErrors) {
  testing::internal::CaptureStderr();
  log_info("a");
  log_warning("b");
  log_error("c");
  EXPECT_EQ(testing::internal::GetCapturedStderr(), "a\nwarning: b\nerror: c\n");
}

TEST(LogSink, TakesWhatItsThreadSaysInItsScope) {
  Recorder outer, inner;
  testing::internal::CaptureStderr();
  {
    const ScopedLogSink scope(outer);
    log_info("a");
    {
      const ScopedLogSink nested(inner);
      log_error("b");
      Progress progress("reading", 2, "files");
      progress.update(2);
      progress.finish();
    }
    log_warning("c");
    std::thread([] { log_info("of another thread"); }).join();
  }
  log_info("d");
  EXPECT_THAT(outer.lines, ElementsAre("i a", "w c"));
  EXPECT_THAT(inner.lines, ElementsAre("e b", StartsWith("i reading: 2 files in ")));
  EXPECT_EQ(testing::internal::GetCapturedStderr(), "of another thread\nd\n");
}

TEST(LogSink, HearsAWarningOnceEach) {
  Recorder first, second;
  for (Recorder* recorder : {&first, &first, &second}) {
    const ScopedLogSink scope(*recorder);
    log_warning_once("a");
  }
  EXPECT_THAT(first.lines, ElementsAre("w a"));
  EXPECT_THAT(second.lines, ElementsAre("w a"));
}

}  // namespace
}  // namespace longlora
