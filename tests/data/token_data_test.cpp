#include "longlora/data/token_data.h"

#include <fmt/core.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "longlora/core/error.h"
#include "tests/data/data_folder.h"

namespace longlora::data {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::vector<int64_t> read_all(const TokenData& data) {
  std::vector<int64_t> ids(static_cast<size_t>(data.size()));
  data.read(0, ids);
  return ids;
}

std::string open_message(const std::vector<std::filesystem::path>& paths, const TokenDataOptions& options) {
  return test::message_of<InputError>([&] { open_token_data(paths, options); });
}

TEST(TokenData, ReadsUint16WhereNothingElseIsSaid) {
  const test::TemporaryDirectory folder;
  write_ids<uint16_t>(folder / "x.bin", {5, 0, 511, 7});
  const auto data = open_token_data({folder / "x.bin"}, {.vocab_size = 512});
  EXPECT_THAT(read_all(*data), ElementsAre(5, 0, 511, 7));
  EXPECT_EQ(data->describe(), "1 file, 4 tokens, uint16");
}

TEST(TokenData, ReadsUint32ForLargeVocabularies) {
  const test::TemporaryDirectory folder;
  write_ids<uint32_t>(folder / "x.bin", {5, 128255});
  const auto data = open_token_data({folder / "x.bin"}, {.vocab_size = 128256});
  EXPECT_THAT(read_all(*data), ElementsAre(5, 128255));
}

TEST(TokenData, JoinsFilesAndFoldersInOrder) {
  const test::TemporaryDirectory folder;
  const auto tokenizer = stories_tokenizer();
  make_directories(folder / "texts");
  write_file_atomic(folder / "texts/b.txt", "Once upon");
  write_file_atomic(folder / "texts/a.TXT", "a time");
  write_file_atomic(folder / "texts/.hidden.txt", "no");
  write_file_atomic(folder / "texts/notes.md", "no");
  make_directories(folder / "texts/sub.txt");
  write_ids<uint16_t>(folder / "texts/c.bin", {9, 8, 7});
  write_ids<uint16_t>(folder / "x.bin", {4, 5});
  const auto data = open_token_data({folder / "x.bin", folder / "texts"},
                                    {.vocab_size = 512, .tokenizer = tokenizer.get()});
  const std::vector<int64_t> expected = joined(joined({4, 5}, ids_of(*tokenizer, "a time")),
                                               joined(ids_of(*tokenizer, "Once upon"), {9, 8, 7}));
  EXPECT_EQ(read_all(*data), expected);
  EXPECT_EQ(data->describe(), fmt::format("4 files, {} tokens, uint16 and tokenized text", expected.size()));
}

TEST(TokenData, ReadsAnyRangeAcrossFiles) {
  const test::TemporaryDirectory folder;
  write_ids<uint16_t>(folder / "a.bin", {0, 1, 2});
  write_ids<uint16_t>(folder / "b.bin", {3});
  write_ids<uint16_t>(folder / "c.bin", {4, 5, 6, 7});
  const auto data = open_token_data({folder.path()}, {.vocab_size = 8});
  for (int64_t start = 0; start <= 8; ++start) {
    for (int64_t size = 0; start + size <= 8; ++size) {
      std::vector<int64_t> ids(static_cast<size_t>(size), -1);
      data->read(start, ids);
      for (int64_t i = 0; i < size; ++i) ASSERT_EQ(ids[static_cast<size_t>(i)], start + i);
    }
  }
  std::vector<int64_t> ids(2);
  EXPECT_THROW(data->read(7, ids), Error);
  EXPECT_THROW(data->read(-1, ids), Error);
}

TEST(TokenData, NamesTheFirstIdBeyondTheVocabulary) {
  const test::TemporaryDirectory folder;
  std::vector<uint16_t> ids(100'000, 511);
  ids[77'777] = 512;
  ids[88'888] = 600;
  write_ids(folder / "x.bin", ids);
  EXPECT_THAT(open_message({folder / "x.bin"}, {.vocab_size = 512}),
              AllOf(HasSubstr("x.bin]"), HasSubstr("got id 512 at position 77777")));
  EXPECT_EQ(open_token_data({folder / "x.bin"}, {.vocab_size = 601})->size(), 100'000);
  write_ids<uint32_t>(folder / "y.bin", {1, 70'000, 4'000'000'000});
  EXPECT_THAT(open_message({folder / "y.bin"}, {.vocab_size = 70'001}),
              HasSubstr("got id 4000000000 at position 2"));
}

TEST(TokenData, RefusesEmptyAndOddSizedFiles) {
  const test::TemporaryDirectory folder;
  write_file_atomic(folder / "x.bin", "");
  EXPECT_THAT(open_message({folder / "x.bin"}, {.vocab_size = 512}), HasSubstr("got an empty file"));
  write_file_atomic(folder / "x.bin", "abc");
  EXPECT_THAT(open_message({folder / "x.bin"}, {.vocab_size = 512}),
              HasSubstr("expected a multiple of 2 bytes (uint16 ids), got 3 bytes"));
}

// Ids of a tokenizer of `vocab_size`, as a text has them.
std::vector<int64_t> some_ids(int64_t vocab_size) {
  std::vector<int64_t> ids(100);
  for (size_t i = 0; i < ids.size(); ++i) ids[i] = static_cast<int64_t>(i * 7919 + 13) % vocab_size;
  return ids;
}

template <typename Id>
void write_as(const std::filesystem::path& path, const std::vector<int64_t>& ids) {
  write_ids<Id>(path, {ids.begin(), ids.end()});
}

TEST(TokenData, RefusesIdsThatLookLikeThoseOfAnotherTypeUntilItIsStated) {
  const test::TemporaryDirectory folder;
  const auto check = [&](int64_t vocab_size, IdType type, const std::string& asked) {
    const std::filesystem::path path = folder / "x.bin";
    EXPECT_THAT(open_message({path}, {.vocab_size = vocab_size}), HasSubstr("--bin_dtype " + asked));
    const auto data = open_token_data({path}, {.vocab_size = vocab_size, .bin_type = type});
    EXPECT_EQ(read_all(*data), some_ids(vocab_size));
  };
  for (const int64_t vocab_size : {257, 32'000, 65'536}) {
    SCOPED_TRACE(vocab_size);
    write_as<uint32_t>(folder / "x.bin", some_ids(vocab_size));
    check(vocab_size, IdType::kUint32, "uint32");
    write_as<int32_t>(folder / "x.bin", some_ids(vocab_size));
    check(vocab_size, IdType::kInt32, "uint32");
    write_as<int64_t>(folder / "x.bin", some_ids(vocab_size));
    check(vocab_size, IdType::kInt64, "int64");
  }
  write_as<int64_t>(folder / "x.bin", some_ids(128'256));
  check(128'256, IdType::kInt64, "int64");
  write_as<uint16_t>(folder / "x.bin", some_ids(50'000));
  EXPECT_THAT(open_message({folder / "x.bin"}, {.vocab_size = 128'256}), HasSubstr("--bin_dtype uint16"));
  EXPECT_EQ(
      read_all(*open_token_data({folder / "x.bin"}, {.vocab_size = 128'256, .bin_type = IdType::kUint16})),
      some_ids(50'000));
}

TEST(TokenData, OfATokenizerWithAWiderVocabularyAreRefusedAsWiderIds) {
  // Both halves of each id are below 32,000: as uint16 none is beyond the vocabulary.
  const test::TemporaryDirectory folder;
  std::vector<int64_t> ids = some_ids(128'256);
  for (int64_t& id : ids) id = id % 65536 % 32'000 + id / 65536 * 65536;
  write_as<uint32_t>(folder / "x.bin", ids);
  EXPECT_THAT(open_message({folder / "x.bin"}, {.vocab_size = 32'000}), HasSubstr("look like uint32"));
  EXPECT_THAT(open_message({folder / "x.bin"}, {.vocab_size = 32'000, .bin_type = IdType::kUint32}),
              HasSubstr("expected ids below the model's 32000 embedding rows"));
}

TEST(TokenData, RefusesNegativeIdsAndAStatedTypeThatTheDescriptionContradicts) {
  const test::TemporaryDirectory folder;
  write_ids<int32_t>(folder / "x.bin", {1, 2, -100, 3});
  EXPECT_THAT(open_message({folder / "x.bin"}, {.vocab_size = 512, .bin_type = IdType::kInt32}),
              HasSubstr("got id -100 at position 2"));
  TokenFileInfo info;
  info.num_tokens = 4;
  write_ids<uint16_t>(folder / "y.bin", {1, 2, 3, 4});
  write_file_atomic(folder / "y.bin.json", format_token_file_info(info));
  EXPECT_THAT(open_message({folder / "y.bin"}, {.vocab_size = 512, .bin_type = IdType::kInt32}),
              HasSubstr("y.bin.json says, got --bin_dtype int32"));
  EXPECT_THAT(test::message_of<UsageError>([] { id_type_from_choice("float32"); }), HasSubstr("--bin_dtype"));
  EXPECT_EQ(id_type_from_choice("auto"), std::nullopt);
  EXPECT_EQ(id_type_from_choice("int64"), IdType::kInt64);
}

TEST(TokenData, NamesFilesThatAreNoIds) {
  const test::TemporaryDirectory folder;
  write_file_atomic(folder / "x.bin", "\x93NUMPY\x01 {'descr': '<u2'}");
  EXPECT_THAT(open_message({folder / "x.bin"}, {.vocab_size = 65'536}), HasSubstr("an array of numpy"));
  write_file_atomic(folder / "x.bin", "version https://git-lfs.github.com/spec/v1\n");
  EXPECT_THAT(open_message({folder / "x.bin"}, {.vocab_size = 65'536}), HasSubstr("git lfs pull"));
  write_file_atomic(folder / "x.bin.gz", "\x1F\x8B\x08");
  EXPECT_THAT(open_message({folder / "x.bin.gz"}, {.vocab_size = 65'536}), HasSubstr("unpack the file"));
}

TEST(TokenData, NamesMissingPathsAndEmptyFolders) {
  const test::TemporaryDirectory folder;
  EXPECT_THAT(open_message({"/nowhere/x.bin"}, {.vocab_size = 512}), HasSubstr("[/nowhere/x.bin] expected"));
  EXPECT_THAT(open_message({folder.path()}, {.vocab_size = 512}),
              HasSubstr(".txt, .json, .bin or .jsonl files, got none"));
  EXPECT_THAT(open_message({}, {.vocab_size = 512}), HasSubstr("at least one file"));
}

TEST(TokenData, NeedsATokenizerForText) {
  const test::TemporaryDirectory folder;
  write_file_atomic(folder / "x.txt", "text");
  EXPECT_THAT(open_message({folder / "x.txt"}, {.vocab_size = 512}), HasSubstr("no tokenizer is at hand"));
}

TEST(TokenData, RefusesTextOfATokenizerThatIsLargerThanTheModel) {
  const test::TemporaryDirectory folder;
  write_file_atomic(folder / "x.txt", "Once upon a time");
  const auto tokenizer = stories_tokenizer();
  EXPECT_THAT(open_message({folder / "x.txt"}, {.vocab_size = 300, .tokenizer = tokenizer.get()}),
              HasSubstr("below the model's 300 embedding rows"));
}

TEST(TokenData, TakesEveryLineOfAJsonlFileAsADocument) {
  const test::TemporaryDirectory folder;
  const auto tokenizer = stories_tokenizer();
  write_file_atomic(folder / "x.jsonl",
                    "\xEF\xBB\xBF{\"body\": \"One\\r\\nday\", \"id\": 1}\r\n\n{\"body\": \"\"}\n{\"body\": "
                    "\"caf\\u00e9\"}");
  const auto data = open_token_data({folder / "x.jsonl"},
                                    {.vocab_size = 512, .tokenizer = tokenizer.get(), .text_field = "body"});
  EXPECT_EQ(read_all(*data), joined(ids_of(*tokenizer, "One\nday"), ids_of(*tokenizer, "café")));
}

TEST(TokenData, NamesFileAndLineOfAMalformedJsonlLine) {
  const test::TemporaryDirectory folder;
  const auto tokenizer = stories_tokenizer();
  const auto message = [&](const std::string& line) {
    write_file_atomic(folder / "x.jsonl", "{\"text\": \"fine\"}\n" + line + "\n");
    return open_message({folder / "x.jsonl"}, {.vocab_size = 512, .tokenizer = tokenizer.get()});
  };
  EXPECT_THAT(message("{\"text\": "), AllOf(HasSubstr("x.jsonl:2]"), HasSubstr("syntax error")));
  EXPECT_THAT(message("[1]"), HasSubstr("expected a JSON object, got array"));
  EXPECT_THAT(message("{\"a\": 1, \"b\": 2}"), HasSubstr("expected the field \"text\", got a, b"));
  EXPECT_THAT(message("{\"text\": 5}"), HasSubstr("to be a text, got number"));
}

TEST(TokenData, IsJsonWhereTheContentIsWhateverTheFileIsCalled) {
  const test::TemporaryDirectory folder;
  const auto tokenizer = stories_tokenizer();
  const TokenDataOptions options = {.vocab_size = 512, .tokenizer = tokenizer.get(), .num_threads = 2};
  const auto expected = joined(ids_of(*tokenizer, "She said: \"yes\".\nThen"), ids_of(*tokenizer, "café"));
  const std::string first = R"({"text": "She said: \"yes\".\nThen", "id": NaN})",
                    second = R"({"text": "caf\u00e9"})";
  for (const char* name : {"x.jsonl", "x.json", "x.txt", "x"})
    for (const std::string& text :
         {first + "\n" + second + "\n", first + "\r\n" + second, "[" + first + ",\n" + second + "]",
          "{\n" + first.substr(1) + "\n{\n" + second.substr(1)}) {
      write_file_atomic(folder / name, text);
      EXPECT_EQ(read_all(*open_token_data({folder / name}, options)), expected) << name << ": " << text;
    }
  // Latin-1, decided once for the file.
  write_file_atomic(folder / "x.txt", "{\"text\": \"caf\xE9\"}\n{\"text\": \"\"}");
  EXPECT_EQ(read_all(*open_token_data({folder / "x.txt"}, options)), ids_of(*tokenizer, "café"));
}

TEST(TokenData, IsTextWhereItMerelyBeginsLikeJson) {
  const test::TemporaryDirectory folder;
  const auto tokenizer = stories_tokenizer();
  for (const std::string text :
       {"{once} upon a time", "[Chapter 1]\nOnce", "{}\n{}", "{\"a\": 1} is an object.\n",
        "{\"name\": \"x\"}\n", "{\n  \"open\": 1,\n", "[1, 2, 3]", "[{\"a\": 1} and more"}) {
    write_file_atomic(folder / "x.txt", text);
    const auto data = open_token_data({folder / "x.txt"}, {.vocab_size = 512, .tokenizer = tokenizer.get()});
    EXPECT_EQ(read_all(*data), ids_of(*tokenizer, text)) << text;
  }
}

TEST(TokenData, RefusesTablesAndQuestionsWithAnswers) {
  const test::TemporaryDirectory folder;
  const auto tokenizer = stories_tokenizer();
  const auto message = [&](const std::string& name, const std::string& text,
                           const std::string& field = "text") {
    write_file_atomic(folder / name, text);
    return open_message({folder / name},
                        {.vocab_size = 512, .tokenizer = tokenizer.get(), .text_field = field});
  };
  EXPECT_THAT(message("x.csv", "text\nOnce\n"), AllOf(HasSubstr("a table"), HasSubstr("read_csv")));
  EXPECT_THAT(message("x.tsv", "text\nOnce\n"), HasSubstr(R"(sep='\t')"));
  const std::string samples = R"([{"instruction": "Q", "output": "A", "text": "Q A"}])";
  for (const char* name : {"x.json", "x.txt"})
    EXPECT_THAT(
        message(name, samples),
        AllOf(HasSubstr("sample 0]"), HasSubstr("(instruction, output, text)"), HasSubstr("longlora sft")));
  EXPECT_THAT(message("x.jsonl", R"({"messages": [{"role": "user", "content": "Q"}]})"),
              HasSubstr("longlora sft"));
  EXPECT_THAT(message("x.txt", "{\"a\": \"x\"}\n{\"a\": \"y\"}\n"),
              HasSubstr("expected the field \"text\", got a"));
  write_file_atomic(folder / "x.json", samples);
  const auto data = open_token_data(
      {folder / "x.json"}, {.vocab_size = 512, .tokenizer = tokenizer.get(), .text_field = "output"});
  EXPECT_EQ(read_all(*data), ids_of(*tokenizer, "A"));
}

TEST(TokenData, TellsWhichFieldsWereNotRead) {
  const test::TemporaryDirectory folder;
  const auto tokenizer = stories_tokenizer();
  write_file_atomic(folder / "x.jsonl",
                    "{\"text\": \"a\", \"id\": 1}\n{\"text\": \"b\", \"id\": 1, \"url\": \"\"}\n");
  testing::internal::CaptureStderr();
  open_token_data({folder / "x.jsonl"}, {.vocab_size = 512, .tokenizer = tokenizer.get()});
  EXPECT_THAT(testing::internal::GetCapturedStderr(),
              HasSubstr("not read, with the number of samples: id (2), url (1)"));
}

TEST(TokenData, ReadsLatin1AndSaysSo) {
  const test::TemporaryDirectory folder;
  const auto tokenizer = stories_tokenizer();
  write_file_atomic(folder / "x.txt", "caf\xE9\r\n");
  testing::internal::CaptureStderr();
  const auto data = open_token_data({folder / "x.txt"}, {.vocab_size = 512, .tokenizer = tokenizer.get()});
  EXPECT_THAT(testing::internal::GetCapturedStderr(), HasSubstr("x.txt is not UTF-8; read as Latin-1"));
  EXPECT_EQ(read_all(*data), ids_of(*tokenizer, "café\n"));
}

TEST(TokenData, RefusesEmptyText) {
  const test::TemporaryDirectory folder;
  const auto tokenizer = stories_tokenizer();
  write_file_atomic(folder / "x.txt", "\xEF\xBB\xBF");
  EXPECT_THAT(open_message({folder / "x.txt"}, {.vocab_size = 512, .tokenizer = tokenizer.get()}),
              HasSubstr("expected text, got none"));
}

TEST(TokenData, RefusesABrokenDescription) {
  const test::TemporaryDirectory folder;
  write_ids<uint16_t>(folder / "x.bin", {1, 2});
  const auto message = [&](const Json& json) {
    write_json(folder / "x.bin.json", json);
    return open_message({folder / "x.bin"}, {.vocab_size = 512});
  };
  EXPECT_THAT(message(Json::object()), AllOf(HasSubstr("x.bin.json]"), HasSubstr("dtype")));
  EXPECT_THAT(message(Json{{"dtype", "float32"}}),
              HasSubstr("expected dtype uint16, uint32, int32 or int64, got \"float32\""));
  EXPECT_THAT(message(Json{{"dtype", 1}}), HasSubstr("tokenize the text again"));
}

TEST(TokenData, OfTheEmbeddedModelNamesItsTokenizer) {
  const std::filesystem::path model = std::filesystem::path(LONGLORA_SOURCE_DIR) / "models/tiny-novels";
  const auto tokenizer = tokenizer::load_tokenizer(model);
  for (const char* name : {"data/extend-4096.bin", "data/extend-512.bin"}) {
    // Opening it would refuse the data of another tokenizer.
    const auto data = open_token_data({model / name}, {.vocab_size = 4096, .tokenizer = tokenizer.get()});
    EXPECT_EQ(data->size() % 4096, 0) << name;
  }
}

}  // namespace
}  // namespace longlora::data
