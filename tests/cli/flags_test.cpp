#include "longlora/cli/flags.h"

#include <gtest/gtest.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <string>
#include <vector>

namespace longlora::cli {
namespace {

// The value of a flag --it, that is `initial` unless told otherwise, after these words.
bool parsed(bool initial, std::vector<std::string> words) {
  CLI::App app;
  bool value = initial;
  int number = 0;
  add_bool(app, "--it", value, "A flag");
  app.add_option("--number", number);
  std::reverse(words.begin(), words.end());
  app.parse(words);
  return value;
}

TEST(BoolFlag, GivenAloneIsTrue) {
  EXPECT_TRUE(parsed(false, {"--it"}));
  EXPECT_TRUE(parsed(true, {"--it"}));
  EXPECT_TRUE(parsed(false, {"--it", "--number", "3"}));
}

TEST(BoolFlag, TakesTheWordsOfTheReleasedScripts) {
  EXPECT_TRUE(parsed(false, {"--it", "True"}));
  EXPECT_FALSE(parsed(true, {"--it", "False"}));
  EXPECT_FALSE(parsed(true, {"--it=false"}));
  EXPECT_TRUE(parsed(true, {}));
  EXPECT_FALSE(parsed(false, {}));
}

TEST(BoolFlag, RefusesOtherWords) {
  EXPECT_THROW(parsed(false, {"--it", "maybe"}), CLI::ValidationError);
}

}  // namespace
}  // namespace longlora::cli
