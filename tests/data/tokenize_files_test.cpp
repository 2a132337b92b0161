#include "longlora/data/tokenize_files.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>

#include "longlora/core/error.h"
#include "longlora/data/token_data.h"
#include "tests/data/data_folder.h"

namespace longlora::data {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

// A folder with texts, and tokenize_files() on it.
class TokenizeFiles : public testing::Test {
 protected:
  TokenizeFiles() : tokenizer_(stories_tokenizer()) {
    make_directories(folder_ / "in");
    options_.tokenizer = tokenizer_.get();
    options_.tokenizer_path = "stories";
    options_.inputs = {folder_ / "in"};
    options_.output = folder_ / "x.bin";
    options_.show_progress = false;
  }

  void put(const std::string& name, const std::string& text) {
    write_file_atomic(folder_ / ("in/" + name), text);
  }

  std::vector<int64_t> written_ids(int64_t vocab_size = 512) {
    const auto data =
        open_token_data({folder_ / "x.bin"}, {.vocab_size = vocab_size, .tokenizer = options_.tokenizer});
    std::vector<int64_t> ids(static_cast<size_t>(data->size()));
    data->read(0, ids);
    return ids;
  }

  template <typename E>
  std::string message() {
    return test::message_of<E>([&] { tokenize_files(options_); });
  }

  test::TemporaryDirectory folder_;
  std::unique_ptr<tokenizer::Tokenizer> tokenizer_;
  TokenizeOptions options_;
};

TEST_F(TokenizeFiles, EndsEveryDocumentWithEos) {
  put("a.txt", "Once upon a time");
  put("b.jsonl", "{\"text\": \"there was\"}\n{\"text\": \"a cat\"}\n");
  const TokenFileInfo info = tokenize_files(options_);
  const std::vector<int64_t> expected =
      joined(joined(ids_of(*tokenizer_, "Once upon a time"), ids_of(*tokenizer_, "there was")),
             ids_of(*tokenizer_, "a cat"));
  EXPECT_EQ(written_ids(), expected);
  EXPECT_EQ(info.num_documents, 3);
  EXPECT_EQ(info.num_tokens, static_cast<int64_t>(expected.size()));
  EXPECT_EQ(info.type, IdType::kUint16);
  EXPECT_THAT(folder_.names(), ElementsAre("in", "x.bin", "x.bin.json"));
}

TEST_F(TokenizeFiles, PutsBosInFrontWhereAsked) {
  put("a.txt", "Once");
  options_.add_bos = true;
  tokenize_files(options_);
  EXPECT_EQ(written_ids(), joined({1}, ids_of(*tokenizer_, "Once")));
}

TEST_F(TokenizeFiles, DescribesWhatItDid) {
  put("a.txt", "caf\xE9\r\n");
  put("b.txt", "");
  put("c.txt", "Once");
  tokenize_files(options_);
  const Json json = read_json(folder_ / "x.bin.json");
  EXPECT_EQ(json["dtype"], "uint16");
  EXPECT_EQ(json["vocab_size"], 512);
  EXPECT_EQ(json["num_documents"], 2);
  EXPECT_EQ(json["eos_id"], 2);
  EXPECT_EQ(json["tokenizer"]["fingerprint"], tokenizer_->fingerprint());
  EXPECT_EQ(json["tokenizer"]["path"], "stories");
  ASSERT_EQ(json["sources"].size(), 3u);
  const Json& first = json["sources"][0];
  EXPECT_EQ(first["path"], (folder_ / "in/a.txt").string());
  EXPECT_EQ(first["encoding"], "Latin-1 (assumed)");
  EXPECT_EQ(first["crlf_converted"], true);
  EXPECT_EQ(first["num_tokens"], static_cast<int64_t>(ids_of(*tokenizer_, "café\n").size()));
  EXPECT_EQ(json["sources"][1]["num_empty_documents"], 1);
  EXPECT_EQ(json["sources"][2]["encoding"], "UTF-8");
  EXPECT_EQ(json["num_tokens"], static_cast<int64_t>(written_ids().size()));
}

TEST_F(TokenizeFiles, WritesUint32ForLargeVocabularies) {
  tokenizer_ = stories_tokenizer(Json{{"added_tokens_decoder", Json{{"70000", Json{{"content", "<big>"}}}}}});
  options_.tokenizer = tokenizer_.get();
  put("a.txt", "a<big>");
  EXPECT_EQ(tokenize_files(options_).type, IdType::kUint32);
  const std::vector<int64_t> ids = written_ids(70'001);
  EXPECT_THAT(ids, ElementsAre(testing::_, 70'000, 2));
}

TEST_F(TokenizeFiles, WritesTheSameBytesWithAnyNumberOfThreads) {
  std::string lines;
  for (int i = 0; i < 3000; ++i)
    lines += "{\"text\": \"Once upon a time there were " + std::to_string(i) + " cats\"}\n";
  put("a.jsonl", lines);
  std::string novel;
  for (int i = 0; i < 60'000; ++i) novel += "A long story about number " + std::to_string(i * 7919) + ".\n";
  put("b.txt", novel);
  put("c.jsonl", lines);
  tokenize_files(options_);
  const std::string expected = read_file(folder_ / "x.bin");
  const std::string expected_json = read_file(folder_ / "x.bin.json");
  options_.num_threads = 3;
  tokenize_files(options_);
  EXPECT_EQ(read_file(folder_ / "x.bin"), expected);
  EXPECT_EQ(read_file(folder_ / "x.bin.json"), expected_json);
}

TEST_F(TokenizeFiles, TakesNamedFilesOfAnyExtensionAsText) {
  put("chapter.tex", "Once");
  options_.inputs = {folder_ / "in/chapter.tex"};
  tokenize_files(options_);
  EXPECT_EQ(written_ids(), ids_of(*tokenizer_, "Once"));
}

TEST_F(TokenizeFiles, LeavesNothingBehindWhenALineIsMalformed) {
  put("a.jsonl", "{\"text\": \"fine\"}\nbroken\n");
  options_.num_threads = 2;
  EXPECT_THAT(message<InputError>(), HasSubstr("a.jsonl:2]"));
  EXPECT_THAT(folder_.names(), ElementsAre("in"));
}

TEST_F(TokenizeFiles, KeepsTheOlderPairWhenTheDiskIsFull) {
  put("a.txt", "Once");
  tokenize_files(options_);
  const std::string before = read_file(folder_ / "x.bin"), json_before = read_file(folder_ / "x.bin.json");
  put("b.txt", std::string(100'000, 'x'));
  rlimit limit{}, lowered{};
  ::getrlimit(RLIMIT_FSIZE, &limit);
  lowered = limit;
  lowered.rlim_cur = 4096;
  const auto handler = ::signal(SIGXFSZ, SIG_IGN);
  ::setrlimit(RLIMIT_FSIZE, &lowered);
  const std::string text = message<ResourceError>();
  ::setrlimit(RLIMIT_FSIZE, &limit);
  ::signal(SIGXFSZ, handler);
  EXPECT_THAT(text, HasSubstr("x.bin]"));
  EXPECT_EQ(read_file(folder_ / "x.bin"), before);
  EXPECT_EQ(read_file(folder_ / "x.bin.json"), json_before);
  EXPECT_THAT(folder_.names(), ElementsAre("in", "x.bin", "x.bin.json"));
}

TEST_F(TokenizeFiles, RefusesABinThatItsDescriptionDoesNotFit) {
  put("a.txt", "Once upon a time");
  tokenize_files(options_);
  const std::string ids = read_file(folder_ / "x.bin");
  write_file_atomic(folder_ / "x.bin", ids.substr(2));
  EXPECT_THAT(test::message_of<InputError>([&] { written_ids(); }),
              HasSubstr("the file is incomplete or another"));
}

TEST_F(TokenizeFiles, RefusesABinOfAnotherTokenizer) {
  put("a.txt", "Once upon a time");
  tokenize_files(options_);
  const auto other = stories_tokenizer(Json{{"legacy", false}});
  options_.tokenizer = other.get();
  EXPECT_THAT(test::message_of<InputError>([&] { written_ids(); }),
              AllOf(HasSubstr("got ids of another (stories)"), HasSubstr("x.bin]")));
}

TEST_F(TokenizeFiles, RefusesInputWithoutText) {
  put("a.txt", "");
  EXPECT_THAT(message<InputError>(), HasSubstr("expected text, got a file without any"));
  EXPECT_THAT(folder_.names(), ElementsAre("in"));
}

TEST_F(TokenizeFiles, RefusesIdsAsInput) {
  put("a.txt", "Once");
  options_.inputs = {folder_ / "in/a.txt", folder_ / "old.bin"};
  write_ids<uint16_t>(folder_ / "old.bin", {1});
  EXPECT_THAT(message<InputError>(), HasSubstr("tokenized already"));
}

TEST_F(TokenizeFiles, RefusesContradictoryOptions) {
  put("a.txt", "Once");
  options_.output = folder_ / "x.txt";
  EXPECT_THAT(message<UsageError>(), HasSubstr("ends in .bin"));
  options_.output = folder_ / "x.bin";
  options_.num_threads = 0;
  EXPECT_THAT(message<UsageError>(), HasSubstr("at least one thread"));
  options_.num_threads = 1;
  options_.inputs.clear();
  EXPECT_THAT(message<UsageError>(), HasSubstr("at least one input"));
}

TEST_F(TokenizeFiles, RefusesATokenizerWithoutEos) {
  put("a.txt", "Once");
  tokenizer_ = stories_tokenizer(Json{{"eos_token", nullptr}});
  options_.tokenizer = tokenizer_.get();
  EXPECT_THAT(message<InputError>(), HasSubstr("expected an end-of-sequence token"));
}

TEST_F(TokenizeFiles, NamesAnOutputThatCannotBeWritten) {
  put("a.txt", "Once");
  write_file_atomic(folder_ / "file", "");
  options_.output = folder_ / "file/x.bin";
  EXPECT_THAT(message<ResourceError>(), HasSubstr("got a file of that name"));
}

}  // namespace
}  // namespace longlora::data
