// Training and evaluation on weights in four bits as a user starts them.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "longlora/core/file.h"
#include "longlora/core/json.h"
#include "tests/cli/process.h"

namespace longlora::test {
namespace {

// A run of `sft --quantize nf4`, and the same weights saved in four bits.
class FourBits : public ::testing::Test {
 protected:
  FourBits() {
    write_file_atomic(folder_ / "data.jsonl",
                      R"({"instruction": "Tell me a story.", "output": "Once upon a time."}
{"instruction": "Go on.", "input": "There was a dog.", "output": "He ran."}
)");
    expect_exit(0, {"sft", "--model_name_or_path", base_, "--quantize", "nf4", "--data_path",
                    folder_ / "data.jsonl", "--output_dir", adapter_, "--model_max_length", "1024",
                    "--learning_rate", "1e-2", "--warmup_steps", "0", "--max_steps", "3"});
    expect_exit(0, {"quantize", "--model_name_or_path", base_, "--output_dir", saved_});
  }

  // What a verb writes, of the adapted model in four bits while it is read, of the one that was saved so,
  // and in full precision.
  void expect_same_in_four_bits(const Words& words, const Words& more,
                                const std::function<Json(const Json&)>& result) {
    const auto run_with = [&](const Words& model) {
      expect_exit(0, with(with(words, model),
                          with(more, {"--peft_model", adapter_, "--json", folder_ / "out.json"})));
      return read_json(folder_ / "out.json");
    };
    const Json loaded = run_with({"--base_model", base_, "--quantize", "nf4"}),
               saved = run_with({"--base_model", saved_}), dense = run_with({"--base_model", base_});
    EXPECT_EQ(loaded["quantize"], "nf4");
    EXPECT_EQ(saved["quantize"], "nf4");
    EXPECT_EQ(dense["quantize"], "none");
    EXPECT_EQ(result(loaded), result(saved));
    EXPECT_NE(result(loaded), result(dense));
  }

  TemporaryDirectory folder_;
  const std::string base_ = data("stories260K_hf"), adapter_ = folder_ / "run", saved_ = folder_ / "nf4";
};

TEST_F(FourBits, AreTrainedBesideAndEvaluated) {
  EXPECT_EQ(read_json(adapter_ + "/run.json")["options"]["quantize"]["block_size"], 64);
  const Words eval = {"eval", "--data_path", data("goldens/evaluation/stories.bin"), "--seq_len", "256"};
  expect_same_in_four_bits(eval, {}, [](const Json& json) { return json["val_loss"]; });
  const Words passkey = {"passkey", "--lengths", "300", "--num_tests", "2"};
  expect_same_in_four_bits(passkey, {"--context_size", "1024"},
                           [](const Json& json) { return json["results"]; });
}

}  // namespace
}  // namespace longlora::test
