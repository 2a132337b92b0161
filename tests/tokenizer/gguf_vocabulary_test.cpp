// Tokenizers of folders as GGUF, read back.
#include "longlora/tokenizer/gguf_vocabulary.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "longlora/core/error.h"
#include "longlora/core/file.h"
#include "longlora/gguf/gguf_model.h"
#include "longlora/tokenizer/tokenizer_files.h"
#include "tests/tokenizer/tokenizer_folder.h"

namespace longlora::tokenizer {
namespace {

using ::testing::AllOf;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

namespace fs = std::filesystem;

// What the goldens hold in every script and with every kind of space, in a few lines.
const std::string kText =
    "Hello world, it's  12345 \xC3\xA9t\xC3\xA9 \xE4\xBD\xA0\xE5\xA5\xBD\n\n\tand \xF0\x9F\x98\x80 more.  ";

// A file without weights.
class Written {
 public:
  explicit Written(const fs::path& tokenizer, const GgufTokenizerOptions& options = {}) {
    GgufTokenizerOptions complete = options;
    if (complete.vocab_size == 0) complete.vocab_size = load_tokenizer(tokenizer)->vocab_size();
    gguf::MetadataWriter values;
    values.add_text("general.architecture", "llama");
    add_gguf_tokenizer(tokenizer, complete, values);
    gguf::write_gguf_file(path(), values, {}, [](size_t, const gguf::ByteSink&) {});
    model_ = gguf::GgufModel::open(path());
  }
  fs::path path() const { return folder_ / "x.gguf"; }
  const gguf::Metadata& metadata() const { return model_.metadata(); }

 private:
  test::TemporaryDirectory folder_;
  gguf::GgufModel model_;
};

fs::path tokenizer_data(const std::string& name) {
  return kData / "tokenizers" / name;
}

TEST(GgufVocabulary, GivesTheIdsOfTheFolder) {
  for (const char* name :
       {"gpt2", "llama3", "qwen", "llama2", "folder_llama", "folder_gpt2_class", "tiktoken"}) {
    SCOPED_TRACE(name);
    const fs::path folder = tokenizer_data(name);
    const auto theirs = load_tokenizer(folder);
    const Written written(folder);
    const auto ours = load_tokenizer(written.path());
    EXPECT_EQ(ours->vocab_size(), theirs->vocab_size());
    EXPECT_EQ(ours->bos_id(), theirs->bos_id());
    EXPECT_EQ(ours->eos_id(), theirs->eos_id());
    for (const Json& entry : read_json(folder / "golden.json")["encodings"]) {
      const auto text = entry["text"].get<std::string>();
      EXPECT_EQ(ours->encode(text, true), theirs->encode(text, true)) << text;
      EXPECT_EQ(ours->decode(theirs->encode(text, false)), theirs->decode(theirs->encode(text, false)))
          << text;
    }
  }
}

TEST(GgufVocabulary, HasThePiecesAndScoresOfSentencePiece) {
  const TokenizerFolder folder(Json{{"tokenizer_config.json", {{"legacy", false}}}});
  const Written written(folder.path());
  EXPECT_EQ(written.metadata().text("tokenizer.ggml.model"), "llama");
  EXPECT_EQ(written.metadata().flag("tokenizer.ggml.add_bos_token"), true);
  EXPECT_EQ(written.metadata().integers("tokenizer.ggml.token_type")[0], 2);
  EXPECT_EQ(written.metadata().integers("tokenizer.ggml.token_type")[1], 3);
  EXPECT_EQ(written.metadata().integers("tokenizer.ggml.token_type")[3], 6);
  const auto theirs = load_tokenizer(folder.path()), ours = load_tokenizer(written.path());
  EXPECT_EQ(ours->encode(kText, true), theirs->encode(kText, true));
  EXPECT_EQ(ours->eos_id(), theirs->eos_id());
}

TEST(GgufVocabulary, GivesTheSameFileAgainFromTheFilesMadeOfIt) {
  for (const std::string name : {"pieces", "pieces_without_bos", "gpt2", "qwen"}) {
    SCOPED_TRACE(name);
    const fs::path original = kData / "gguf/tokenizers" / (name + ".gguf");
    const gguf::GgufModel opened = gguf::GgufModel::open(original);
    const Written written(original);
    for (const char* key : {"model", "pre"})
      EXPECT_EQ(written.metadata().text(std::string("tokenizer.ggml.") + key),
                opened.metadata().text(std::string("tokenizer.ggml.") + key));
    for (const char* key : {"bos_token_id", "eos_token_id"})
      EXPECT_EQ(written.metadata().integer(std::string("tokenizer.ggml.") + key),
                opened.metadata().integer(std::string("tokenizer.ggml.") + key));
    for (const char* key : {"tokens", "merges"})
      EXPECT_EQ(written.metadata().texts(std::string("tokenizer.ggml.") + key),
                opened.metadata().texts(std::string("tokenizer.ggml.") + key));
    EXPECT_EQ(load_tokenizer(written.path())->encode(kText, true),
              load_tokenizer(original)->encode(kText, true));
  }
}

TEST(GgufVocabulary, NamesTheIdsThatEndATextInTheirOrder) {
  const fs::path folder = tokenizer_data("gpt2");
  const auto eos = load_tokenizer(folder)->eos_id();
  ASSERT_TRUE(eos.has_value());
  const Written written(folder, {.end_ids = {7, *eos, 9}});
  EXPECT_EQ(written.metadata().integer("tokenizer.ggml.eos_token_id"), *eos);
  EXPECT_EQ(written.metadata().integer("tokenizer.ggml.eot_token_id"), 7);
  EXPECT_EQ(written.metadata().integer("tokenizer.ggml.eom_token_id"), 9);
}

TEST(GgufVocabulary, HasATokenForEachRowOfTheEmbedding) {
  const fs::path folder = tokenizer_data("gpt2");
  const int64_t size = load_tokenizer(folder)->vocab_size();
  const Written longer(folder, {.vocab_size = size + 2}), shorter(folder, {.vocab_size = size - 1});
  const auto tokens = longer.metadata().texts("tokenizer.ggml.tokens");
  ASSERT_EQ(static_cast<int64_t>(tokens.size()), size + 2);
  EXPECT_EQ(tokens.back(), "[PAD" + std::to_string(size + 1) + "]");
  EXPECT_EQ(longer.metadata().integers("tokenizer.ggml.token_type").back(), 5);
  EXPECT_EQ(static_cast<int64_t>(shorter.metadata().texts("tokenizer.ggml.tokens").size()), size - 1);
  EXPECT_EQ(load_tokenizer(longer.path())->encode(kText, true), load_tokenizer(folder)->encode(kText, true));
}

TEST(GgufVocabulary, RefusesWhatTheKindsOfGgufCannotSay) {
  const auto message = [](const char* name) {
    return test::message_of<InputError>([&] { const Written written(tokenizer_data(name)); });
  };
  EXPECT_THAT(message("gpt2_prefix"), AllOf(HasSubstr("pre_tokenizer"), HasSubstr("gpt-2")));
  EXPECT_THAT(message("odd_rules"), HasSubstr("GGUF"));
}

}  // namespace
}  // namespace longlora::tokenizer
