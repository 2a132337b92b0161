// Verbs through the binary with --device cuda, against the same with --device cpu. Skipped without a GPU.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "longlora/core/json.h"
#include "tests/cli/process.h"

namespace longlora::test {
namespace {

using ::testing::HasSubstr;

class GpuVerbs : public ::testing::Test {
 protected:
  void SetUp() override {
    static const Ending ending =
        run({"score", "--base_model", data("stories260K_hf"), "--ids", "1,2", "--device", "cuda"});
    if (ending.exit_code != 0) GTEST_SKIP() << ending.err;
  }
  // The result file of the verb on one device.
  Json result(Words words, const std::string& device, const std::string& name) const {
    const std::string file = folder_ / (name + "-" + device + ".json");
    const Ending ending = expect_exit(0, with(std::move(words), {"--device", device, "--json", file}));
    EXPECT_THAT(ending.err, HasSubstr("device: " + device));
    return read_json(file);
  }
  TemporaryDirectory folder_;
};

TEST_F(GpuVerbs, ScoreAndEvalFindWhatTheCpuFinds) {
  const Words score = {"score", "--base_model", data("stories260K_hf"), "--text",
                       "Once upon a time there was a dog"};
  const Json here = result(score, "cpu", "score"), there = result(score, "cuda", "score");
  EXPECT_NEAR(there["sum"].get<double>(), here["sum"].get<double>(),
              1e-3 * std::abs(here["sum"].get<double>()));
  const Words eval = {"eval",
                      "--base_model",
                      data("stories260K_hf"),
                      "--data_path",
                      data("goldens/evaluation/stories.bin"),
                      "--seq_len",
                      "256"};
  const Json wanted = result(eval, "cpu", "eval"), found = result(eval, "cuda", "eval");
  EXPECT_NEAR(found["val_loss"].get<double>(), wanted["val_loss"].get<double>(), 1e-3);
  const Json narrow = result(with(eval, {"--dtype", "bfloat16"}), "cuda", "eval-bfloat16");
  EXPECT_NEAR(narrow["val_loss"].get<double>(), wanted["val_loss"].get<double>(), 3e-2);
}

TEST_F(GpuVerbs, PasskeyAnswersAsTheCpuDoes) {
  const Words words = {"passkey",
                       "--base_model",
                       data("stories260K_hf"),
                       "--context_size",
                       "1024",
                       "--lengths",
                       "300",
                       "--num_tests",
                       "3"};
  const Json here = result(words, "cpu", "passkey"), there = result(words, "cuda", "passkey");
  for (size_t i = 0; i < 3; ++i)
    EXPECT_EQ(there["results"][0]["trials"][i]["answer"], here["results"][0]["trials"][i]["answer"]);
}

TEST_F(GpuVerbs, FineTuneAndMergeRunOnTheGpu) {
  write_ids(folder_ / "ids.bin", 3000, 512);
  const auto train = [&](const std::string& device) {
    const Words words = {"fine-tune",
                         "--model_name_or_path",
                         data("stories260K_hf"),
                         "--data_path",
                         folder_ / "ids.bin",
                         "--output_dir",
                         folder_ / ("run-" + device),
                         "--model_max_length",
                         "512",
                         "--max_steps",
                         "3",
                         "--learning_rate",
                         "1e-3"};
    return result(words, device, "train");
  };
  const Json here = train("cpu"), there = train("cuda");
  EXPECT_NEAR(there["loss"].get<double>(), here["loss"].get<double>(), 3e-2 * here["loss"].get<double>());
  EXPECT_EQ(there["finished"], true);
  const Words merge = {"merge",           "--base_model",       data("stories260K_hf"),
                       "--peft_model",    folder_ / "run-cuda", "--save_path",
                       folder_ / "merged"};
  result(merge, "cuda", "merge");
  EXPECT_TRUE(std::filesystem::exists(folder_ / "merged/model.safetensors"));
}

}  // namespace
}  // namespace longlora::test
