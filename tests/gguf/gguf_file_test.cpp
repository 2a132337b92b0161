// Tables of contents as programs write them, and as strangers may.
#include "longlora/gguf/gguf_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>

#include "longlora/core/error.h"
#include "tests/support/gguf_bytes.h"
#include "tests/support/temporary_directory.h"

namespace longlora::gguf {
namespace {

using test::GgufBytes;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr uint32_t kF32 = 0, kQ80 = 8;
constexpr uint64_t kHuge = std::numeric_limits<uint64_t>::max();

std::string message(const GgufBytes& file) {
  return test::message_of<InputError>([&] { parse_gguf(file.bytes(), "x.gguf"); });
}

GgufBytes one_tensor(const std::vector<uint64_t>& sizes, uint32_t type, uint64_t offset, size_t num_bytes) {
  GgufBytes file = GgufBytes::file(1, 0);
  file.tensor("a", sizes, type, offset).data(num_bytes);
  return file;
}

TEST(GgufFile, ReadsValuesAndPlacesOfTensors) {
  GgufBytes file = GgufBytes::file(2, 2);
  file.value("general.architecture", "llama").value("general.alignment", 64U);
  file.tensor("a", {32, 3}, kQ80, 0).tensor("b", {5}, kF32, 128).data(128 + 20, 64);
  const GgufFile parsed = parse_gguf(file.bytes(), "x.gguf");
  EXPECT_EQ(parsed.metadata.text("general.architecture"), "llama");
  ASSERT_EQ(parsed.tensors.size(), 2U);
  EXPECT_EQ(parsed.tensors[0].name, "a");
  EXPECT_EQ(parsed.tensors[0].type, BlockType::kQ8_0);
  EXPECT_THAT(parsed.tensors[0].shape, ElementsAre(3, 32));
  EXPECT_EQ(parsed.tensors[0].num_bytes, 3U * 34);
  EXPECT_EQ(parsed.tensors[0].offset_bytes % 64, 0U);
  EXPECT_EQ(parsed.tensors[1].offset_bytes, parsed.tensors[0].offset_bytes + 128);
}

TEST(GgufFile, ReadsTheSecondVersion) {
  EXPECT_TRUE(parse_gguf(GgufBytes::file(0, 0, 2).bytes(), "x.gguf").tensors.empty());
}

TEST(GgufFile, NamesOtherVersionsAndByteOrders) {
  EXPECT_THAT(message(GgufBytes::file(0, 0, 1)), AllOf(HasSubstr("x.gguf"), HasSubstr("version 1")));
  EXPECT_THAT(message(GgufBytes::file(0, 0, 4)), HasSubstr("version 4"));
  EXPECT_THAT(message(GgufBytes::file(0, 0, 3U << 24)), HasSubstr("big-endian"));
  GgufBytes other;
  other.raw("GGML").number(3U);
  EXPECT_THAT(message(other), HasSubstr("a GGUF file"));
}

TEST(GgufFile, NamesTypesThatAreNotRead) {
  EXPECT_THAT(message(one_tensor({256}, 16, 0, 66)), AllOf(HasSubstr("\"a\""), HasSubstr("IQ2_XXS")));
  EXPECT_THAT(message(one_tensor({256}, 34, 0, 54)), HasSubstr("TQ1_0"));
  EXPECT_THAT(message(one_tensor({256}, 24, 0, 256)), HasSubstr("I8"));
  EXPECT_THAT(message(one_tensor({256}, 4, 0, 256)), HasSubstr("Q4_2"));
  EXPECT_THAT(message(one_tensor({256}, 1000, 0, 256)), HasSubstr("type 1000"));
}

TEST(GgufFile, RefusesEveryPlaceWhereItEndsTooEarly) {
  GgufBytes file = GgufBytes::file(1, 3);
  file.value("a", "text").value("b", std::vector<std::string>{"x", "yz"}).value("c", 1.0F);
  file.tensor("t", {4}, kF32, 0).data(16);
  EXPECT_NO_THROW(parse_gguf(file.bytes(), "x.gguf"));
  for (size_t length = 0; length < file.bytes().size(); ++length)
    EXPECT_THROW(parse_gguf(std::string_view(file.bytes()).substr(0, length), "x.gguf"), InputError)
        << length;
}

TEST(GgufFile, RefusesCountsAndLengthsThatLeadOutOfTheFile) {
  EXPECT_THAT(message(GgufBytes::file(kHuge, 0)), HasSubstr("tensors"));
  EXPECT_THAT(message(GgufBytes::file(0, kHuge)), HasSubstr("values"));
  GgufBytes key = GgufBytes::file(0, 1);
  key.number(kHuge).raw("0123456789");
  EXPECT_THAT(message(key), HasSubstr("a key"));
  GgufBytes text = GgufBytes::file(0, 1);
  text.key("a", ValueType::kString).number(kHuge - 3).raw("0123456789");
  EXPECT_THAT(message(text), HasSubstr("a text"));
  for (const ValueType element :
       {ValueType::kUint8, ValueType::kUint64, ValueType::kString, ValueType::kArray}) {
    GgufBytes list = GgufBytes::file(0, 1);
    list.list("a", element, kHuge / 8).raw("0123456789");
    EXPECT_THAT(message(list), HasSubstr("elements of a list"));
  }
}

TEST(GgufFile, RefusesUnknownTypesOfValuesAndDeepLists) {
  GgufBytes unknown = GgufBytes::file(0, 1);
  unknown.key("a", static_cast<ValueType>(13)).number(uint64_t{0});
  EXPECT_THAT(message(unknown), AllOf(HasSubstr("\"a\""), HasSubstr("13")));
  GgufBytes deep = GgufBytes::file(0, 1);
  deep.list("a", ValueType::kArray, 1);
  for (int i = 0; i < 8; ++i) deep.number(uint32_t{9}).number(uint64_t{1});
  deep.number(uint32_t{0}).number(uint64_t{1}).number(uint8_t{0});
  EXPECT_THAT(message(deep), HasSubstr("nested"));
}

TEST(GgufFile, RefusesAKeyAndATensorTwice) {
  GgufBytes keys = GgufBytes::file(0, 2);
  keys.value("a", 1U).value("a", 2U);
  EXPECT_THAT(message(keys), HasSubstr("\"a\" twice"));
  GgufBytes tensors = GgufBytes::file(2, 0);
  tensors.tensor("t", {4}, kF32, 0).tensor("t", {4}, kF32, 32).data(64);
  EXPECT_THAT(message(tensors), HasSubstr("\"t\" twice"));
}

TEST(GgufFile, RefusesNamesThatAreNoText) {
  GgufBytes key = GgufBytes::file(0, 1);
  key.value("\xFF\xFE", 1U);
  EXPECT_THAT(message(key), HasSubstr("UTF-8"));
  GgufBytes empty = GgufBytes::file(1, 0);
  empty.tensor("", {4}, kF32, 0).data(16);
  EXPECT_THAT(message(empty), HasSubstr("the name of a tensor"));
}

TEST(GgufFile, RefusesShapesThatAreNone) {
  EXPECT_THAT(message(one_tensor({}, kF32, 0, 16)), HasSubstr("dimensions"));
  EXPECT_THAT(message(one_tensor({1, 1, 1, 1, 1}, kF32, 0, 16)), HasSubstr("dimensions"));
  EXPECT_THAT(message(one_tensor({4, 0}, kF32, 0, 16)), HasSubstr("positive sizes"));
  EXPECT_THAT(message(one_tensor({33}, kQ80, 0, 68)), HasSubstr("whole blocks of 32"));
  EXPECT_THAT(message(one_tensor({uint64_t{1} << 62, 4, 4, 4}, kF32, 0, 16)), HasSubstr("fits in memory"));
  EXPECT_THAT(message(one_tensor({kHuge}, kF32, 0, 16)), HasSubstr("positive sizes"));
}

TEST(GgufFile, RefusesDataOutsideTheFileUnalignedOrShared) {
  EXPECT_THAT(message(one_tensor({5}, kF32, 0, 16)), HasSubstr("inside the 16 bytes"));
  EXPECT_THAT(message(one_tensor({4}, kF32, 32, 16)), HasSubstr("inside"));
  EXPECT_THAT(message(one_tensor({4}, kF32, kHuge - 31, 16)), HasSubstr("inside"));
  EXPECT_THAT(message(one_tensor({4}, kF32, 8, 64)), HasSubstr("multiple of 32"));
  GgufBytes shared = GgufBytes::file(2, 0);
  shared.tensor("a", {16}, kF32, 0).tensor("b", {4}, kF32, 32).data(64);
  EXPECT_THAT(message(shared), AllOf(HasSubstr("\"b\""), HasSubstr("overlap")));
}

TEST(GgufFile, RefusesAlignmentsThatAreNone) {
  for (const uint32_t alignment : {0U, 3U, 48U, 1U << 30}) {
    GgufBytes file = GgufBytes::file(0, 1);
    file.value("general.alignment", alignment);
    EXPECT_THAT(message(file), HasSubstr("a power of two")) << alignment;
  }
}

}  // namespace
}  // namespace longlora::gguf
