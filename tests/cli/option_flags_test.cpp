#include "longlora/cli/option_flags.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <CLI/CLI.hpp>
#include <algorithm>

#include "longlora/cli/verbs.h"
#include "longlora/train/options.h"

namespace longlora::cli {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;
using train::Choices;

enum class Colour { kRed, kBlue };

// One field of each kind.
struct Options {
  int64_t count = 3;
  double rate = 2e-5;
  std::optional<uint64_t> seed;
  bool is_fast = true;
  std::string name = "text";
  std::filesystem::path folder;
  std::vector<std::string> words = {"a", "b"};
  std::vector<std::filesystem::path> paths;
  Colour colour = Colour::kRed;
  Colour lamp = Colour::kRed;

  template <typename Self, typename Fields>
  static void list_fields(Self& options, Fields& fields) {
    const Choices<Colour> colours = {
        {"red", Colour::kRed}, {"blue", Colour::kBlue}, {"azure", Colour::kBlue}};
    fields.add("--count", options.count, "How many", {.is_required = true});
    fields.check(options.count > 0, "--count must be positive, got {}", options.count);
    fields.add("--rate", options.rate, "How fast");
    fields.add("--seed", options.seed, "What is drawn");
    fields.add("--fast", options.is_fast, "Whether");
    fields.add("--name", options.name, "Its name");
    fields.add("--folder", options.folder, "Where", {.type_name = "DIR"});
    fields.add("--words", options.words, "Some");
    fields.add("--paths", options.paths, "More");
    fields.choice("--colour", options.colour, colours, "Which");
    fields.choice("--lamp", options.lamp, colours, "Which", {.shows_default = false, .alone = "blue"});
    fields.record("area", 4, train::Kept::kInRecord);
  }
};

class OptionFlagsTest : public ::testing::Test {
 protected:
  OptionFlagsTest() {
    OptionFlags flags(app_);
    flags.behind("--rate", [this] { app_.add_option("--pace", pace_, "In other words"); });
    Options::list_fields(options_, flags);
  }
  void parse(std::vector<std::string> words) {
    words.insert(words.begin(), {"--count", "5"});
    std::reverse(words.begin(), words.end());
    app_.parse(words);
  }

  CLI::App app_;
  Options options_;
  std::string pace_;
};

TEST_F(OptionFlagsTest, FillInTheFields) {
  parse({"--rate", "0.5", "--seed", "7", "--fast", "False", "--name", "x", "--folder", "here", "--words",
         "c,d", "--paths", "p", "q", "--colour", "azure", "--lamp", "RED"});
  EXPECT_EQ(options_.count, 5);
  EXPECT_EQ(options_.rate, 0.5);
  EXPECT_EQ(options_.seed, 7u);
  EXPECT_FALSE(options_.is_fast);
  EXPECT_EQ(options_.name, "x");
  EXPECT_EQ(options_.folder, "here");
  EXPECT_EQ(options_.words, (std::vector<std::string>{"c", "d"}));
  EXPECT_EQ(options_.paths, (std::vector<std::filesystem::path>{"p", "q"}));
  EXPECT_EQ(options_.colour, Colour::kBlue);
  EXPECT_EQ(options_.lamp, Colour::kRed);
}

TEST_F(OptionFlagsTest, LeaveFieldsAloneThatAreNotGiven) {
  parse({});
  EXPECT_EQ(options_.rate, 2e-5);
  EXPECT_FALSE(options_.seed);
  EXPECT_EQ(options_.colour, Colour::kRed);
}

TEST_F(OptionFlagsTest, GiveAChoiceWithoutAValueTheOneOfItsRule) {
  parse({"--lamp", "--name", "x"});
  EXPECT_EQ(options_.lamp, Colour::kBlue);
}

TEST_F(OptionFlagsTest, RefuseNamesThatAreNoChoice) {
  EXPECT_THROW(parse({"--colour", "green"}), CLI::ValidationError);
  EXPECT_THROW(parse({"--colour"}), CLI::ArgumentMismatch);
  EXPECT_THROW(parse({"--lamp", "green"}), CLI::ValidationError);
}

TEST_F(OptionFlagsTest, ShowDefaultsOfNumbersTextsAndChoices) {
  const std::string help = app_.help();
  for (const char* part : {"--count INT=3 REQUIRED", "--rate FLOAT=2e-05", "--seed UINT ", "(default: True)",
                           "--name TEXT=text", "--folder DIR ", "--words A,B,…=a b", "--paths PATH…",
                           "--colour TEXT:{red,blue,azure}=red", "--lamp TEXT:{red,blue,azure}"})
    EXPECT_THAT(help, HasSubstr(part));
  EXPECT_THAT(help, Not(HasSubstr("area")));
}

TEST_F(OptionFlagsTest, StandInTheOrderOfTheListWithOthersBehindThem) {
  std::vector<std::string> names;
  for (const CLI::Option* option : app_.get_options()) names.push_back(option->get_name());
  EXPECT_THAT(names,
              ::testing::ElementsAre("--help", "--count", "--rate", "--pace", "--seed", "--fast", "--name",
                                     "--folder", "--words", "--paths", "--colour", "--lamp"));
}

// Collects the flags of a list.
struct FlagNames {
  template <typename Value>
  void add(const std::string& flag, Value&, const std::string&, const train::FieldRule& = {}) {
    flags.push_back(flag);
  }
  template <typename Value>
  void choice(const std::string& flag, Value&, const Choices<Value>&, const std::string&,
              const train::FieldRule& = {}) {
    flags.push_back(flag);
  }
  template <typename... Rest>
  void record(const Rest&...) {}
  template <typename... Rest>
  void check(const Rest&...) {}

  std::vector<std::string> flags;
};

TEST(OptionLists, AreAllFlagsOfTheVerbsThatTrain) {
  CLI::App app;
  add_verbs(app);
  for (const bool supervised : {false, true}) {
    train::TrainOptions options;
    options.supervised = supervised;
    FlagNames names;
    train::TrainOptions::list_fields(options, names);
    EXPECT_GT(names.flags.size(), 45u);
    for (const std::string& flag : names.flags)
      EXPECT_NE(app.get_subcommand(supervised ? "sft" : "fine-tune")->get_option_no_throw(flag), nullptr)
          << flag;
  }
}

}  // namespace
}  // namespace longlora::cli
