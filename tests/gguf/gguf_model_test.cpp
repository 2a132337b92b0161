// Which file a path means, and files in parts.
#include "longlora/gguf/gguf_model.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "longlora/core/error.h"
#include "tests/support/gguf_bytes.h"
#include "tests/support/temporary_directory.h"

namespace longlora::gguf {
namespace {

namespace fs = std::filesystem;
using test::GgufBytes;
using test::message_of;
using ::testing::AllOf;
using ::testing::HasSubstr;

const fs::path kData = LONGLORA_SOURCE_DIR "/tests/data/gguf";

// Copies of the parts of a model, under these names.
class Parts : public test::TemporaryDirectory {
 public:
  Parts() {
    for (const char* part : {"1", "2", "3"}) {
      const std::string name = std::string("split-0000") + part + "-of-00003.gguf";
      fs::copy_file(kData / name, *this / name);
    }
  }
};

TEST(GgufModel, FindsAFileAndTheOnlyOneOfAFolder) {
  const Parts folder;
  EXPECT_EQ(find_model(kData / "qwen3.gguf"), kData / "qwen3.gguf");
  EXPECT_EQ(find_model(folder.path()), folder / "split-00001-of-00003.gguf");
  EXPECT_FALSE(find_model(kData / "blocks.safetensors"));
  EXPECT_FALSE(find_model(folder / "nothing"));
  write_file_atomic(folder / "config.json", "{}");
  EXPECT_FALSE(find_model(folder.path())) << "a Hugging Face folder that has GGUF files too";
}

TEST(GgufModel, RefusesAFolderWithSeveral) {
  EXPECT_THAT(message_of<InputError>([] { find_model(kData); }), HasSubstr("name one of them"));
}

TEST(GgufModel, PutsThePartsTogetherWhicheverIsNamed) {
  const GgufModel whole = GgufModel::open(kData / "qwen3.gguf");
  for (const char* part : {"1", "2", "3"}) {
    const GgufModel model = GgufModel::open(kData / (std::string("split-0000") + part + "-of-00003.gguf"));
    size_t count = 0;
    for (const auto& tensors : model.tensors()) count += tensors.size();
    EXPECT_EQ(model.files().size(), 3U);
    EXPECT_EQ(count, whole.tensors().front().size());
    EXPECT_EQ(model.metadata().integer("qwen3.block_count"), whole.metadata().integer("qwen3.block_count"));
  }
}

TEST(GgufModel, NamesAPartThatIsMissingOrAnother) {
  const Parts folder;
  fs::remove(folder / "split-00002-of-00003.gguf");
  const auto message = [&](const char* name) {
    return message_of<InputError>([&] { GgufModel::open(folder / name); });
  };
  EXPECT_THAT(message("split-00001-of-00003.gguf"), HasSubstr("split-00002-of-00003.gguf"));
  fs::copy_file(folder / "split-00003-of-00003.gguf", folder / "split-00002-of-00003.gguf");
  EXPECT_THAT(message("split-00001-of-00003.gguf"), HasSubstr("part 2 of 3"));
  fs::rename(folder / "split-00001-of-00003.gguf", folder / "renamed.gguf");
  EXPECT_THAT(message("renamed.gguf"), HasSubstr("-00001-of-00003.gguf"));
}

TEST(GgufModel, DoesNotBelieveCountsOfParts) {
  const test::TemporaryDirectory folder;
  for (const uint32_t count : {100000U, 4294967295U}) {
    GgufBytes file = GgufBytes::file(0, 2);
    file.value("split.count", count).value("split.no", 0U);
    write_file_atomic(folder / "a-00001-of-00003.gguf", file.bytes());
    EXPECT_THROW(GgufModel::open(folder / "a-00001-of-00003.gguf"), InputError) << count;
  }
}

}  // namespace
}  // namespace longlora::gguf
