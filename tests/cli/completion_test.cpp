// What bash offers after the program's completion script was read: bash itself runs it.
#include "longlora/cli/completion.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <CLI/CLI.hpp>
#include <filesystem>
#include <sstream>

#include "longlora/cli/verbs.h"
#include "longlora/core/file.h"
#include "longlora/core/process.h"
#include "tests/cli/words.h"
#include "tests/support/temporary_directory.h"

namespace longlora::cli {
namespace {

using test::Words;
using ::testing::AllOf;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::SizeIs;
using ::testing::UnorderedElementsAre;

class Completion : public ::testing::Test {
 protected:
  Completion() {
    CLI::App app;
    app.set_version_flag("--version", "1");
    add_verbs(app);
    for (const CLI::App* verb : app.get_subcommands([](const CLI::App*) { return true; }))
      verbs_.push_back(verb->get_name());
    write_file_atomic(folder_.path() / "script", bash_completion(app));
    std::filesystem::create_directory(folder_.path() / "my models");
    write_file_atomic(folder_.path() / "my text.txt", "text");
  }

  // What is offered for the last of these words, in a folder with the folder "my models" and the file "my
  // text.txt". Bash's words: = is one, an empty last word is a cursor after a space.
  Words offered(const Words& words) {
    std::string quoted;
    for (const auto& word : words) quoted += fmt::format(" '{}'", word);
    const ChildResult result = run_child(
        {.words = {"bash", "-euo", "pipefail", "-c",
                   fmt::format("cd '{}'; source ./script; COMP_WORDS=(longlora{}); COMP_CWORD={}; _longlora; "
                               "printf '%s\\n' \"${{COMPREPLY[@]}}\"",
                               folder_.path().string(), quoted, words.size())}});
    EXPECT_EQ(result.exit_code, 0) << result.messages;
    EXPECT_EQ(result.messages, "");
    Words lines;
    std::istringstream output(result.output);
    for (std::string line; std::getline(output, line);)
      if (!line.empty()) lines.push_back(line);
    return lines;
  }

  test::TemporaryDirectory folder_;
  std::vector<std::string> verbs_;
};

TEST_F(Completion, OffersEveryVerb) {
  const Words first = offered({""});
  for (const std::string& verb : verbs_) EXPECT_THAT(first, Contains(verb));
  EXPECT_THAT(first, Contains("--version"));
  EXPECT_THAT(offered({"fine"}), ElementsAre("fine-tune"));
  EXPECT_THAT(offered({"nothing"}), IsEmpty());
}

TEST_F(Completion, OffersTheFlagsOfTheVerbAndNoOthers) {
  EXPECT_THAT(offered({"fine-tune", "--lora_"}),
              UnorderedElementsAre("--lora_r", "--lora_alpha", "--lora_dropout", "--lora_target_modules"));
  EXPECT_THAT(offered({"report", "--lora_"}), IsEmpty());
  EXPECT_THAT(offered({"merge", ""}), AllOf(Contains("--base_model"), Contains("--help")));
  EXPECT_THAT(offered({"sft", "--lora_r", "8", ""}), Contains("--data_path"));
}

TEST_F(Completion, OffersTheWordsOfAChoice) {
  EXPECT_THAT(offered({"fine-tune", "--attention", ""}), ElementsAre("s2", "full"));
  EXPECT_THAT(offered({"fine-tune", "--lr_scheduler_type", "cos"}),
              ElementsAre("cosine", "cosine_with_restarts"));
  EXPECT_THAT(offered({"fine-tune", "--lr-scheduler-type", "inv"}), ElementsAre("inverse_sqrt"));
  EXPECT_THAT(offered({"fine-tune", "--attention", "=", "f"}), ElementsAre("full"));
  EXPECT_THAT(offered({"fine-tune", "--attention", "="}), ElementsAre("s2", "full"));
  EXPECT_THAT(offered({"fine-tune", "--bf16", "F"}), ElementsAre("False"));
  EXPECT_THAT(offered({"eval", "--device", "c"}), ElementsAre("cpu", "cuda", "cuda:N"));
  EXPECT_THAT(offered({"completion", ""}), ElementsAre("bash"));
}

TEST_F(Completion, OffersFilesAndFolders) {
  EXPECT_THAT(offered({"tokenize", "--input", "my"}), UnorderedElementsAre("my models", "my text.txt"));
  EXPECT_THAT(offered({"tokenize", "--input", "one.txt", "my t"}), ElementsAre("my text.txt"));
  EXPECT_THAT(offered({"merge", "--base_model", "my"}), Contains("my models"));
  EXPECT_THAT(offered({"eval", "--base_model", "my"}), ElementsAre("my models"));
  EXPECT_THAT(offered({"report", "my"}), SizeIs(2));
  EXPECT_THAT(offered({"report", "--output", "page.html", "my"}), SizeIs(2));
}

TEST_F(Completion, OffersNothingForANumberAndFlagsAgainAfterIt) {
  EXPECT_THAT(offered({"fine-tune", "--lora_r", ""}), IsEmpty());
  EXPECT_THAT(offered({"tokenize", "--ids", ""}), AllOf(Contains("--decode"), Not(Contains("my text.txt"))));
}

}  // namespace
}  // namespace longlora::cli
