#include "longlora/data/run_parallel.h"

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <unistd.h>

#include <atomic>
#include <stdexcept>

namespace longlora::data {
namespace {

TEST(RunParallel, DoesEverythingOnceWithAnyNumberOfThreads) {
  for (const int num_threads : {-1, 0, 1, 3, 50}) {
    std::vector<int> done(20);
    run_parallel(done.size(), num_threads, [&](size_t i) { ++done[i]; });
    EXPECT_EQ(done, std::vector<int>(20, 1)) << num_threads;
  }
  run_parallel(0, 4, [](size_t) { FAIL(); });
}

TEST(RunParallel, ThrowsTheErrorOfItsWork) {
  const auto work = [](size_t i) {
    if (i == 7) throw std::runtime_error("seven");
  };
  EXPECT_THROW(run_parallel(20, 3, work), std::runtime_error);
}

TEST(RunParallel, DoesWithTheThreadsThatAreToBeHad) {
#ifdef __SANITIZE_ADDRESS__
  GTEST_SKIP() << "the sanitizer itself needs memory";
#endif
  // Where no memory for a thread's stack is left, none starts.
  const auto run = [] {
    rlimit limit{};
    getrlimit(RLIMIT_AS, &limit);
    limit.rlim_cur = 1;
    setrlimit(RLIMIT_AS, &limit);
    std::atomic<int> sum = 0;
    run_parallel(10, 4, [&](size_t i) { sum += static_cast<int>(i); });
    _exit(sum == 45 ? 0 : 1);
  };
  EXPECT_EXIT(run(), testing::ExitedWithCode(0), "");
}

}  // namespace
}  // namespace longlora::data
