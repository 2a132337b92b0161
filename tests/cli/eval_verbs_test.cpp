#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <CLI/CLI.hpp>
#include <cmath>
#include <filesystem>

#include "longlora/core/error.h"
#include "longlora/core/file.h"
#include "longlora/core/json.h"
#include "longlora/results/passkey.h"
#include "longlora/results/perplexity.h"
#include "tests/cli/in_process.h"
#include "tests/support/temporary_directory.h"

namespace longlora::cli {
namespace {

using test::data;
using test::run;
using test::with;
using test::Words;
using testing::HasSubstr;
using testing::ThrowsMessage;

Words eval_words(const Words& more) {
  return with(
      {"eval", "--base_model", data("stories260K_hf"), "--data_path", data("goldens/evaluation/stories.bin")},
      more);
}

Words passkey_words(const Words& more) {
  return with({"passkey", "--base_model", data("stories260K_hf"), "--context_size", "1024"}, more);
}

Words score_words(const Words& more) {
  return with({"score", "--base_model", data("stories260K_hf")}, more);
}

TEST(EvalVerb, WritesOneLengthAtTheTopOfItsResult) {
  const test::TemporaryDirectory folder;
  run(eval_words(
      {"--seq_len", "256", "--flash_attn", "False", "--label", "stories", "--json", folder / "eval.json"}));
  const Json json = read_json(folder / "eval.json");
  const Json golden = read_json(data("goldens/evaluation/eval.json"))["trained_model"]["whole"];
  EXPECT_EQ(json["verb"], "eval");
  EXPECT_EQ(json["label"], "stories");
  EXPECT_EQ(json["model"], data("stories260K_hf"));
  EXPECT_EQ(json["window"], "all");
  EXPECT_EQ(json["seq_len"], 256);
  EXPECT_EQ(json["windows"], 5);
  EXPECT_NEAR(json["val_loss"].get<double>() / golden["val_loss"].get<double>(), 1.0, 1e-5);
  EXPECT_NEAR(json["val_perplexity"].get<double>(), std::exp(json["val_loss"].get<double>()), 1e-9);
  EXPECT_NEAR(json["val_acc"].get<double>(), golden["val_acc"].get<double>(), 1e-9);
  EXPECT_EQ(json["results"].size(), 1u);
}

TEST(EvalVerb, WritesSeveralLengthsAsAListThatTheReportReads) {
  const test::TemporaryDirectory folder;
  run(eval_words({"--window", "same-targets", "--target_tokens", "32", "--max_windows", "3", "--seq_len",
                  "64", "128", "256", "--json", folder / "eval.json"}));
  const Json json = read_json(folder / "eval.json");
  EXPECT_FALSE(json.contains("val_loss"));
  const auto result = results::Perplexity::from_json(json, folder / "eval.json");
  EXPECT_EQ(result.model.name(), "stories260K_hf");
  EXPECT_EQ(result.window, "same-targets");
  ASSERT_EQ(result.points.size(), 3u);
  EXPECT_EQ(result.points[2].seq_len, 256);
  EXPECT_EQ(result.points[2].num_windows, 3);
  EXPECT_GT(result.points[2].perplexity, 1.0);
  run(eval_words({"--window", "same-targets", "--target_tokens", "32", "--max_windows", "3", "--seq_len",
                  "64", "--longest_seq_len", "256", "--json", folder / "alone.json"}));
  const auto alone = results::Perplexity::from_json(read_json(folder / "alone.json"), folder / "alone.json");
  EXPECT_EQ(alone.points.at(0).window_losses, result.points[0].window_losses);
}

TEST(EvalVerb, RefusesWindowsLongerThanTheContext) {
  const std::string message =
      "[--seq_len] expected at most --context_size (512), got 600; raise --context_size";
  // Said by the flags alone, and by the model's own window.
  EXPECT_THAT(
      [] {
        run(eval_words({"--seq_len", "256,600", "--context_size", "512"}));
      },
      ThrowsMessage<UsageError>(HasSubstr(message)));
  EXPECT_THAT([] { run(eval_words({"--seq_len", "600"})); }, ThrowsMessage<UsageError>(HasSubstr(message)));
}

TEST(EvalVerb, RefusesDataThatIsTooShort) {
  EXPECT_THAT(
      [] {
        run(eval_words({"--seq_len", "1600", "--context_size", "2048"}));
      },
      ThrowsMessage<InputError>(HasSubstr("[--data_path] expected at least 1857 tokens")));
}

TEST(EvalVerb, LeavesNothingBehindWhenItFails) {
  const test::TemporaryDirectory folder;
  EXPECT_THROW(run(eval_words({"--seq_len", "600", "--json", folder / "eval.json"})), UsageError);
  EXPECT_TRUE(folder.names().empty());
}

TEST(EvalVerb, RefusesWordsItDoesNotKnow) {
  EXPECT_THROW(run(eval_words({"--window", "sliding"})), CLI::ParseError);
  EXPECT_THROW(run(eval_words({"--dtype", "float16"})), CLI::ParseError);
  EXPECT_THROW(run(eval_words({"--seq_len", "-5"})), CLI::ParseError);
  EXPECT_THROW(run({"eval", "--data_path", "x.bin"}), CLI::ParseError);
}

TEST(PasskeyVerb, WritesWhatTheReportReads) {
  const test::TemporaryDirectory folder;
  run(passkey_words({"--lengths", "300", "--num_tests", "2", "--json", folder / "passkey.json", "--csv",
                     folder / "passkey.csv"}));
  const Json json = read_json(folder / "passkey.json");
  EXPECT_EQ(json["verb"], "passkey");
  EXPECT_EQ(json["results"][0]["garbage_chars"], 1024);
  const auto result = results::Passkey::from_json(json, folder / "passkey.json");
  ASSERT_EQ(result.lengths.size(), 1u);
  ASSERT_EQ(result.lengths[0].trials.size(), 2u);
  EXPECT_NEAR(result.lengths[0].trials[0].depth, 684.0 / 1024.0, 1e-12);
  EXPECT_FALSE(result.lengths[0].trials[0].correct);
  EXPECT_THAT(read_file(folder / "passkey.csv"),
              testing::StartsWith("target_tokens,garbage_chars,tokens,accuracy,trials,skipped\n300,1024,"));
}

TEST(PasskeyVerb, LeavesOutLengthsBeyondTheContextButNeedsOne) {
  const test::TemporaryDirectory folder;
  run(passkey_words(
      {"--max_tokens", "1800", "--interval", "300", "--num_tests", "1", "--json", folder / "p.json"}));
  EXPECT_LT(read_json(folder / "p.json")["results"].size(), 6u);
  EXPECT_THAT(
      [] {
        run(passkey_words({"--lengths", "5000", "--num_tests", "1"}));
      },
      ThrowsMessage<UsageError>(
          HasSubstr("[--context_size] expected room for the shortest prompt, got 1024")));
}

TEST(PasskeyVerb, RefusesContradictoryLengths) {
  EXPECT_THROW(run(passkey_words({"--lengths", "300", "--interval", "300"})), CLI::ParseError);
  EXPECT_THROW(run(passkey_words({"--lengths", "300", "--max_tokens", "300"})), CLI::ParseError);
}

TEST(AnswerVerb, CountsWhatIsRightWordForWordByTask) {
  const test::TemporaryDirectory folder;
  const auto write = [&](const std::vector<Json>& samples) {
    std::string lines;
    for (const Json& sample : samples) lines += sample.dump() + "\n";
    write_file_atomic(folder / "questions.jsonl", lines);
  };
  // These models end a story with <s>.
  std::filesystem::copy(data("stories260K_hf"), folder / "model");
  Json settings = read_json(folder / "model/tokenizer_config.json");
  settings["eos_token"] = "<s>";
  write_json(folder / "model/tokenizer_config.json", settings);
  const auto answers = [&](const Words& more) {
    run(with({"answer", "--base_model", folder / "model", "--prompt", "none", "--data_path",
              folder / "questions.jsonl", "--json", folder / "answers.json"},
             more));
    return read_json(folder / "answers.json");
  };
  const std::string opening = "Once upon a time, there was a little";
  write({{{"instruction", opening}, {"output", "x"}}});
  const Json first = answers({"--max_new_tokens", "480"});
  EXPECT_EQ(first["exact"], 0.0);
  EXPECT_EQ(first["results"].size(), 1u);
  const std::string story = first["answers"][0]["answer"];
  ASSERT_GT(story.size(), 100u);
  // The model's own story is right, a shorter one is not: a text that goes on is another.
  std::string far_too_long;
  for (int i = 0; i < 200; ++i) far_too_long += opening + ". ";
  write({{{"task", "whole"}, {"instruction", opening}, {"output", story + "\n"}},
         {{"task", "part"}, {"instruction", opening}, {"output", story.substr(0, 59)}},
         {{"task", "whole"}, {"instruction", far_too_long}, {"output", "x"}}});
  const Json second = answers({});
  EXPECT_EQ(second["skipped"], 1);
  EXPECT_EQ(second["exact"], 0.5);
  ASSERT_EQ(second["results"].size(), 3u);
  EXPECT_EQ(second["results"][0]["task"], "whole");
  EXPECT_EQ(second["results"][0]["exact"], 1.0);
  EXPECT_EQ(second["results"][0]["questions"], 1);
  EXPECT_EQ(second["results"][1]["exact"], 0.0);
  EXPECT_EQ(second["results"][2]["task"], "all");
  EXPECT_EQ(second["answers"][1]["expected"], story.substr(0, 59));
}

TEST(AnswerVerb, RefusesBrokenSamplesAndAContextThatHoldsNone) {
  const test::TemporaryDirectory folder;
  const Words words = {"answer", "--base_model", data("stories260K_hf"), "--data_path",
                       folder / "questions.json"};
  write_file_atomic(folder / "questions.json", R"([{"instruction": "What?"}])");
  EXPECT_THAT([&] { run(words); }, ThrowsMessage<InputError>(HasSubstr("questions.json, sample 0")));
  write_file_atomic(folder / "questions.json", R"([{"instruction": "What?", "output": "That."}])");
  EXPECT_THAT(
      [&] {
        run(with(words, {"--context_size", "4"}));
      },
      ThrowsMessage<UsageError>(HasSubstr("[--context_size]")));
}

TEST(ScoreVerb, WritesIdsAndTheirLogProbabilities) {
  const test::TemporaryDirectory folder;
  const Json golden = read_json(data("goldens/evaluation/score.json"))[2];
  std::string ids;
  for (const Json& id : golden["ids"]) ids += (ids.empty() ? "" : ",") + id.dump();
  run(score_words({"--ids", ids, "--json", folder / "score.json"}));
  const Json json = read_json(folder / "score.json");
  EXPECT_EQ(json["ids"], golden["ids"]);
  ASSERT_EQ(json["logprobs"].size(), golden["logprobs"].size());
  for (size_t i = 0; i < json["logprobs"].size(); ++i)
    EXPECT_NEAR(json["logprobs"][i].get<double>(), golden["logprobs"][i].get<double>(), 1e-4);
}

TEST(ScoreVerb, TakesTextFromTheLineOrAFile) {
  const test::TemporaryDirectory folder;
  write_file_atomic(folder / "text.txt", "Once upon a time");
  run(score_words({"--text", "Once upon a time", "--json", folder / "line.json"}));
  run(score_words({"--file", folder / "text.txt", "--json", folder / "file.json"}));
  const Json line = read_json(folder / "line.json");
  EXPECT_EQ(line["ids"][0], 1);    // BOS
  EXPECT_EQ(line["ids"][1], 403);  // "Once"
  EXPECT_EQ(line["logprobs"].size(), line["ids"].size() - 1);
  EXPECT_EQ(line["logprobs"], read_json(folder / "file.json")["logprobs"]);
}

TEST(EvaluationVerbs, ReadTextWithTheTokenizerThatAnAdapterBrings) {
  const test::TemporaryDirectory folder;
  std::string story;
  for (int i = 0; i < 40; ++i) story += "Once upon a time there was a little girl. ";
  write_file_atomic(folder / "story.txt", story);
  run({"fine-tune", "--model_name_or_path", data("stories260K_hf"), "--data_path", folder / "story.txt",
       "--model_max_length", "32", "--max_steps", "1", "--output_dir", folder / "adapter"});
  Json settings = read_json(folder / "adapter/tokenizer_config.json");
  settings["add_bos_token"] = false;
  write_json(folder / "adapter/tokenizer_config.json", settings);
  const auto first_scored = [&](const Words& model) {
    run(with({"score", "--text", "Once upon", "--json", folder / "score.json"}, model));
    return read_json(folder / "score.json")["ids"][0];
  };
  EXPECT_EQ(first_scored({"--base_model", data("stories260K_hf")}), 1);  // BOS
  EXPECT_EQ(first_scored({"--base_model", data("stories260K_hf"), "--peft_model", folder / "adapter"}), 403);
  // A base that has none can be evaluated with the adapter's.
  std::filesystem::create_directory(folder / "base");
  for (const char* file : {"config.json", "model.safetensors"})
    std::filesystem::copy(data("stories260K_hf") + "/" + file, folder / "base");
  const Words evaluation = {
      "eval", "--base_model", folder / "base", "--data_path", folder / "story.txt", "--seq_len", "32"};
  EXPECT_THROW(run(evaluation), InputError);
  EXPECT_NO_THROW(run(with(evaluation, {"--peft_model", folder / "adapter"})));
}

TEST(ScoreVerb, NeedsExactlyOneSource) {
  EXPECT_THAT([] { run(score_words({})); },
              ThrowsMessage<UsageError>(HasSubstr("one of --text, --file and --ids")));
  EXPECT_THROW(run(score_words({"--text", "a", "--ids", "1,2"})), CLI::ParseError);
  EXPECT_THROW(run(score_words({"--text", "a", "--file", "b"})), CLI::ParseError);
}

TEST(ScoreVerb, RefusesIdsBeyondTheVocabulary) {
  EXPECT_THAT(
      [] {
        run(score_words({"--ids", "1,512"}));
      },
      ThrowsMessage<InputError>(HasSubstr("expected ids in [0, 512)")));
}

}  // namespace
}  // namespace longlora::cli
