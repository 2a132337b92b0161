// Models and adapters as they come from downloads and other training programs: read, or named for what they
// are.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "longlora/core/json.h"
#include "tests/cli/process.h"

namespace longlora::test {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr int kDone = 0, kInput = 3;
constexpr const char* kPointer =
    "version https://git-lfs.github.com/spec/v1\noid sha256:5e\nsize 9976576152\n";
constexpr const char* kPage = "<!DOCTYPE html>\n<html><body>Sign in</body></html>\n";

class StrangeFiles : public ::testing::Test {
 public:
  Words score(const fs::path& model) const {
    return {"score",  "--base_model",     model, "--ids", "1,2,3,4", "--dtype", "float32",
            "--json", folder / "out.json"};
  }
  // The verbs that open a model.
  std::vector<Words> verbs_on(const fs::path& model) const {
    return {score(model),
            {"merge", "--base_model", model, "--peft_model", adapter, "--save_path", folder / "merged"},
            {"quantize", "--model_name_or_path", model, "--output_dir", folder / "quantized"},
            {"convert", "--input", model, "--output", folder / "converted"},
            {"fine-tune", "--model_name_or_path", model, "--output_dir", folder / "run", "--data_path",
             folder / "ids.bin", "--model_max_length", "16", "--max_steps", "1"}};
  }
  Json logprobs(const fs::path& model) const {
    expect_exit(kDone, score(model));
    return read_json(folder / "out.json")["logprobs"];
  }
  static size_t count(const std::string& text, const std::string& part) {
    size_t found = 0;
    for (size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++found;
    return found;
  }

  const fs::path base = data("goldens/tiny_models/gqa_untied"), adapter = data("goldens/peft_adapter");
  TemporaryDirectory folder;
};

TEST_F(StrangeFiles, InPlaceOfWeightsAreNamedByEveryVerb) {
  write_ids(folder / "ids.bin", 200, 40);
  for (const auto& [content, name] :
       {std::pair(kPointer, "Git LFS pointer"), std::pair(kPage, "HTML page")}) {
    fs::remove_all(folder / "model");
    fs::copy(base, folder / "model");
    write_file_atomic(folder / "model/model.safetensors", content);
    for (const Words& words : verbs_on(folder / "model"))
      EXPECT_THAT(expect_exit(kInput, words).err, AllOf(HasSubstr("model.safetensors]"), HasSubstr(name)));
  }
  write_file_atomic(folder / "model/config.json", kPointer);
  EXPECT_THAT(expect_exit(kInput, score(folder / "model")).err,
              AllOf(HasSubstr("config.json] expected JSON"), HasSubstr("git lfs pull")));
}

TEST_F(StrangeFiles, InPlaceOfAnAdapterAreNamed) {
  fs::copy(adapter, folder / "adapter");
  write_file_atomic(folder / "adapter/adapter_model.safetensors", kPointer);
  const Words words = {"score", "--base_model", base, "--peft_model", folder / "adapter", "--ids", "1,2,3"};
  EXPECT_THAT(expect_exit(kInput, words).err, HasSubstr("Git LFS pointer"));
}

TEST_F(StrangeFiles, OfTheOtherKindAreToldApart) {
  EXPECT_THAT(expect_exit(kInput, score(adapter)).err,
              HasSubstr("got an adapter; give it with --peft_model"));
  const Words words = {"score", "--base_model", base, "--peft_model", base, "--ids", "1,2,3"};
  EXPECT_THAT(expect_exit(kInput, words).err, HasSubstr("got a model; give it as the base model"));
}

TEST_F(StrangeFiles, OfShardsInAFolderOfTheFilesNameAreRead) {
  expect_exit(kDone, {"convert", "--input", base, "--output", folder / "shards", "--format", "bin",
                      "--max_shard_size", "8KB"});
  fs::create_directory(folder / "model");
  fs::rename(folder / "shards/config.json", folder / "model/config.json");
  fs::rename(folder / "shards", folder / "model/pytorch_model.bin");
  ASSERT_TRUE(fs::exists(folder / "model/pytorch_model.bin/pytorch_model.bin.index.json"));
  EXPECT_EQ(logprobs(folder / "model"), logprobs(base));
}

TEST_F(StrangeFiles, WithFieldsThatNobodyReadsAreToldOnce) {
  fs::copy(base, folder / "model");
  Json config = read_json(folder / "model/config.json");
  config["logit_scale"] = 0.5;
  write_json(folder / "model/config.json", config);
  const Ending ending = expect_exit(kDone, score(folder / "model"));
  EXPECT_EQ(count(ending.err, "knows no logit_scale"), 1u) << ending.err;
}

TEST_F(StrangeFiles, WhoseWindowGetsAnotherScalingSayItOnce) {
  write_ids(folder / "ids.bin", 600, 40);
  const Words words = {"fine-tune",
                       "--model_name_or_path",
                       data("goldens/tiny_models/yarn_x8"),
                       "--output_dir",
                       folder / "run",
                       "--data_path",
                       folder / "ids.bin",
                       "--model_max_length",
                       "128",
                       "--max_steps",
                       "1",
                       "--rope_scaling",
                       "linear",
                       "--attention",
                       "full"};
  const Ending ending = expect_exit(kDone, words);
  EXPECT_EQ(count(ending.err, "takes the place of the model's own"), 1u) << ending.err;
}

}  // namespace
}  // namespace longlora::test
