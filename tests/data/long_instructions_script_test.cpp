// scripts/long_instructions.awk: questions about made-up novels, whose answers stand in them.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdio.h>
#include <sys/wait.h>

#include <algorithm>
#include <array>
#include <set>
#include <sstream>

#include "longlora/core/file.h"
#include "longlora/core/json.h"
#include "tests/support/temporary_directory.h"

namespace longlora::data {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

constexpr size_t kMinWords = 30, kMaxWords = 120;

// Sentences that differ from each other, in paragraphs of five; with every second paragraph come a sentence
// with a digit and a passage between <s> and </s>, which are not to be used.
std::string novel(int num_sentences, std::set<std::string>& sentences) {
  constexpr std::array<const char*, 10> kWho = {"miller", "widow",  "sailor", "baker",  "clerk",
                                                "doctor", "farmer", "lawyer", "tailor", "singer"};
  constexpr std::array<const char*, 10> kWhat = {"waited by the gate",       "spoke of nothing at all",
                                                 "walked along the river",   "counted the grey geese",
                                                 "looked out over the moor", "read an old newspaper",
                                                 "sat down under the elm",   "asked Mr. Lamb for bread",
                                                 "laughed at the weather",   "lit a single candle"};
  constexpr std::array<const char*, 3> kWhen = {"in the morning", "after supper", "that very night"};
  std::string text;
  for (int i = 0; i < num_sentences; ++i) {
    const std::string sentence =
        fmt::format("The {} {} {}.", kWho[i % 10], kWhat[i / 10 % 10], kWhen[i / 100 % 3]);
    sentences.insert(sentence);
    text += sentence + (i % 5 == 4 ? "\n" : " ");
    if (i % 10 == 4) text += "There were 77 unwanted carts. <s> An unwanted passage.\nIt goes on. </s>\n";
  }
  return text;
}

struct Ending {
  int exit_code;
  std::string out;
};

Ending make_questions(const std::string& settings, const std::string& novel_path) {
  const std::string command = fmt::format("awk {} -f '{}/scripts/long_instructions.awk' '{}' 2>&1", settings,
                                          LONGLORA_SOURCE_DIR, novel_path);
  FILE* const pipe = ::popen(command.c_str(), "r");
  if (pipe == nullptr) return {-1, ""};
  std::string out;
  std::array<char, 4096> part;
  for (size_t count; (count = ::fread(part.data(), 1, part.size(), pipe)) > 0;)
    out.append(part.data(), count);
  return {WEXITSTATUS(::pclose(pipe)), out};
}

std::vector<Json> samples_of(const std::string& out) {
  std::vector<Json> samples;
  std::istringstream lines(out);
  for (std::string line; std::getline(lines, line);) samples.push_back(parse_json(line, "line"));
  return samples;
}

size_t count_of(const std::string& text, const std::string& part) {
  size_t count = 0;
  for (size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++count;
  return count;
}

size_t num_words(const std::string& text) {
  std::istringstream words(text);
  size_t count = 0;
  for (std::string word; words >> word;) ++count;
  return count;
}

// What stands between two texts.
std::string between(const std::string& text, const std::string& before, const std::string& after) {
  if (!text.starts_with(before)) return "";
  const size_t end = text.find(after, before.size());
  return end == std::string::npos ? "" : text.substr(before.size(), end - before.size());
}

// The answer to `question` is in the material, and there alone.
void expect_answered(const std::string& material, const std::string& question, const std::string& answer,
                     const std::set<std::string>& sentences) {
  SCOPED_TRACE(question + " " + answer + "\n" + material);
  if (question == "Copy the sentence between the stars.") {
    EXPECT_EQ(count_of(material, "***"), 2u);
    EXPECT_EQ(count_of(material, "*** " + answer + " ***"), 1u);
    EXPECT_TRUE(sentences.count(answer)) << answer;
  } else if (question.starts_with("Which came first")) {
    const std::string first = between(question, "Which came first, the ", " or the "),
                      second = between(question, "Which came first, the " + first + " or the ", "?");
    const size_t first_at = material.find("Now comes the " + first + "."),
                 second_at = material.find("Now comes the " + second + ".");
    ASSERT_NE(first_at, std::string::npos);
    ASSERT_NE(second_at, std::string::npos);
    EXPECT_EQ(count_of(material, "Now comes the "), 2u);
    EXPECT_EQ(answer, "the " + (first_at < second_at ? first : second));
  } else {
    const std::string owner = between(question, "What is the number of ", "?");
    const std::string number = between(answer, fmt::format("The number of {} is ", owner), ".");
    EXPECT_EQ(number.size(), 5u);
    EXPECT_EQ(count_of(material, answer), 1u);
    EXPECT_EQ(count_of(material, fmt::format("The number of {} ", owner)), 1u);
  }
}

void expect_clean(const std::string& material, const std::set<std::string>& sentences) {
  EXPECT_THAT(material, Not(HasSubstr("nwanted")));
  EXPECT_GE(num_words(material), kMinWords);
  EXPECT_LE(num_words(material), kMaxWords + 40);  // what is planted
  EXPECT_TRUE(std::any_of(sentences.begin(), sentences.end(), [&](const std::string& sentence) {
    return material.find(sentence) != std::string::npos;
  }));
}

class LongInstructionsScript : public ::testing::Test {
 protected:
  LongInstructionsScript() {
    write_file_atomic(path_, novel(300, sentences_));
    settings_ = fmt::format("-v count=60 -v min_words={} -v max_words={}", kMinWords, kMaxWords);
  }
  std::string with(const std::string& more) const { return settings_ + " " + more; }

  test::TemporaryDirectory folder_;
  std::string path_ = folder_ / "novel.txt", settings_;
  std::set<std::string> sentences_;
};

TEST_F(LongInstructionsScript, MakesQuestionsWhoseAnswersStandInTheText) {
  const Ending made = make_questions(with("-v seed=5"), path_);
  ASSERT_EQ(made.exit_code, 0) << made.out;
  const auto samples = samples_of(made.out);
  ASSERT_EQ(samples.size(), 60u);
  std::map<std::string, int> tasks;
  for (const Json& sample : samples) {
    EXPECT_EQ(sample.size(), 3u);
    ++tasks[sample["task"].get<std::string>()];
    const auto instruction = sample["instruction"].get<std::string>();
    const size_t line = instruction.rfind('\n');
    ASSERT_NE(line, std::string::npos);
    expect_clean(instruction.substr(0, line), sentences_);
    expect_answered(instruction.substr(0, line), instruction.substr(line + 1),
                    sample["output"].get<std::string>(), sentences_);
  }
  EXPECT_EQ(tasks, (std::map<std::string, int>{{"copy", 20}, {"order", 20}, {"retrieve", 20}}));
  EXPECT_EQ(make_questions(with("-v seed=5"), path_).out, made.out);
  EXPECT_NE(make_questions(with("-v seed=6"), path_).out, made.out);
}

TEST_F(LongInstructionsScript, MakesDialoguesAboutOneText) {
  const Ending made = make_questions(with("-v dialogues=1"), path_);
  ASSERT_EQ(made.exit_code, 0) << made.out;
  const auto samples = samples_of(made.out);
  ASSERT_EQ(samples.size(), 60u);
  for (const Json& sample : samples) {
    const Json& messages = sample["messages"];
    ASSERT_GE(messages.size(), 6u);  // each task is asked for
    ASSERT_EQ(messages.size() % 2, 0u);
    const auto first = messages[0]["content"].get<std::string>();
    const size_t line = first.rfind('\n');
    ASSERT_NE(line, std::string::npos);
    const std::string material = first.substr(0, line);
    expect_clean(material, sentences_);
    for (size_t i = 0; i < messages.size(); i += 2) {
      EXPECT_EQ(messages[i]["role"], "user");
      EXPECT_EQ(messages[i + 1]["role"], "assistant");
      const auto question = messages[i]["content"].get<std::string>();
      expect_answered(material, i == 0 ? first.substr(line + 1) : question,
                      messages[i + 1]["content"].get<std::string>(), sentences_);
    }
  }
}

TEST_F(LongInstructionsScript, SaysWhenTheTextIsTooShort) {
  write_file_atomic(path_, novel(40, sentences_));
  const Ending refused = make_questions(settings_, path_);
  EXPECT_EQ(refused.exit_code, 3);
  EXPECT_THAT(refused.out, HasSubstr("at least 100 sentences, got 40"));
}

}  // namespace
}  // namespace longlora::data
