#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "longlora/core/error.h"
#include "longlora/core/random.h"
#include "longlora/tokenizer/tokenizer_files.h"
#include "tests/tokenizer/tokenizer_folder.h"

namespace longlora::tokenizer {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::string load_message(const std::filesystem::path& path) {
  return test::message_of<InputError>([&] { load_tokenizer(path); });
}

std::string config_message(const Json& config) {
  return load_message(TokenizerFolder(Json{{"tokenizer_config.json", config}}).path());
}

TEST(LoadTokenizer, NamesAPathThatDoesNotExist) {
  EXPECT_THAT(load_message("/nowhere"), AllOf(HasSubstr("[/nowhere]"), HasSubstr("tokenizer.model")));
}

TEST(LoadTokenizer, NamesWhatAFolderLacks) {
  const test::TemporaryDirectory folder;
  EXPECT_THAT(load_message(folder.path()), HasSubstr("got a folder without one"));
}

TEST(LoadTokenizer, RefusesAnEmptyFileAPointerAndOtherBytes) {
  const test::TemporaryDirectory folder;
  write_file_atomic(folder / "tokenizer.model", "");
  EXPECT_THAT(load_message(folder.path()), HasSubstr("got an empty file"));
  write_file_atomic(folder / "tokenizer.model", "version https://git-lfs.github.com/spec/v1\noid x\n");
  EXPECT_THAT(load_message(folder.path()), HasSubstr("git lfs pull"));
  write_file_atomic(folder / "tokenizer.model", "{\"model\": \"this is not SentencePiece\"}");
  EXPECT_THAT(load_message(folder.path()), HasSubstr("expected a SentencePiece model"));
}

TEST(LoadTokenizer, RefusesATruncatedModelWithoutCrashing) {
  const test::TemporaryDirectory folder;
  const std::string model = read_file(kData / "stories260K_tokenizer/tokenizer.model");
  // Cuts inside the list of pieces; what comes after it may be missing without harm.
  size_t num_cuts = 0, num_refused = 0;
  for (size_t size = 1; size < model.size() / 2; size += 97) {
    ++num_cuts;
    write_file_atomic(folder / "tokenizer.model", model.substr(0, size));
    try {
      load_tokenizer(folder.path());  // a cut between two pieces leaves a smaller valid model
    } catch (const InputError& error) {
      ++num_refused;
      EXPECT_THAT(error.what(), HasSubstr("tokenizer.model]"));
    }
  }
  EXPECT_GT(num_refused, num_cuts * 3 / 4) << "of " << num_cuts;
}

TEST(LoadTokenizer, SurvivesDamagedModels) {
  const test::TemporaryDirectory folder;
  const std::string model = read_file(kData / "stories260K_tokenizer/tokenizer.model");
  for (uint64_t round = 0; round < 60; ++round) {
    std::string damaged = model;
    for (uint64_t i = 0; i < 3; ++i) {
      const uint64_t bits = mix_bits(round, i);
      damaged[bits % damaged.size()] = static_cast<char>(bits >> 56);
    }
    write_file_atomic(folder / "tokenizer.model", damaged);
    try {
      const auto tokenizer = load_tokenizer(folder.path());
      tokenizer->decode(tokenizer->encode("Once upon a time é", true));
    } catch (const Error&) {
    }
  }
}

TEST(LoadTokenizer, NamesTheKeyOfAWrongSetting) {
  EXPECT_THAT(config_message(Json{{"legacy", "no"}}),
              HasSubstr("expected legacy to be true or false, got \"no\""));
  EXPECT_THAT(config_message(Json{{"bos_token", 1}}), HasSubstr("expected bos_token to be a token's text"));
  EXPECT_THAT(config_message(Json{{"added_tokens_decoder", Json{{"x", "<a>"}}}}),
              HasSubstr("keyed by an id"));
  EXPECT_THAT(config_message(Json{{"added_tokens_decoder", Json{{"-1", "<a>"}}}}), HasSubstr("at least 0"));
  EXPECT_THAT(config_message(Json{{"added_tokens_decoder", Json{{"2000000000", "<a>"}}}}), HasSubstr("id"));
  EXPECT_THAT(config_message(Json::array()), HasSubstr("expected the file to be an object"));
}

TEST(LoadTokenizer, NamesAConfigFileWithASyntaxError) {
  const TokenizerFolder folder;
  write_file_atomic(folder / "tokenizer_config.json", "{\"legacy\": ");
  EXPECT_THAT(load_message(folder.path()),
              AllOf(HasSubstr("tokenizer_config.json"), HasSubstr("syntax error")));
}

TEST(CopyTokenizerFiles, CopiesThoseThatExist) {
  const TokenizerFolder from(
      Json{{"tokenizer_config.json", Json{{"legacy", false}}}, {"config.json", Json{}}});
  const test::TemporaryDirectory to;
  copy_tokenizer_files(from.path(), to.path());
  EXPECT_THAT(to.names(), ElementsAre("tokenizer.model", "tokenizer_config.json"));
  EXPECT_EQ(load_tokenizer(to.path())->fingerprint(), load_tokenizer(from.path())->fingerprint());
}

TEST(CopyTokenizerFiles, TakesOneFileUnderANameThatIsFound) {
  for (const char* file : {"tokenizers/qwen/tokenizer.json", "novels_tokenizer/tokenizer.model"}) {
    const test::TemporaryDirectory from, to;
    const std::filesystem::path other = from / ("mine" + std::filesystem::path(file).extension().string());
    write_file_atomic(other, read_file(kData / file));
    copy_tokenizer_files(other, to.path());
    ASSERT_TRUE(has_tokenizer(to.path())) << file;
    EXPECT_EQ(load_tokenizer(to.path())->encode("one text", false),
              load_tokenizer(other)->encode("one text", false));
  }
}

}  // namespace
}  // namespace longlora::tokenizer
