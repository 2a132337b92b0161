// The main job from text to report, each step by the program itself.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <cmath>

#include "longlora/core/json.h"
#include "tests/cli/process.h"

namespace longlora::test {
namespace {

namespace fs = std::filesystem;
using ::testing::Each;
using ::testing::HasSubstr;

std::string some_story() {
  const char* sentences[] = {"Once upon a time there was a little girl named Lily. ",
                             "She loved to play outside in the sun with her dog Tom. ",
                             "One day they saw a big red ball near the old tree. ",
                             "\"Let us share it!\" said Tom, and they were very happy.\r\n"};
  std::string text;
  for (int i = 0; i < 200; ++i) text += sentences[(i * i + i / 3) % 4];
  return text;
}

// Six steps from 512 to 1024 tokens; the last two see all.
Ending tune(const std::string& base, const TemporaryDirectory& folder) {
  const Words paths = {"--model_name_or_path",
                       base,
                       "--data_path",
                       folder / "story.bin",
                       "--output_dir",
                       folder / "runs/lily",
                       "--eval_data_path",
                       folder / "story.txt",
                       "--json",
                       folder / "run.json"};
  const Words numbers = {"--model_max_length",     "1024", "--learning_rate", "2e-3",
                         "--warmup_steps",         "2",    "--max_steps",     "6",
                         "--full_attention_steps", "2",    "--eval_steps",    "3"};
  return expect_exit(0, with(with({"fine-tune", "--rope_scaling", "yarn"}, paths), numbers));
}

// The log-probabilities of a text by two models, given as flags; the largest difference.
double largest_difference(const std::string& text, const std::array<Words, 2>& models) {
  TemporaryDirectory folder;
  std::vector<Json> scores;
  for (const Words& model : models) {
    expect_exit(0, with({"score", "--file", text, "--context_size", "16384", "--json", folder / "score.json"},
                        model));
    scores.push_back(read_json(folder / "score.json"));
  }
  EXPECT_EQ(scores[0]["ids"], scores[1]["ids"]);
  EXPECT_GT(scores[0]["logprobs"].size(), 1000u);
  double difference = 0.0;
  for (size_t i = 0; i < scores[0]["logprobs"].size(); ++i)
    difference = std::max(difference, std::abs(scores[0]["logprobs"][i].get<double>() -
                                               scores[1]["logprobs"][i].get<double>()));
  return difference;
}

TEST(MainJob, RunsFromTextToReport) {
  TemporaryDirectory folder;
  const std::string base = data("stories260K_hf");
  write_file_atomic(folder / "story.txt", some_story());
  expect_exit(0, {"tokenize", "--tokenizer", base, "--input", folder / "story.txt", "--output",
                  folder / "story.bin"});
  EXPECT_TRUE(fs::exists(folder / "story.bin.json"));

  const Ending trained = tune(base, folder);
  EXPECT_THAT(trained.err, HasSubstr("window: 1024 tokens from 512, yarn rotary scaling by 2"));
  EXPECT_THAT(trained.err, HasSubstr("groups of 256 tokens, full in the last 2 steps"));
  EXPECT_THAT(trained.err, HasSubstr("predicted memory: "));
  EXPECT_EQ(read_json(folder / "run.json")["finished"], true);
  const std::string adapter = folder / "runs/lily";
  EXPECT_EQ(read_json(adapter + "/run.json")["label"], "lily");

  expect_exit(0, {"merge", "--base_model", base, "--peft_model", adapter, "--context_size", "1024",
                  "--save_path", folder / "merged"});
  EXPECT_TRUE(fs::exists(folder / "merged/tokenizer.model"));
  EXPECT_EQ(read_json(folder / "merged/config.json")["rope_scaling"]["rope_type"], "yarn");

  // The merged model is the adapted one; float32 keeps rounding to bfloat16 out of the comparison.
  expect_exit(0, {"merge", "--base_model", base, "--peft_model", adapter, "--dtype", "float32", "--save_path",
                  folder / "merged32"});
  EXPECT_LT(largest_difference(folder / "story.txt", {Words{"--base_model", base, "--peft_model", adapter},
                                                      Words{"--base_model", folder / "merged32"}}),
            1e-4);

  expect_exit(0, {"eval", "--base_model", base, "--data_path", folder / "story.bin", "--seq_len", "256,1024",
                  "--context_size", "1024", "--max_windows", "4", "--label", "base", "--json",
                  folder / "eval-base.json"});
  expect_exit(0, {"eval", "--base_model", folder / "merged", "--data_path", folder / "story.bin", "--seq_len",
                  "256,1024", "--max_windows", "4", "--json", folder / "eval-merged.json"});
  expect_exit(0, {"passkey", "--base_model", folder / "merged", "--lengths", "300,600", "--num_tests", "2",
                  "--json", folder / "passkey.json"});
  const auto loss = [&](const char* name) {
    return read_json(folder / name)["results"][1]["val_loss"].get<double>();
  };
  EXPECT_LT(loss("eval-merged.json"), loss("eval-base.json"));

  const Ending reported = expect_exit(
      0, {"report", adapter, folder / "eval-base.json", folder / "eval-merged.json", folder / "passkey.json",
          "--output", folder / "report.html", "--json", folder / "results.json"});
  const std::string html = read_file(folder / "report.html");
  for (const char* word :
       {"<html", "Perplexity", "Pass key retrieval", "Training", "lily", "merged", "data:image/png"})
    EXPECT_THAT(html, HasSubstr(word));
  EXPECT_TRUE(read_json(folder / "results.json").is_object());
  int pictures = 0;
  for (const std::string& name : names_in(folder.path())) pictures += name.ends_with(".png") ? 1 : 0;
  EXPECT_GE(pictures, 3);
}

TEST(Program, StartsFromAnyFolderAndSaysWhatItCanDo) {
  const Ending help = expect_exit(0, {"--help"}, {.working_folder = "/"});
  for (const char* verb : {"tokenize", "fine-tune", "merge", "eval", "passkey", "score", "report"}) {
    EXPECT_THAT(help.out, HasSubstr(verb));
    EXPECT_THAT(expect_exit(0, {verb, "--help"}, {.working_folder = "/"}).out, HasSubstr("--json"));
  }
}

TEST(Program, SaysItsVersionAndWhatItComputesWith) {
  const std::string said = expect_exit(0, {"--version"}).out;
  EXPECT_THAT(said, ::testing::ContainsRegex("^longlora [0-9]+\\.[0-9]+\\.[0-9]+\n"));
  EXPECT_THAT(said, ::testing::ContainsRegex("\nbuild +[A-Z][A-Za-z ]+, [A-Za-z]+ [0-9]"));
  EXPECT_THAT(said, ::testing::ContainsRegex("\nlibtorch +2\\.[0-9]+\\.[0-9]+, "));
  EXPECT_THAT(said, ::testing::ContainsRegex("\nkernels +(baseline|avx2|avx512|avx512_bf16)[,\n]"));
  EXPECT_THAT(said, HasSubstr("\nthreads   1\n"));  // as OMP_NUM_THREADS says in these tests
  EXPECT_THAT(expect_exit(0, {"--version"}, {.environment = {{"OMP_NUM_THREADS", "2"}}}).out,
              HasSubstr("\nthreads   2\n"));
}

}  // namespace
}  // namespace longlora::test
