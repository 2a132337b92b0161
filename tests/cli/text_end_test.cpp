// Where a text ends, and in which form a model is asked: `inference`, `answer` and `sft` as a user starts
// them.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "longlora/core/file.h"
#include "longlora/core/json.h"
#include "tests/cli/process.h"

namespace longlora::test {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::HasSubstr;

class TextEnd : public ::testing::Test {
 public:
  TextEnd() {
    model = folder / "model";
    fs::copy(data("stories260K_hf"), model);
    for (const auto& entry : fs::directory_iterator(model)) fs::permissions(entry, fs::perms::owner_all);
  }

  void write(const std::string& name, const Json& json) const { write_json(fs::path(model) / name, json); }
  // The result of a greedy answer to the beginning of a story.
  Json answer(const Words& more = {}) {
    return ask(with(
        {"--prompt", "none", "--question", "Once upon a time, there was a little", "--max_gen_len", "20"},
        more));
  }
  Json ask(const Words& more) {
    ending = expect_exit(
        0,
        with({"inference", "--base_model", model, "--dtype", "float32", "--json", folder / "r.json"}, more));
    return read_json(folder / "r.json");
  }
  // Teaches the model five answers in the form of chatml, whose markers are no tokens of it.
  void teach(const Words& more) {
    write_file_atomic(folder / "five.json", R"([
        {"instruction": "Who ran?", "output": "The dog ran."}, {"instruction": "Who sat?", "output": "A cat."},
        {"instruction": "Who sang?", "output": "Tom sang a song."}, {"instruction": "Who?", "output": "Lily"},
        {"instruction": "What was red?", "output": "The ball was red."}])");
    ending = expect_exit(
        0, with({"sft", "--model_name_or_path", model, "--data_path", folder / "five.json", "--output_dir",
                 folder / "out", "--model_max_length", "512", "--attention", "full", "--fp32", "True",
                 "--warmup_steps", "2", "--learning_rate", "1e-2", "--prompt", "chatml"},
                more));
  }

  TemporaryDirectory folder;
  std::string model;
  Ending ending;
};

TEST_F(TextEnd, IsAtEveryIdThatTheModelsFilesName) {
  const auto ids = answer({"--temperature", "0"})["answer_ids"].get<std::vector<int64_t>>();
  ASSERT_EQ(ids.size(), 20u);
  const auto stops_at = [&](size_t place) {
    const Json json = answer({"--temperature", "0"});
    EXPECT_EQ(json["answer_ids"], Json(std::vector<int64_t>(ids.begin(), ids.begin() + place)));
    EXPECT_EQ(json["stopped_by_model"], true);
    EXPECT_THAT(ending.err, HasSubstr("the model ended its answer"));
  };
  write("generation_config.json", {{"eos_token_id", {2, ids[7]}}});
  stops_at(7);
  Json config = read_json(fs::path(model) / "config.json");
  config["eos_token_id"] = ids[5];
  write("config.json", config);
  stops_at(5);
  fs::remove(fs::path(model) / "generation_config.json");
  stops_at(5);
}

TEST_F(TextEnd, SaysWhatCannotEndAText) {
  write("generation_config.json", {{"eos_token_id", {2, 5000, -1}}});
  answer({"--temperature", "0"});
  EXPECT_THAT(ending.err, AllOf(HasSubstr("end-of-sequence id 5000 is none of the model's 512 ids"),
                                HasSubstr("end-of-sequence id -1")));
  write("generation_config.json", {{"eos_token_id", "</s>"}});
  EXPECT_THAT(expect_exit(3, {"inference", "--base_model", model, "--question", "Hi"}).err,
              HasSubstr("generation_config.json] expected eos_token_id to be an id"));
}

TEST_F(TextEnd, StopStringsAreNotPrinted) {
  const std::string whole = answer({"--temperature", "0"})["answer"];
  write("generation_config.json", {{"stop_strings", whole.substr(12, 9)}});
  const Json json = answer({"--temperature", "0"});
  EXPECT_EQ(json["answer"], whole.substr(0, 12));
  EXPECT_EQ(ending.out, whole.substr(0, 12) + "\n");
  EXPECT_EQ(json["stopped_by_model"], true);
  EXPECT_LT(json["answer_ids"].size(), 12u);
}

TEST_F(TextEnd, SamplingFollowsTheModelsFilesAndFlagsGoFirst) {
  const Json greedy = answer({"--temperature", "0"})["answer_ids"];
  write("generation_config.json", {{"do_sample", false}, {"num_beams", 3}});
  EXPECT_EQ(answer()["answer_ids"], greedy);
  EXPECT_THAT(ending.err, AllOf(HasSubstr("sampling: always the likeliest token"),
                                HasSubstr("not followed: num_beams 3")));
  write("generation_config.json", {{"do_sample", true}, {"temperature", 1.5}, {"top_k", 400}});
  const Json drawn = answer({"--seed", "3"})["answer_ids"];
  EXPECT_NE(drawn, greedy);
  EXPECT_THAT(ending.err, HasSubstr("sampling: temperature 1.5, top_p 1, top_k 400"));
  EXPECT_EQ(answer({"--seed", "3", "--temperature", "0"})["answer_ids"], greedy);
  EXPECT_EQ(answer({"--seed", "3", "--top_k", "1"})["answer_ids"], greedy);
  write("generation_config.json", {{"max_new_tokens", 4}});
  EXPECT_LE(ask({"--question", "Hi"})["answer_ids"].size(), 4u);
}

TEST_F(TextEnd, IsWhereSftTaughtItAlsoInPieces) {
  teach({"--low_rank_training", "False", "--max_steps", "60"});
  EXPECT_THAT(ending.err, AllOf(HasSubstr("prompt form: chatml"), HasSubstr("no token for <|im_start|>")));
  model = folder / "out";
  const Json json = ask({"--prompt", "chatml", "--question", "Who ran?", "--temperature", "0"});
  EXPECT_EQ(json["answer"], "The dog ran.");
  EXPECT_EQ(ending.out, "The dog ran.\n");
  EXPECT_EQ(json["stopped_by_model"], true);
  // Without the flag the form is that which was taught; another is warned about.
  const Ending known = expect_exit(
      0, {"answer", "--base_model", model, "--data_path", folder / "five.json", "--json", folder / "a.json"});
  EXPECT_THAT(known.err, HasSubstr("prompt form: chatml (as the model was taught)"));
  EXPECT_EQ(read_json(folder / "a.json")["exact"], 1.0);
  EXPECT_EQ(read_json(folder / "a.json")["prompt"], "chatml");
  const Ending other = expect_exit(
      0, {"answer", "--base_model", model, "--data_path", folder / "five.json", "--prompt", "alpaca"});
  EXPECT_THAT(other.err, HasSubstr("warning: --prompt alpaca: the model was taught chatml"));
}

TEST_F(TextEnd, TheTaughtFormGoesWithAdaptersCheckpointsAndMergedModels) {
  teach({"--max_steps", "2", "--save_steps", "1"});
  for (const char* place : {"out", "out/checkpoint-2"})
    EXPECT_EQ(read_json(folder / place / "prompt_form.json")["prompt"], "chatml") << place;
  EXPECT_THAT(expect_exit(0, {"inference", "--base_model", model, "--peft_model", folder / "out",
                              "--question", "Hi", "--max_gen_len", "2"})
                  .err,
              HasSubstr("prompt form: chatml (as the model was taught)"));
  expect_exit(
      0, {"merge", "--base_model", model, "--peft_model", folder / "out", "--save_path", folder / "merged"});
  EXPECT_THAT(expect_exit(0, {"inference", "--base_model", folder / "merged", "--question", "Hi",
                              "--max_gen_len", "2"})
                  .err,
              HasSubstr("prompt form: chatml (as the model was taught)"));
}

}  // namespace
}  // namespace longlora::test
