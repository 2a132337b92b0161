#include "longlora/core/file.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>
#include <string>

#include "longlora/core/error.h"
#include "tests/support/temporary_directory.h"

namespace longlora {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

// Lowers the size a file may reach, as a full disk would, until it goes out of scope.
class FileSizeLimit {
 public:
  explicit FileSizeLimit(rlim_t num_bytes) {
    ::getrlimit(RLIMIT_FSIZE, &before_);
    rlimit limit = before_;
    limit.rlim_cur = num_bytes;
    ::setrlimit(RLIMIT_FSIZE, &limit);
    handler_ = ::signal(SIGXFSZ, SIG_IGN);
  }
  ~FileSizeLimit() {
    ::setrlimit(RLIMIT_FSIZE, &before_);
    ::signal(SIGXFSZ, handler_);
  }

 private:
  rlimit before_;
  sighandler_t handler_;
};

TEST(ReadFile, GivesEveryByte) {
  const test::TemporaryDirectory folder;
  const std::string bytes("a\0b\r\n\xff", 6);
  write_file_atomic(folder / "x", bytes);
  EXPECT_EQ(read_file(folder / "x"), bytes);
  write_file_atomic(folder / "empty", "");
  EXPECT_EQ(read_file(folder / "empty"), "");
}

TEST(ReadFile, NamesAMissingFileAndTheCause) {
  const std::string message = test::message_of<InputError>([] { read_file("/nowhere/x.json"); });
  EXPECT_THAT(message, HasSubstr("[/nowhere/x.json] expected a readable file"));
  EXPECT_THAT(message, HasSubstr("No such file or directory"));
}

TEST(ReadFile, RefusesAFolder) {
  const test::TemporaryDirectory folder;
  EXPECT_THAT(test::message_of<InputError>([&] { read_file(folder.path()); }), HasSubstr("got a folder"));
}

TEST(ReadFile, ReadsFilesThatStateNoSize) {
  EXPECT_FALSE(read_file("/proc/self/status").empty());
}

TEST(MappedFile, RefusesAPipeWithoutWaitingForIt) {
  const test::TemporaryDirectory folder;
  ASSERT_EQ(::mkfifo((folder / "pipe").c_str(), 0600), 0);
  EXPECT_THAT(test::message_of<InputError>([&] { MappedFile(folder / "pipe"); }),
              HasSubstr("device or pipe"));
}

TEST(MappedFile, ShowsTheBytesAndMoves) {
  const test::TemporaryDirectory folder;
  write_file_atomic(folder / "x", "hello");
  MappedFile first(folder / "x");
  MappedFile second(std::move(first));
  EXPECT_EQ(second.text(), "hello");
  EXPECT_EQ(first.text(), "");  // NOLINT(bugprone-use-after-move): empty, as it promises
  write_file_atomic(folder / "y", "");
  MappedFile empty(folder / "y");
  EXPECT_EQ(empty.bytes().size(), 0u);
  empty = std::move(second);
  EXPECT_EQ(empty.text(), "hello");
}

TEST(AtomicFileWriter, ShowsNothingBeforeCommit) {
  const test::TemporaryDirectory folder;
  write_file_atomic(folder / "x", "old");
  AtomicFileWriter writer(folder / "x");
  writer.write("new", 3);
  EXPECT_EQ(read_file(folder / "x"), "old");
  writer.commit();
  EXPECT_EQ(read_file(folder / "x"), "new");
  EXPECT_THAT(folder.names(), ElementsAre("x"));
}

TEST(AtomicFileWriter, LeavesNothingWithoutCommit) {
  const test::TemporaryDirectory folder;
  {
    AtomicFileWriter writer(folder / "x");
    writer.write("new", 3);
  }
  EXPECT_THAT(folder.names(), IsEmpty());
}

TEST(AtomicFileWriter, KeepsTheOldFileWhenTheDiskIsFull) {
  const test::TemporaryDirectory folder;
  write_file_atomic(folder / "x", "old");
  const std::string big(100'000, 'x');
  std::string message;
  {
    const FileSizeLimit limit(4096);
    message = test::message_of<ResourceError>([&] { write_file_atomic(folder / "x", big); });
  }
  EXPECT_THAT(message, HasSubstr((folder / "x").string()));
  EXPECT_THAT(message, HasSubstr("File too large"));
  EXPECT_EQ(read_file(folder / "x"), "old");
  EXPECT_THAT(folder.names(), ElementsAre("x"));
}

TEST(AtomicFileWriter, SaysWhatToDoAboutAFullDevice) {
  const std::string message = test::message_of<ResourceError>([] { write_file_atomic("/dev/full", "x"); });
  EXPECT_THAT(message, HasSubstr("[/dev/full]"));
  EXPECT_THAT(message, HasSubstr("No space left on device; free space"));
}

TEST(AtomicFileWriter, WritesToADeviceInsteadOfReplacingIt) {
  write_file_atomic("/dev/null", "x");
  struct stat info;
  ASSERT_EQ(::stat("/dev/null", &info), 0);
  EXPECT_TRUE(S_ISCHR(info.st_mode));
}

TEST(AtomicFileWriter, NamesAMissingFolder) {
  const std::string message = test::message_of<ResourceError>([] { write_file_atomic("/nowhere/x", "x"); });
  EXPECT_THAT(message, HasSubstr("[/nowhere/x]"));
  EXPECT_THAT(message, HasSubstr("create the folder first"));
}

TEST(AtomicFileWriter, RefusesToReplaceAFolder) {
  const test::TemporaryDirectory folder;
  EXPECT_THAT(test::message_of<ResourceError>([&] { write_file_atomic(folder.path(), "x"); }),
              HasSubstr("Is a directory"));
}

TEST(AtomicFileWriter, FollowsALink) {
  const test::TemporaryDirectory folder;
  write_file_atomic(folder / "real", "old");
  ASSERT_EQ(::symlink("real", (folder / "link").c_str()), 0);
  write_file_atomic(folder / "link", "new");
  EXPECT_EQ(read_file(folder / "real"), "new");
  struct stat info;
  ASSERT_EQ(::lstat((folder / "link").c_str(), &info), 0);
  EXPECT_TRUE(S_ISLNK(info.st_mode));
}

TEST(AtomicFileWriter, AddsToAStreamInsteadOfReplacingTheFileBehindIt) {
  const test::TemporaryDirectory folder;
  write_file_atomic(folder / "log", "one\n");
  const int stream = ::open((folder / "log").c_str(), O_WRONLY | O_APPEND);
  ASSERT_EQ(::symlink("/dev/fd", (folder / "streams").c_str()), 0);
  const std::string linked = folder / "streams/";
  for (const std::string& place : {std::string("/dev/fd/"), std::string("/proc/self/fd/"), linked})
    write_file_atomic(place + std::to_string(stream), "more\n");
  EXPECT_EQ(::write(stream, "end\n", 4), 4);
  ::close(stream);
  EXPECT_EQ(read_file(folder / "log"), "one\nmore\nmore\nmore\nend\n");
  EXPECT_EQ(folder.names().size(), 2u);
}

TEST(AtomicFileWriter, WritesToAPipeBehindAStream) {
  int ends[2];
  ASSERT_EQ(::pipe(ends), 0);
  write_file_atomic("/dev/fd/" + std::to_string(ends[1]), "text");
  char text[8] = {};
  EXPECT_EQ(::read(ends[0], text, sizeof(text)), 4);
  EXPECT_STREQ(text, "text");
  EXPECT_THROW(write_file_atomic("/dev/fd/" + std::to_string(ends[0]), "text"), ResourceError);
  ::close(ends[0]);
  ::close(ends[1]);
}

TEST(AtomicFileWriter, RemovesWhatAKilledWriterLeft) {
  const test::TemporaryDirectory folder;
  const pid_t child = ::fork();
  if (child == 0) {
    AtomicFileWriter writer(folder / "x");
    writer.write("half", 4);
    ::_exit(::raise(SIGKILL));
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  ASSERT_TRUE(WIFSIGNALED(status));
  ASSERT_EQ(folder.names().size(), 1u);
  write_file_atomic(folder / "x", "whole");
  EXPECT_THAT(folder.names(), ElementsAre("x"));
}

TEST(AtomicFileWriter, LeavesALiveWriterOfTheSameFileAlone) {
  const test::TemporaryDirectory folder;
  AtomicFileWriter first(folder / "x");
  first.write("first", 5);
  write_file_atomic(folder / "x", "second");
  first.commit();
  EXPECT_EQ(read_file(folder / "x"), "first");
}

TEST(ListDirectory, SortsByBytesAndShowsHiddenNames) {
  const test::TemporaryDirectory folder;
  for (const char* name : {"b", "a", "B", ".c", "a10", "a9"}) write_file_atomic(folder / name, "");
  EXPECT_THAT(folder.names(), ElementsAre(".c", "B", "a", "a10", "a9", "b"));
}

TEST(ListDirectory, NamesAMissingFolder) {
  EXPECT_THAT(test::message_of<InputError>([] { list_directory("/nowhere"); }),
              HasSubstr("[/nowhere] expected a readable folder"));
}

TEST(MakeDirectories, CreatesParentsAndAcceptsExistingOnes) {
  const test::TemporaryDirectory folder;
  make_directories(folder / "a/b/c/");
  make_directories(folder / "a/b");
  struct stat info;
  ASSERT_EQ(::stat((folder / "a/b/c").c_str(), &info), 0);
  EXPECT_TRUE(S_ISDIR(info.st_mode));
}

TEST(MakeDirectories, RefusesAFileInTheWay) {
  const test::TemporaryDirectory folder;
  write_file_atomic(folder / "a", "");
  EXPECT_THAT(test::message_of<ResourceError>([&] { make_directories(folder / "a/b"); }),
              HasSubstr("got a file"));
}

TEST(Sha256, EqualsThePublishedValues) {  // FIPS 180-2, appendix B
  EXPECT_EQ(sha256_hex("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(sha256_hex(""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
}

}  // namespace
}  // namespace longlora
