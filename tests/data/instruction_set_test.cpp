#include "longlora/data/instruction_set.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "longlora/core/error.h"
#include "longlora/data/instruction_cache.h"
#include "tests/data/data_folder.h"

namespace longlora::data {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

class InstructionSets : public ::testing::Test {
 public:
  InstructionSets() { write(12); }

  void write(int count, const std::string& extra = "") {
    std::string text = "[";
    for (int i = 0; i < count; ++i)
      text += (i > 0 ? ", " : "") + Json{{"instruction", "Tell me story " + std::to_string(i)},
                                         {"output", std::string(static_cast<size_t>(i) + 1, 'a')}}
                                        .dump();
    write_file_atomic(folder / "data.json", text + extra + "]");
  }

  InstructionOptions options() const {
    return {.tokenizer = tokenizer.get(), .max_tokens = 256, .vocab_size = 512};
  }
  InstructionSet read(const InstructionOptions& asked) const {
    return read_instruction_set({folder / "data.json"}, asked);
  }
  std::vector<fs::path> caches() const {
    std::vector<fs::path> found;
    for (const std::string& name : folder.names())
      if (name.ends_with(".tokens")) found.push_back(folder / name);
    return found;
  }

  test::TemporaryDirectory folder;
  std::unique_ptr<tokenizer::Tokenizer> tokenizer = stories_tokenizer();
};

void expect_equal(const InstructionSet& actual, const InstructionSet& expected) {
  ASSERT_EQ(actual.samples.size(), expected.samples.size());
  for (size_t i = 0; i < expected.samples.size(); ++i) {
    EXPECT_EQ(actual.samples[i].ids, expected.samples[i].ids);
    EXPECT_EQ(actual.samples[i].answers, expected.samples[i].answers);
    EXPECT_EQ(actual.samples[i].material, expected.samples[i].material);
    EXPECT_EQ(actual.samples[i].index, expected.samples[i].index);
  }
  EXPECT_EQ(actual.fingerprint, expected.fingerprint);
  EXPECT_EQ(actual.describe(), expected.describe());
}

TEST_F(InstructionSets, AreTheSameWithAnyNumberOfThreadsAndFromTheCache) {
  InstructionOptions asked = options();
  asked.cache = false;
  const InstructionSet expected = read(asked);
  EXPECT_EQ(expected.samples.size(), 12u);
  EXPECT_TRUE(caches().empty());
  asked.num_threads = 3;
  expect_equal(read(asked), expected);
  asked.cache = true;
  expect_equal(read(asked), expected);
  ASSERT_EQ(caches().size(), 1u);
  expect_equal(read(asked), expected);
}

TEST_F(InstructionSets, AreReadFromTheCacheAndNotFromTheFile) {
  read(options());
  // Another answer in the cache of a whole file shows which of the two was read.
  const std::string key =
      instruction_cache_key(read_file(folder / "data.json"), *tokenizer, tokenizer::PromptForm::kLlama2);
  auto cached = read_instruction_cache(caches().at(0), key, 512);
  ASSERT_TRUE(cached);
  cached->samples[0].ids[3] = 7;
  write_instruction_cache(caches().at(0), key, *cached);
  EXPECT_EQ(read(options()).samples[0].ids[3], 7);
}

TEST_F(InstructionSets, TokenizeAnewWhatHasChanged) {
  read(options());
  write(13);
  EXPECT_EQ(read(options()).samples.size(), 13u);
  EXPECT_EQ(caches().size(), 2u);
  InstructionOptions other = options();
  other.prompt = tokenizer::PromptForm::kAlpaca;
  const InstructionSet alpaca = read(other);
  EXPECT_EQ(caches().size(), 3u);
  EXPECT_NE(alpaca.fingerprint, read(options()).fingerprint);
  EXPECT_NE(alpaca.samples[0].ids, read(options()).samples[0].ids);
}

TEST_F(InstructionSets, MakeADamagedCacheAgain) {
  const InstructionSet expected = read(options());
  const fs::path cache = caches().at(0);
  const std::string whole = read_file(cache);
  for (size_t at = 0; at < whole.size(); at += 61) {
    std::string damaged = whole;
    damaged[at] = static_cast<char>(damaged[at] ^ 0x10);
    write_file_atomic(cache, damaged);
    expect_equal(read(options()), expected);
    ASSERT_EQ(read_file(cache), whole) << at;
  }
  for (const size_t size : {size_t{0}, size_t{20}, whole.size() / 2, whole.size() - 1}) {
    write_file_atomic(cache, whole.substr(0, size));
    expect_equal(read(options()), expected);
  }
}

TEST_F(InstructionSets, TrustNoCacheWhoseHashFitsButWhoseContentDoesNot) {
  const std::string key =
      instruction_cache_key(read_file(folder / "data.json"), *tokenizer, tokenizer::PromptForm::kLlama2);
  const fs::path cache = instruction_cache_path(folder / "data.json", key);
  InstructionTokens sample;
  sample.ids = {1, 2, 3};
  sample.answers = {{1, 3}};
  const auto is_taken = [&](const InstructionTokens& each) {
    write_instruction_cache(cache, key, {{each}, {}});
    return read_instruction_cache(cache, key, 512).has_value();
  };
  EXPECT_TRUE(is_taken(sample));
  const auto changed = [&](auto change) {
    InstructionTokens other = sample;
    change(other);
    return is_taken(other);
  };
  EXPECT_FALSE(changed([](auto& s) { s.ids[1] = 512; }));
  EXPECT_FALSE(changed([](auto& s) { s.ids[1] = -1; }));
  EXPECT_FALSE(changed([](auto& s) { s.answers = {{1, 4}}; }));
  EXPECT_FALSE(changed([](auto& s) { s.answers = {{-1, 2}}; }));
  EXPECT_FALSE(changed([](auto& s) { s.answers = {{2, 1}}; }));
  EXPECT_FALSE(changed([](auto& s) { s.answers = {{1, 3}, {2, 3}}; }));
  EXPECT_FALSE(changed([](auto& s) { s.material = {0, INT64_MAX}; }));
  EXPECT_FALSE(changed([](auto& s) { s.index = -1; }));
}

TEST_F(InstructionSets, NameBrokenSamplesOrLeaveThemOut) {
  write(12, R"(, {"instruction": "Q"}, {"instruction": "Q", "output": ""})");
  for (int attempt = 0; attempt < 2; ++attempt) {  // the second from the cache
    EXPECT_THAT(test::message_of<InputError>([&] { read(options()); }),
                AllOf(HasSubstr("got 2 broken"), HasSubstr("--skip_bad_samples"),
                      HasSubstr("data.json, sample 12] expected the field \"output\""),
                      HasSubstr("data.json, sample 13] expected an answer"), Not(HasSubstr("more"))));
    InstructionOptions skip = options();
    skip.skip_bad_samples = true;
    const InstructionSet set = read(skip);
    EXPECT_EQ(set.samples.size(), 12u);
    EXPECT_EQ(set.counts.num_read, 14);
    EXPECT_EQ(set.counts.num_broken, 2);
    EXPECT_THAT(set.describe(), HasSubstr("12 of 14 samples (2 broken left out)"));
  }
}

TEST_F(InstructionSets, TellWhichFieldsWereNotRead) {
  write(3, R"(, {"instruction": "Q", "output": "A", "id": 1, "thinking": "t"})");
  for (int attempt = 0; attempt < 2; ++attempt) {  // the second from the cache
    testing::internal::CaptureStderr();
    read(options());
    EXPECT_THAT(testing::internal::GetCapturedStderr(),
                AllOf(HasSubstr("warning: "), HasSubstr("id (1), thinking (1); thinking sounds as if")));
  }
  write(3, R"(, {"instruction": "Q", "output": "A", "id": 1})");
  testing::internal::CaptureStderr();
  read(options());
  EXPECT_THAT(testing::internal::GetCapturedStderr(), AllOf(HasSubstr("id (1)"), Not(HasSubstr("warning"))));
}

TEST_F(InstructionSets, SayThatAllSamplesAreBrokenRatherThanTooLong) {
  write_file_atomic(folder / "data.json", R"([{"instruction": "Q"}, {"instruction": "Q"}])");
  InstructionOptions skip = options();
  skip.skip_bad_samples = true;
  EXPECT_THAT(test::message_of<InputError>([&] { read(skip); }),
              AllOf(HasSubstr("every sample is broken"), Not(HasSubstr("--model_max_length"))));
}

TEST_F(InstructionSets, NameTenBrokenSamplesAndCountTheRest) {
  std::string broken;
  for (int i = 0; i < 13; ++i) broken += ", 1";
  write(1, broken);
  EXPECT_THAT(test::message_of<InputError>([&] { read(options()); }),
              AllOf(HasSubstr("got 13 broken"), HasSubstr("sample 10]"), Not(HasSubstr("sample 11]")),
                    HasSubstr("and 3 more")));
}

TEST_F(InstructionSets, CountWhatIsCutAndLeftOut) {
  InstructionOptions asked = options();
  const InstructionSet whole = read(asked);
  const auto longest = static_cast<int64_t>(whole.samples.back().ids.size());
  asked.max_tokens = longest - 2;
  const InstructionSet cut = read(asked);
  EXPECT_EQ(cut.samples.size(), 12u);
  EXPECT_GE(cut.counts.num_cut, 1);
  EXPECT_EQ(cut.counts.num_tokens_cut, whole.counts.num_tokens - cut.counts.num_tokens);
  EXPECT_EQ(cut.counts.num_targets, whole.counts.num_targets);  // answers stay
  asked.truncation = Truncation::kDrop;
  const InstructionSet dropped = read(asked);
  EXPECT_EQ(dropped.counts.num_too_long, cut.counts.num_cut);
  EXPECT_EQ(static_cast<int64_t>(dropped.samples.size()), 12 - cut.counts.num_cut);
  EXPECT_NE(dropped.fingerprint, cut.fingerprint);
}

TEST_F(InstructionSets, RefuseWhatCannotBeTrainedOn) {
  InstructionOptions asked = options();
  asked.max_tokens = 4;
  EXPECT_THAT(test::message_of<InputError>([&] { read(asked); }),
              AllOf(HasSubstr("0 of 12 samples (12 too long left out)"), HasSubstr("--model_max_length")));
  asked = options();
  asked.vocab_size = 300;
  EXPECT_THAT(test::message_of<InputError>([&] { read(asked); }),
              AllOf(HasSubstr("sample 0]"), HasSubstr("300 embedding rows")));
}

TEST_F(InstructionSets, OfSeveralFilesFollowEachOther) {
  write_file_atomic(folder / "more.jsonl", R"({"instruction": "Q", "output": "A"})");
  const InstructionSet set = read_instruction_set({folder / "more.jsonl", folder / "data.json"}, options());
  EXPECT_EQ(set.samples.size(), 13u);
  EXPECT_EQ(set.file_of.front(), 0);
  EXPECT_EQ(set.file_of.back(), 1);
  EXPECT_EQ(set.samples[1].index, 0);
}

}  // namespace
}  // namespace longlora::data
