// What is written is what is read back.
#include "longlora/gguf/gguf_writer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>

#include "longlora/core/error.h"
#include "longlora/core/file.h"
#include "longlora/gguf/gguf_model.h"
#include "longlora/gguf/quantise.h"
#include "tests/support/temporary_directory.h"

namespace longlora::gguf {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

TEST(GgufWriter, WritesValuesThatAreReadBack) {
  const test::TemporaryDirectory folder;
  MetadataWriter values;
  values.add_size("size", 4000000000);
  values.add_number("number", 1e-05);
  values.add_flag("yes", true);
  values.add_text("text", "né\n");
  values.add_texts("texts", {"a", "", "b c"});
  values.add_numbers("numbers", {0.5F, -2.0F});
  values.add_integers("integers", {3, -4});
  write_gguf_file(folder / "x.gguf", values, {}, [](size_t, const ByteSink&) {});
  const GgufModel model = GgufModel::open(folder / "x.gguf");
  const Metadata& read = model.metadata();
  EXPECT_EQ(read.integer("size"), 4000000000);
  EXPECT_EQ(read.number("number"), 1e-05);
  EXPECT_EQ(read.flag("yes"), true);
  EXPECT_EQ(read.text("text"), "né\n");
  EXPECT_THAT(read.texts("texts"), ElementsAre("a", "", "b c"));
  EXPECT_THAT(read.numbers("numbers"), ElementsAre(0.5, -2.0));
  EXPECT_THAT(read.integers("integers"), ElementsAre(3, -4));
  EXPECT_THAT(test::message_of<InputError>([&] { values.add_size("huge", int64_t{1} << 32); }),
              HasSubstr("huge"));
}

TEST(GgufWriter, PutsTensorsApartAndInTheirOrder) {
  const test::TemporaryDirectory folder;
  const std::vector<TensorLayout> layouts = {
      {"a", BlockType::kF32, {3}}, {"b", BlockType::kQ8_0, {2, 64}}, {"c", BlockType::kF16, {2, 3, 5}}};
  std::vector<std::string> contents;
  for (const TensorLayout& layout : layouts)
    contents.emplace_back(layout.num_bytes(), static_cast<char>('a' + contents.size()));
  write_gguf_file(folder / "x.gguf", {}, layouts, [&](size_t index, const ByteSink& write) {
    const std::string& content = contents[index];
    write(content.data(), 5);  // in pieces
    write(content.data() + 5, content.size() - 5);
  });
  const GgufModel model = GgufModel::open(folder / "x.gguf");
  const std::vector<TensorEntry>& tensors = model.tensors().front();
  ASSERT_EQ(tensors.size(), layouts.size());
  for (size_t i = 0; i < layouts.size(); ++i) {
    EXPECT_EQ(tensors[i].name, layouts[i].name);
    EXPECT_EQ(tensors[i].shape, layouts[i].shape);
    EXPECT_EQ(tensors[i].type, layouts[i].type);
    EXPECT_EQ(model.files().front()->text().substr(tensors[i].offset_bytes, tensors[i].num_bytes),
              contents[i]);
  }
}

TEST(GgufWriter, LeavesNothingOfAFileThatFails) {
  const test::TemporaryDirectory folder;
  const std::vector<TensorLayout> layouts = {{"a", BlockType::kF32, {3}}};
  EXPECT_THROW(write_gguf_file(folder / "x.gguf", {}, layouts,
                               [](size_t, const ByteSink&) { throw InputError("no tensor"); }),
               InputError);
  EXPECT_THROW(write_gguf_file(folder / "x.gguf", {}, layouts,
                               [](size_t, const ByteSink& write) { write("four", 4); }),
               Error);
  EXPECT_TRUE(folder.names().empty());
}

// tests/data/gguf/quantised.gguf has the numbers in "values" and what the Python package makes of them under
// the name of each type.
TEST(Quantise, GivesTheBitsOfThePackageGguf) {
  const GgufModel model =
      GgufModel::open(std::filesystem::path(LONGLORA_SOURCE_DIR) / "tests/data/gguf/quantised.gguf");
  const std::byte* bytes = model.files().front()->bytes().data();
  const std::vector<TensorEntry>& tensors = model.tensors().front();
  ASSERT_EQ(tensors.size(), 7U);
  ASSERT_EQ(tensors.front().name, "values");
  const int64_t count = static_cast<int64_t>(tensors.front().num_bytes / sizeof(float));
  std::vector<float> values(static_cast<size_t>(count));
  std::memcpy(values.data(), bytes + tensors.front().offset_bytes, tensors.front().num_bytes);
  for (const TensorEntry& tensor : tensors) {
    std::vector<std::byte> ours(tensor.num_bytes);
    quantise(tensor.type, values.data(), count / block_elements(tensor.type), ours.data());
    const std::byte* theirs = bytes + tensor.offset_bytes;
    EXPECT_EQ(std::mismatch(ours.begin(), ours.end(), theirs).first - ours.begin(),
              static_cast<std::ptrdiff_t>(ours.size()))
        << tensor.name << ": the first byte that differs";
  }
}

TEST(Quantise, RefusesWhatHalfPrecisionDoesNotHold) {
  std::vector<std::byte> bytes(64);
  const std::vector<float> fits(32, 65519.0F), beyond(32, 65520.0F), far(32, 1e9F);
  EXPECT_NO_THROW(quantise(BlockType::kF16, fits.data(), 32, bytes.data()));
  EXPECT_THAT(
      test::message_of<InputError>([&] { quantise(BlockType::kF16, beyond.data(), 1, bytes.data()); }),
      HasSubstr("65504"));
  for (const BlockType type : {BlockType::kQ4_0, BlockType::kQ8_0, BlockType::kQ4_1})
    EXPECT_THROW(quantise(type, far.data(), 1, bytes.data()), InputError);
  EXPECT_NO_THROW(quantise(BlockType::kBF16, far.data(), 1, bytes.data()));
  EXPECT_THROW(quantise(BlockType::kQ5_0, fits.data(), 1, bytes.data()), Error);
}

}  // namespace
}  // namespace longlora::gguf
