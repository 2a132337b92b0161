#include "longlora/core/foreign_content.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "longlora/core/error.h"
#include "longlora/core/json.h"
#include "tests/support/temporary_directory.h"

namespace longlora {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr const char* kPointer =
    "version https://git-lfs.github.com/spec/v1\noid "
    "sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24\n"
    "size 9976576152\n";

TEST(ForeignContent, IsNamedWithTheWayOut) {
  EXPECT_THAT(foreign_content(kPointer), AllOf(HasSubstr("Git LFS pointer"), HasSubstr("git lfs pull")));
  EXPECT_THAT(foreign_content("\xEF\xBB\xBF\n <!DOCTYPE HTML><html>"), HasSubstr("HTML page"));
  EXPECT_THAT(foreign_content("<HTML lang=en>"), HasSubstr("HTML page"));
  EXPECT_THAT(foreign_content("<?xml version=\"1.0\"?><Error><Code>AccessDenied</Code></Error>"),
              HasSubstr("XML"));
  EXPECT_THAT(foreign_content("Entry not found"), HasSubstr("\"Entry not found\""));
  EXPECT_THAT(foreign_content(""), HasSubstr("empty file"));
  EXPECT_THAT(foreign_content(" \n"), HasSubstr("white space"));
  EXPECT_THAT(foreign_content(std::string("GGUF\x03\0\0\0", 8)), HasSubstr("GGUF"));
  EXPECT_THAT(foreign_content("\x89HDF\r\n\x1a\n"), HasSubstr("HDF5"));
}

TEST(ForeignContent, IsNothingOfWhatIsMeant) {
  EXPECT_EQ(foreign_content("{\"model_type\": \"llama\"}"), "");
  EXPECT_EQ(foreign_content(std::string("\x10\0\0\0\0\0\0\0{}              ", 24)), "");
  EXPECT_EQ(foreign_content("PK\x03\x04"), "");
}

TEST(ForeignContent, IsSaidInPlaceOfASyntaxError) {
  test::TemporaryDirectory folder;
  write_file_atomic(folder / "config.json", kPointer);
  EXPECT_THAT(test::message_of<InputError>([&] { read_json(folder / "config.json"); }),
              AllOf(HasSubstr("config.json] expected JSON, got a Git LFS pointer")));
  write_file_atomic(folder / "config.json", "");
  EXPECT_THAT(test::message_of<InputError>([&] { read_json(folder / "config.json"); }),
              HasSubstr("got an empty file"));
}

}  // namespace
}  // namespace longlora
