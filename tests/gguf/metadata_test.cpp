#include "longlora/gguf/metadata.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>

#include "longlora/core/error.h"
#include "longlora/gguf/gguf_file.h"
#include "tests/support/gguf_bytes.h"
#include "tests/support/temporary_directory.h"

namespace longlora::gguf {
namespace {

using test::GgufBytes;
using test::message_of;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

// What stays in memory while the metadata is read.
struct File {
  std::string bytes;
  Metadata metadata;

  explicit File(const GgufBytes& file)
      : bytes(file.bytes()), metadata(parse_gguf(bytes, "x.gguf").metadata) {}
};

TEST(Metadata, ReadsWholeNumbersOfEveryWidth) {
  GgufBytes file = GgufBytes::file(0, 8);
  file.key("u8", ValueType::kUint8).number(uint8_t{200});
  file.key("i8", ValueType::kInt8).number(int8_t{-3});
  file.key("u16", ValueType::kUint16).number(uint16_t{60000});
  file.key("i16", ValueType::kInt16).number(int16_t{-30000});
  file.key("u32", ValueType::kUint32).number(uint32_t{4000000000});
  file.key("i32", ValueType::kInt32).number(int32_t{-5});
  file.key("u64", ValueType::kUint64).number(uint64_t{1} << 40);
  file.key("i64", ValueType::kInt64).number(int64_t{-6});
  const File read(file);
  EXPECT_EQ(read.metadata.integer("u8"), 200);
  EXPECT_EQ(read.metadata.integer("i8"), -3);
  EXPECT_EQ(read.metadata.integer("u16"), 60000);
  EXPECT_EQ(read.metadata.integer("i16"), -30000);
  EXPECT_EQ(read.metadata.integer("u32"), 4000000000);
  EXPECT_EQ(read.metadata.integer("i32"), -5);
  EXPECT_EQ(read.metadata.integer("u64"), int64_t{1} << 40);
  EXPECT_EQ(read.metadata.integer("i64"), -6);
  EXPECT_EQ(read.metadata.number("i8"), -3.0);
  EXPECT_FALSE(read.metadata.integer("none"));
}

TEST(Metadata, ReadsFloat32AsTheShortestDecimalNumber) {
  GgufBytes file = GgufBytes::file(0, 2);
  file.value("epsilon", 1e-5F);
  file.key("double", ValueType::kFloat64).number(0.1);
  const File read(file);
  EXPECT_EQ(read.metadata.number("epsilon"), 1e-5);
  EXPECT_EQ(read.metadata.number("double"), 0.1);
}

TEST(Metadata, ReadsTextsFlagsAndLists) {
  GgufBytes file = GgufBytes::file(0, 4);
  file.value("text", "x").flag("flag", true).value("texts", std::vector<std::string>{"a", "", "bc"});
  file.value("numbers", std::vector<int32_t>{1, -2});
  const File read(file);
  EXPECT_EQ(read.metadata.text("text"), "x");
  EXPECT_EQ(read.metadata.flag("flag"), true);
  EXPECT_THAT(read.metadata.texts("texts"), ElementsAre("a", "", "bc"));
  EXPECT_THAT(read.metadata.integers("numbers"), ElementsAre(1, -2));
  EXPECT_THAT(read.metadata.numbers("numbers"), ElementsAre(1.0, -2.0));
  EXPECT_TRUE(read.metadata.texts("none").empty());
}

TEST(Metadata, NamesKeyAndTypeOfAnotherValue) {
  GgufBytes file = GgufBytes::file(0, 4);
  file.value("text", "x").value("number", 1U).value("list", std::vector<int32_t>{1});
  file.key("huge", ValueType::kUint64).number(std::numeric_limits<uint64_t>::max());
  const File read(file);
  const auto message = [&](auto ask) { return message_of<InputError>([&] { ask(read.metadata); }); };
  EXPECT_THAT(message([](const Metadata& m) { return m.integer("text"); }),
              AllOf(HasSubstr("x.gguf"), HasSubstr("text to be a whole number, got a text")));
  EXPECT_THAT(message([](const Metadata& m) { return m.text("number"); }), HasSubstr("a text, got a number"));
  EXPECT_THAT(message([](const Metadata& m) { return m.flag("number"); }), HasSubstr("true or false"));
  EXPECT_THAT(message([](const Metadata& m) { return m.number("list"); }), HasSubstr("a list of 1 values"));
  EXPECT_THAT(message([](const Metadata& m) { return m.texts("text"); }), HasSubstr("a list"));
  EXPECT_THAT(message([](const Metadata& m) { return m.texts("list"); }), HasSubstr("a list of texts"));
  EXPECT_THAT(message([](const Metadata& m) { return m.integer("huge"); }), HasSubstr("below 2^63"));
}

}  // namespace
}  // namespace longlora::gguf
