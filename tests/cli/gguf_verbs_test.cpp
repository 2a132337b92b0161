// GGUF that verbs write.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "longlora/core/error.h"
#include "longlora/core/file.h"
#include "longlora/core/json.h"
#include "longlora/gguf/gguf_model.h"
#include "tests/cli/in_process.h"
#include "tests/support/temporary_directory.h"

namespace longlora::cli {
namespace {

namespace fs = std::filesystem;
using test::data;
using test::run;
using test::Words;
using testing::HasSubstr;
using testing::ThrowsMessage;

constexpr const char* kText = "Once upon a time, there was a little dog. It had a red ball.";

// The result of `score` on a text.
Json score(const fs::path& model, const fs::path& json, const Words& more = {}) {
  Words words = {"score", "--base_model", model, "--text", kText, "--dtype", "float32", "--json", json};
  words.insert(words.end(), more.begin(), more.end());
  run(words);
  return read_json(json);
}

TEST(ConvertVerb, WritesGgufThatIsTheSameModel) {
  const test::TemporaryDirectory folder;
  const std::string model = data("stories260K_hf");
  run({"convert", "--input", model, "--output", folder / "x.gguf", "--json", folder / "convert.json"});
  EXPECT_EQ(folder.names(), (std::vector<std::string>{"convert.json", "x.gguf"}));
  EXPECT_EQ(read_json(folder / "convert.json")["type"], "F32");
  const Json ours = score(folder / "x.gguf", folder / "ours.json"),
             theirs = score(model, folder / "theirs.json");
  EXPECT_EQ(ours["ids"], theirs["ids"]);
  EXPECT_EQ(ours["logprobs"], theirs["logprobs"]);
  // And back, in the same types.
  run({"convert", "--input", folder / "x.gguf", "--output", folder / "back"});
  EXPECT_EQ(score(folder / "back", folder / "back.json")["logprobs"], theirs["logprobs"]);
}

TEST(ConvertVerb, WritesFewerBitsThatAreNearTheModel) {
  const test::TemporaryDirectory folder;
  const std::string model = data("stories260K_hf");
  const Json theirs = score(model, folder / "theirs.json");
  for (const auto& [type, most] : {std::pair("q8_0", 0.3), std::pair("bf16", 0.05), std::pair("f16", 0.01)}) {
    const fs::path file = folder / (std::string(type) + ".gguf");
    run({"convert", "--input", model, "--output", file, "--type", type});
    const Json ours = score(file, folder / "ours.json");
    double furthest = 0.0;
    for (size_t i = 0; i < theirs["logprobs"].size(); ++i)
      furthest = std::max(furthest,
                          std::abs(ours["logprobs"][i].get<double>() - theirs["logprobs"][i].get<double>()));
    EXPECT_LT(furthest, most) << type;
    EXPECT_GT(furthest, 0.0) << type;
  }
}

TEST(ConvertVerb, NeverReplacesWithGgufWhatIsNotOne) {
  const test::TemporaryDirectory folder;
  const auto convert = [&](const Words& more) {
    Words words = {"convert", "--input", data("stories260K_hf"), "--output", folder / "x.gguf"};
    words.insert(words.end(), more.begin(), more.end());
    run(words);
  };
  write_file_atomic(folder / "x.gguf", "a note of mine");
  EXPECT_THAT([&] { convert({"--overwrite", "True"}); }, ThrowsMessage<UsageError>(HasSubstr("x.gguf")));
  EXPECT_EQ(read_file(folder / "x.gguf"), "a note of mine");
  fs::remove(folder / "x.gguf");
  convert({"--type", "q8_0"});
  EXPECT_THAT([&] { convert({}); }, ThrowsMessage<UsageError>(HasSubstr("--overwrite True")));
  convert({"--overwrite", "True"});
  EXPECT_EQ(gguf::GgufModel::open(folder / "x.gguf").metadata().integer("general.file_type"), 0);
}

TEST(ConvertVerb, TakesTheFlagsOfWhatItWrites) {
  const test::TemporaryDirectory folder;
  const auto convert = [&](const char* output, const char* flag, const char* value) {
    return [=, &folder] {
      run({"convert", "--input", data("stories260K_hf"), "--output", folder / output, flag, value});
    };
  };
  EXPECT_THAT(convert("hf", "--type", "q8_0"), ThrowsMessage<UsageError>(HasSubstr(".gguf")));
  EXPECT_THAT(convert("x.gguf", "--dtype", "float16"), ThrowsMessage<UsageError>(HasSubstr("--type")));
  EXPECT_THAT(
      [&] {
        run({"convert", "--input", data("torch_save/made/views.pt"), "--output", folder / "x.gguf"});
      },
      ThrowsMessage<UsageError>(HasSubstr("a file of tensors")));
  EXPECT_TRUE(folder.names().empty());
}

TEST(MergeVerb, WritesGgufOfTheSameModelAsAFolder) {
  const test::TemporaryDirectory folder;
  const std::string base = data("goldens/tiny_models/gqa_untied"),
                    adapter = data("goldens/peft_variants/released");
  const auto merge = [&](const char* to) {
    run({"merge", "--base_model", base, "--peft_model", adapter, "--save_path", folder / to, "--context_size",
         "256", "--rope_scaling", "yarn", "--json", folder / "merge.json"});
  };
  merge("merged");
  merge("x.gguf");
  EXPECT_EQ(read_json(folder / "merge.json")["context_window"], 256);
  EXPECT_EQ(gguf::GgufModel::open(folder / "x.gguf").metadata().text("llama.rope.scaling.type"), "yarn");
  for (const fs::path& model : {folder / "merged", folder / "x.gguf"})
    run({"score", "--base_model", model, "--ids", "1,5,9,33,2,7,60,4,11", "--dtype", "float32", "--json",
         model.string() + ".json"});
  EXPECT_EQ(read_json(folder / "merged.json")["logprobs"], read_json(folder / "x.gguf.json")["logprobs"]);
}

}  // namespace
}  // namespace longlora::cli
