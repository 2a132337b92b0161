#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <string>

#include "longlora/core/error.h"
#include "longlora/core/file.h"
#include "longlora/core/file_internal.h"
#include "tests/support/temporary_directory.h"

namespace longlora {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

void publish(const std::filesystem::path& path, const std::string& content) {
  DirectoryTransaction transaction(path);
  make_directories(transaction.staging() / "nested");
  write_file_atomic(transaction.staging() / "nested" / "x", content);
  transaction.commit();
}

TEST(DirectoryTransaction, PublishesNestedFoldersAtOnce) {
  const test::TemporaryDirectory folder;
  DirectoryTransaction transaction(folder / "out");
  make_directories(transaction.staging() / "nested");
  write_file_atomic(transaction.staging() / "nested" / "x", "1");
  EXPECT_THROW(list_directory(folder / "out"), InputError);
  EXPECT_EQ(transaction.staging().filename().string().front(), '.');
  EXPECT_EQ(transaction.staging().parent_path(), folder.path());
  transaction.commit();
  EXPECT_EQ(read_file(folder / "out/nested/x"), "1");
  EXPECT_THAT(folder.names(), ElementsAre("out"));
}

TEST(DirectoryTransaction, LeavesNothingWithoutCommit) {
  const test::TemporaryDirectory folder;
  {
    const DirectoryTransaction transaction(folder / "out");
    write_file_atomic(transaction.staging() / "x", "1");
  }
  EXPECT_THAT(folder.names(), IsEmpty());
}

TEST(DirectoryTransaction, ReplacesAFolderAndItsOldFiles) {
  const test::TemporaryDirectory folder;
  make_directories(folder / "out");
  write_file_atomic(folder / "out/old", "0");
  publish(folder / "out/", "1");
  EXPECT_EQ(read_file(folder / "out/nested/x"), "1");
  EXPECT_THAT(list_directory(folder / "out"), SizeIs(1));
  EXPECT_THAT(folder.names(), ElementsAre("out"));
}

TEST(DirectoryTransaction, ReplacesWhereTheFileSystemCannotExchange) {
  const test::TemporaryDirectory folder;
  publish(folder / "out", "0");
  make_directories(folder / "new");
  write_file_atomic(folder / "new/x", "1");
  internal::publish_directory(folder / "new", folder / "out", internal::Replacement::kRenameAside);
  EXPECT_EQ(read_file(folder / "out/x"), "1");
  EXPECT_THAT(folder.names(), ElementsAre("out"));
}

TEST(DirectoryTransaction, PutsTheOldFolderBackWhenTheNewOneCannotTakeItsPlace) {
  const test::TemporaryDirectory folder;
  publish(folder / "out", "0");
  EXPECT_THROW(
      internal::publish_directory(folder / "missing", folder / "out", internal::Replacement::kRenameAside),
      ResourceError);
  EXPECT_EQ(read_file(folder / "out/nested/x"), "0");
  EXPECT_THAT(folder.names(), ElementsAre("out"));
}

TEST(DirectoryTransaction, RestoresAFolderThatAKilledReplacementHadRenamedAside) {
  const test::TemporaryDirectory folder;
  publish(folder / "out", "0");
  ASSERT_EQ(::rename((folder / "out").c_str(), (folder / ".out.replaced-1-0").c_str()), 0);
  const DirectoryTransaction transaction(folder / "out");
  EXPECT_EQ(read_file(folder / "out/nested/x"), "0");
}

TEST(DirectoryTransaction, RemovesTheAsideCopyWhenTheReplacementHadHappened) {
  const test::TemporaryDirectory folder;
  publish(folder / "out", "1");
  publish(folder / ".out.replaced-1-0", "0");
  repair_directory(folder / "out");
  EXPECT_EQ(read_file(folder / "out/nested/x"), "1");
  EXPECT_THAT(folder.names(), ElementsAre("out"));
}

TEST(DirectoryTransaction, RemovesTheStagingFolderOfAKilledProcess) {
  const test::TemporaryDirectory folder;
  const pid_t child = ::fork();
  if (child == 0) {
    const DirectoryTransaction transaction(folder / "out");
    write_file_atomic(transaction.staging() / "x", "half");
    ::_exit(::raise(SIGKILL));
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  ASSERT_TRUE(WIFSIGNALED(status));
  ASSERT_THAT(folder.names(), SizeIs(1));
  publish(folder / "out", "1");
  EXPECT_THAT(folder.names(), ElementsAre("out"));
}

TEST(DirectoryTransaction, LeavesTheStagingFolderOfALiveProcessAlone) {
  const test::TemporaryDirectory folder;
  DirectoryTransaction first(folder / "out");
  write_file_atomic(first.staging() / "x", "1");
  { const DirectoryTransaction second(folder / "out"); }
  first.commit();
  EXPECT_EQ(read_file(folder / "out/x"), "1");
}

TEST(DirectoryTransaction, DoesNotTouchNeighboursWithLongerNames) {
  const test::TemporaryDirectory folder;
  DirectoryTransaction neighbour(folder / "out-2");
  make_directories(folder / ".out2.staging-1-0");
  publish(folder / "out", "1");
  EXPECT_THAT(folder.names(),
              ElementsAre(neighbour.staging().filename().string(), ".out2.staging-1-0", "out"));
}

TEST(DirectoryTransaction, ReplacesWhatALinkPointsTo) {
  const test::TemporaryDirectory folder;
  make_directories(folder / "real");
  ASSERT_EQ(::symlink("real", (folder / "link").c_str()), 0);
  publish(folder / "link", "1");
  EXPECT_EQ(read_file(folder / "real/nested/x"), "1");
  EXPECT_THAT(folder.names(), ElementsAre("link", "real"));
}

TEST(DirectoryTransaction, RefusesAFileInThePlaceOfTheFolder) {
  const test::TemporaryDirectory folder;
  write_file_atomic(folder / "out", "x");
  EXPECT_THAT(test::message_of<ResourceError>([&] { DirectoryTransaction(folder / "out"); }),
              HasSubstr("Not a directory"));
  EXPECT_EQ(read_file(folder / "out"), "x");
}

TEST(DirectoryTransaction, EndsWithAnErrorWhereItsNewFolderCannotBeOpened) {
  const test::TemporaryDirectory folder;
  rlimit before;
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &before), 0);
  const rlimit none = {0, before.rlim_max};
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &none), 0);
  const std::string message =
      test::message_of<ResourceError>([&] { DirectoryTransaction transaction(folder / "out"); });
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &before), 0);
  EXPECT_THAT(message, HasSubstr("Too many open files"));
  EXPECT_THAT(folder.names(), IsEmpty());
}

TEST(DirectoryTransaction, CreatesMissingParents) {
  const test::TemporaryDirectory folder;
  publish(folder / "a/b/out", "1");
  EXPECT_EQ(read_file(folder / "a/b/out/nested/x"), "1");
}

}  // namespace
}  // namespace longlora
