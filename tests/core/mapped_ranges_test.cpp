#include "longlora/core/mapped_ranges.h"

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <csignal>

#include "longlora/core/file.h"
#include "tests/support/temporary_directory.h"

namespace longlora {
namespace {

constexpr size_t kBytes = 1 << 20;

// Reads the last byte so that no compiler leaves it out.
void touch(const void* begin) {
  static_cast<void>(*(static_cast<const volatile char*>(begin) + kBytes - 1));
}

void cut_short_and_read(const std::filesystem::path& path) {
  end_on_failed_mappings();
  const MappedFile file(path);
  if (::truncate(path.c_str(), 100) != 0) return;
  touch(file.bytes().data());
}

TEST(FailedMappingDeathTest, OfAFileThatWasCutShortNamesTheFile) {
  const test::TemporaryDirectory folder;
  write_file_atomic(folder / "model.safetensors", std::string(kBytes, 'x'));
  EXPECT_EXIT(cut_short_and_read(folder / "model.safetensors"), ::testing::ExitedWithCode(3),
              "error: .*model.safetensors. expected a file that stays as it is while it is read");
}

void fail_scratch(const std::filesystem::path& path, bool forgotten) {
  end_on_failed_mappings();
  const MappedFile file(path);  // whose pages stand for those of a scratch file
  forget_mapping(file.bytes().data());
  remember_mapping(file.bytes().data(), kBytes, MappedKind::kScratch, "/scratch");
  if (forgotten) forget_mapping(file.bytes().data());
  if (::truncate(path.c_str(), 100) != 0) return;
  touch(file.bytes().data());
}

TEST(FailedMappingDeathTest, OfTrainingStateNamesTheFolder) {
  const test::TemporaryDirectory folder;
  write_file_atomic(folder / "x", std::string(kBytes, 'x'));
  EXPECT_EXIT(fail_scratch(folder / "x", false), ::testing::ExitedWithCode(4),
              "error: ./scratch. expected the disk to hold the training state");
}

TEST(FailedMappingDeathTest, ThatIsNotRememberedEndsAsBefore) {
  const test::TemporaryDirectory folder;
  write_file_atomic(folder / "x", std::string(kBytes, 'x'));
  EXPECT_EXIT(fail_scratch(folder / "x", true), ::testing::KilledBySignal(SIGBUS), "");
}

}  // namespace
}  // namespace longlora
