#include "longlora/model/companion_files.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>

#include "longlora/core/file.h"
#include "tests/support/temporary_directory.h"

namespace longlora::model {
namespace {

namespace fs = std::filesystem;
using testing::ElementsAre;
using testing::IsEmpty;
using testing::UnorderedElementsAre;

// A folder with files by relative name, each holding its own name, or the text given.
class Folder : public test::TemporaryDirectory {
 public:
  explicit Folder(const std::vector<std::string>& names = {}) {
    for (const std::string& name : names) write(name, name);
  }
  void write(const std::string& name, const std::string& text) const {
    make_directories((*this / name).parent_path());
    write_file_atomic(*this / name, text);
  }
  // Texts by relative name.
  std::map<std::string, std::string> files() const {
    std::map<std::string, std::string> found;
    for (const auto& entry : fs::recursive_directory_iterator(path()))
      if (entry.is_regular_file())
        found[fs::relative(entry.path(), path()).string()] = read_file(entry.path());
    return found;
  }
  std::vector<std::string> all_names() const {
    std::vector<std::string> found;
    for (const auto& [name, text] : files()) found.push_back(name);
    return found;
  }
};

const std::vector<std::string> kCompanions = {"LICENSE",
                                              "NOTICE.txt",
                                              "README.md",
                                              "USE_POLICY.md",
                                              "added_tokens.json",
                                              "additional_chat_templates/rag.jinja",
                                              "chat_template.jinja",
                                              "generation_config.json",
                                              "merges.txt",
                                              "modeling_own.py",
                                              "preprocessor_config.json",
                                              "special_tokens_map.json",
                                              "tokenizer.json",
                                              "tokenizer.model",
                                              "tokenizer_config.json",
                                              "vocab.json"};

TEST(CopyCompanionFiles, TakesEverythingBesideTheWeights) {
  const Folder from(kCompanions), to;
  from.write("config.json", "{}");
  from.write("model-00001-of-00002.safetensors", "");
  from.write("model.safetensors.index.json", "{}");
  EXPECT_THAT(copy_companion_files({.model = from.path()}, to.path()), IsEmpty());
  EXPECT_EQ(to.all_names(), kCompanions);
  for (const auto& [name, text] : to.files()) EXPECT_EQ(name, text);
}

TEST(CopyCompanionFiles, NamesWhatItLeavesOut) {
  const Folder to;
  const Folder from({"tokenizer.json", "model.safetensors", "config.json", "pytorch_model.bin", "model.gguf",
                     "flax_model.msgpack", "optimizer.pt", "trainer_state.json", "train.jsonl",
                     ".gitattributes", ".git/HEAD", "onnx/model.onnx", "onnx/config.json",
                     "checkpoint-7/config.json", "__pycache__/a.pyc", "1_Pooling/config.json",
                     "adapter_config.json"});
  EXPECT_THAT(copy_companion_files({.model = from.path()}, to.path()),
              UnorderedElementsAre("pytorch_model.bin", "model.gguf", "flax_model.msgpack", "optimizer.pt",
                                   "trainer_state.json", "train.jsonl", ".gitattributes", ".git/", "onnx/",
                                   "checkpoint-7/", "__pycache__/"));
  EXPECT_THAT(to.all_names(), ElementsAre("1_Pooling/config.json", "tokenizer.json"));
}

TEST(CopyCompanionFiles, LeavesHugeFilesAndFoldersOut) {
  const Folder from({"README.md", "video.mp4", "films/a.mp4"}), to;
  fs::resize_file(from / "video.mp4", (64U << 20) + 1);
  fs::resize_file(from / "films/a.mp4", (64U << 20) + 1);
  EXPECT_THAT(copy_companion_files({.model = from.path()}, to.path()),
              UnorderedElementsAre("video.mp4", "films/"));
  EXPECT_THAT(to.all_names(), ElementsAre("README.md"));
}

TEST(CopyCompanionFiles, FollowsLinksAndOnlyThoseThatLeadSomewhere) {
  const Folder blobs({"a1", "more/x.jinja"}), to;
  const Folder from({"README.md"});
  fs::create_symlink(blobs / "a1", from / "tokenizer.json");
  fs::create_symlink(blobs / "gone", from / "merges.txt");
  fs::create_symlink("/dev/zero", from / "vocab.json");
  fs::create_directory_symlink(blobs / "more", from / "additional_chat_templates");
  fs::create_directory_symlink(from.path(), from / "circle");
  EXPECT_THAT(copy_companion_files({.model = from.path()}, to.path()),
              UnorderedElementsAre("merges.txt", "vocab.json", "circle/"));
  EXPECT_THAT(to.all_names(),
              ElementsAre("README.md", "additional_chat_templates/x.jinja", "tokenizer.json"));
  EXPECT_FALSE(fs::is_symlink(to / "tokenizer.json"));
  EXPECT_EQ(to.files()["tokenizer.json"], "a1");
}

TEST(CopyCompanionFiles, NeverCopiesTheFolderThatItWrites) {
  const Folder from({"README.md", "out/older.txt"});
  EXPECT_THAT(copy_companion_files({.model = from.path()}, from / "out"), ElementsAre("out/"));
  EXPECT_THAT(from.all_names(), UnorderedElementsAre("README.md", "out/README.md", "out/older.txt"));
}

TEST(CopyCompanionFiles, ATokenizerOfTheAdapterReplacesTheModelsWhole) {
  const Folder base({"vocab.json", "merges.txt", "added_tokens.json", "LICENSE", "generation_config.json"});
  base.write("tokenizer.json", "base's");
  base.write("tokenizer_config.json", R"({"chat_template": "base's"})");
  const Folder adapter({"adapter_model.safetensors", "README.md"}), to;
  adapter.write("tokenizer.json", "adapter's");
  adapter.write("tokenizer_config.json", "{}");
  adapter.write("prompt_form.json", R"({"prompt": "chatml"})");
  copy_companion_files({.model = base.path(), .tokenizer = adapter.path()}, to.path());
  auto files = to.files();
  EXPECT_THAT(to.all_names(), ElementsAre("LICENSE", "chat_template.jinja", "generation_config.json",
                                          "prompt_form.json", "tokenizer.json", "tokenizer_config.json"));
  EXPECT_EQ(files["tokenizer.json"], "adapter's");
  EXPECT_EQ(files["tokenizer_config.json"], "{}");
  // The adapter's tokenizer has no template: the model still chats by its own.
  EXPECT_EQ(files["chat_template.jinja"], "base's");
  adapter.write("chat_template.jinja", "adapter's");
  copy_companion_files({.model = base.path(), .tokenizer = adapter.path()}, to.path());
  EXPECT_EQ(to.files()["chat_template.jinja"], "adapter's");
}

TEST(CopyCompanionFiles, AnAdapterWithoutATokenizerLeavesTheModels) {
  const Folder base({"tokenizer.json", "vocab.json"}), adapter({"special_tokens_map.json"}), to;
  copy_companion_files({.model = base.path(), .tokenizer = adapter.path()}, to.path());
  EXPECT_THAT(to.all_names(), ElementsAre("tokenizer.json", "vocab.json"));
}

TEST(CopyCompanionFiles, AnAdapterGetsWhatSaysHowTextGoesInAndOut) {
  const Folder base(kCompanions), to;
  EXPECT_THAT(copy_companion_files({.model = base.path()}, to.path(), CompanionKind::kAdapter), IsEmpty());
  EXPECT_THAT(to.all_names(),
              ElementsAre("added_tokens.json", "additional_chat_templates/rag.jinja", "chat_template.jinja",
                          "generation_config.json", "merges.txt", "preprocessor_config.json",
                          "special_tokens_map.json", "tokenizer.json", "tokenizer.model",
                          "tokenizer_config.json", "vocab.json"));
}

}  // namespace
}  // namespace longlora::model
