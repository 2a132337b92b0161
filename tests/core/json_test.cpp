#include "longlora/core/json.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "longlora/core/error.h"
#include "tests/support/temporary_directory.h"

namespace longlora {
namespace {

using ::testing::HasSubstr;

TEST(Json, KeepsTheOrderOfKeysOnTheWayThroughAFile) {
  const test::TemporaryDirectory folder;
  Json value;
  value["zebra"] = 1;
  value["ant"] = {1.5, "é", nullptr};
  write_json(folder / "x.json", value);
  EXPECT_EQ(read_file(folder / "x.json"),
            "{\n  \"zebra\": 1,\n  \"ant\": [\n    1.5,\n    \"é\",\n    null\n  ]\n}\n");
  EXPECT_EQ(read_json(folder / "x.json"), value);
}

TEST(Json, RefusesNestingThatWouldExhaustTheStack) {
  EXPECT_THAT(test::message_of<InputError>([] { parse_json(std::string(1000000, '['), "deep.json"); }),
              HasSubstr("[deep.json] expected JSON nested at most 512 deep"));
  const std::string brackets_in_text = "\"" + std::string(1000, '[') + "\\\"[\"";
  EXPECT_EQ(parse_json(brackets_in_text, "text.json").get<std::string>().size(), 1002u);
}

TEST(Json, NamesFileAndByteOfASyntaxError) {
  const test::TemporaryDirectory folder;
  write_file_atomic(folder / "x.json", "{\"a\": 1,}");
  const std::string message = test::message_of<InputError>([&] { read_json(folder / "x.json"); });
  EXPECT_THAT(message, HasSubstr((folder / "x.json").string()));
  EXPECT_THAT(message, HasSubstr("at byte 9 of 9"));
}

TEST(Json, RefusesNumbersThatNoDoubleHolds) {
  EXPECT_THAT(test::message_of<InputError>([] { parse_json("[1e999]", "big.json"); }),
              HasSubstr("[big.json]"));
}

TEST(Json, WritesStrayBytesAsReplacementCharacters) {
  const test::TemporaryDirectory folder;
  write_json(folder / "x.json", Json{{"path", "a\xff"}});
  EXPECT_EQ(read_json(folder / "x.json")["path"], "a\uFFFD");
}

}  // namespace
}  // namespace longlora
