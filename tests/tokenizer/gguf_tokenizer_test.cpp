// Tokenizers in GGUF against transformers, and what their keys may say.
#include "longlora/tokenizer/gguf_tokenizer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "longlora/core/error.h"
#include "longlora/gguf/gguf_file.h"
#include "longlora/tokenizer/chat_template.h"
#include "longlora/tokenizer/pipeline_tokenizer.h"
#include "longlora/tokenizer/tokenizer_files.h"
#include "tests/support/gguf_bytes.h"
#include "tests/tokenizer/tokenizer_folder.h"

namespace longlora::tokenizer {
namespace {

using test::GgufBytes;
using ::testing::AllOf;
using ::testing::HasSubstr;

const std::string kPrefix = "tokenizer.ggml.";
constexpr const char* kTokenizers[] = {"pieces", "pieces_without_bos", "pieces_phi3",
                                       "gpt2",   "gpt2_default",       "qwen"};

std::filesystem::path gguf_of(const std::string& name) {
  return kData / "gguf/tokenizers" / (name + ".gguf");
}

TEST(GgufTokenizer, GivesTheIdsOfTransformers) {
  for (const std::string name : kTokenizers) {
    SCOPED_TRACE(name);
    const auto tokenizer = load_tokenizer(gguf_of(name));
    const Json golden = read_json(kData / "gguf/tokenizers" / (name + ".json"));
    ASSERT_GT(golden["cases"].size(), 30U);
    for (const Json& entry : golden["cases"]) {
      const auto text = entry["text"].get<std::string>();
      const Ids ids = tokenizer->encode(text, true);
      EXPECT_EQ(ids, entry["ids"].get<Ids>()) << text;
      EXPECT_EQ(tokenizer->decode(ids), entry["decoded"].get<std::string>()) << text;
    }
    EXPECT_EQ(Json(tokenizer->bos_id().has_value() ? Json(*tokenizer->bos_id()) : Json()),
              golden["bos_token_id"]);
    EXPECT_EQ(Json(tokenizer->eos_id().has_value() ? Json(*tokenizer->eos_id()) : Json()),
              golden["eos_token_id"]);
  }
}

TEST(GgufTokenizer, IsTheSameFromTheFilesThatAreMadeOfIt) {
  for (const std::string name : kTokenizers) {
    SCOPED_TRACE(name);
    const test::TemporaryDirectory folder;
    copy_tokenizer_files(gguf_of(name), folder.path());
    const auto ours = load_tokenizer(gguf_of(name)), written = load_tokenizer(folder.path());
    EXPECT_EQ(ours->fingerprint(), written->fingerprint());
    EXPECT_EQ(ours->bos_id(), written->bos_id());
    EXPECT_EQ(ours->eos_id(), written->eos_id());
    const std::string text = "An old man said: 12345  and\n\nmore. <think>";
    EXPECT_EQ(ours->encode(text, true), written->encode(text, true));
    EXPECT_EQ(read_chat_template(gguf_of(name)), read_chat_template(folder.path()));
    EXPECT_THAT(read_chat_template(folder.path()), HasSubstr("message.content"));
  }
}

// Byte-level BPE with the letters a and b, the space and two digits, with changes.
class SmallVocabulary {
 public:
  SmallVocabulary& set(const std::string& key, const std::string& value) {
    texts_[key] = value;
    return *this;
  }
  SmallVocabulary& drop(const std::string& key) {
    texts_.erase(key);
    return *this;
  }
  SmallVocabulary& set_id(const std::string& key, uint32_t id) {
    ids_[key] = id;
    return *this;
  }
  SmallVocabulary& set_flag(const std::string& key, bool flag) {
    flags_[key] = flag;
    return *this;
  }
  SmallVocabulary& set_types(const std::vector<int32_t>& types) {
    types_ = types;
    return *this;
  }
  std::vector<std::string> tokens = {"a", "b", "\u0120", "1", "2", "ab", "12", "<s>", "\u0120\u0120", "aba"};
  std::vector<std::string> merges = {"a b", "1 2", "\u0120 \u0120"};

  Ids encode(const std::string& text) const {
    const std::string bytes = file();
    const gguf::GgufFile parsed = gguf::parse_gguf(bytes, "x.gguf");
    return PipelineTokenizer(gguf_pipeline(parsed.metadata)).encode(text, true);
  }
  std::string message() const {
    return test::message_of<InputError>([&] { encode("a"); });
  }

 private:
  std::string file() const {
    GgufBytes bytes =
        GgufBytes::file(0, texts_.size() + ids_.size() + flags_.size() + (types_.empty() ? 2 : 3));
    for (const auto& [key, value] : texts_) bytes.value(kPrefix + key, value);
    for (const auto& [key, value] : ids_) bytes.value(kPrefix + key, value);
    for (const auto& [key, value] : flags_) bytes.flag(kPrefix + key, value);
    if (!types_.empty()) bytes.value("tokenizer.ggml.token_type", types_);
    bytes.value("tokenizer.ggml.tokens", tokens).value("tokenizer.ggml.merges", merges);
    return bytes.bytes();
  }

  std::map<std::string, std::string> texts_ = {{"model", "gpt2"}, {"pre", "gpt-2"}};
  std::map<std::string, uint32_t> ids_;
  std::map<std::string, bool> flags_;
  std::vector<int32_t> types_;
};

TEST(GgufTokenizer, SplitsAsItsPreTokenizerDoes) {
  EXPECT_EQ(SmallVocabulary().encode("12  ab"), (Ids{6, 2, 2, 5}));
  EXPECT_EQ(SmallVocabulary().set("pre", "smollm").encode("12  1"), (Ids{3, 4, 8, 3}))
      << "digits stand alone";
  EXPECT_EQ(SmallVocabulary().set("pre", "qwen2").encode("12"), (Ids{3, 4}));
  EXPECT_EQ(SmallVocabulary().set("pre", "stablelm2").encode("12"), (Ids{3, 4}));
  EXPECT_EQ(SmallVocabulary().set("pre", "llama-bpe").encode("12"), Ids{6});
}

TEST(GgufTokenizer, TakesWholeWordsOfLlama3AndPutsBosBeforeIt) {
  EXPECT_EQ(SmallVocabulary().encode("aba"), (Ids{5, 0}));
  EXPECT_EQ(SmallVocabulary().set("pre", "llama-bpe").set_id("bos_token_id", 7).encode("aba"), (Ids{7, 9}));
  EXPECT_EQ(SmallVocabulary()
                .set("pre", "llama-bpe")
                .set_id("bos_token_id", 7)
                .set_flag("add_bos_token", false)
                .encode("aba"),
            Ids{9});
}

TEST(GgufTokenizer, FindsControlTokensAndThoseOfTheUser) {
  EXPECT_EQ(SmallVocabulary().set_types({1, 1, 1, 1, 1, 1, 1, 3, 1, 1}).encode("a<s>b"), (Ids{0, 7, 1}));
  EXPECT_EQ(SmallVocabulary().set_types({1, 1, 1, 1, 1, 1, 1, 1, 1, 4}).encode("babab"), (Ids{1, 9, 1}));
}

TEST(GgufTokenizer, ReadsAMissingPreTokenizerAsGpt2) {
  EXPECT_EQ(SmallVocabulary().drop("pre").encode("12"), Ids{6});
}

TEST(GgufTokenizer, NamesWhatItCannotRead) {
  EXPECT_THAT(SmallVocabulary().set("pre", "kimi-k2").message(),
              AllOf(HasSubstr("x.gguf"), HasSubstr("kimi-k2")));
  EXPECT_THAT(SmallVocabulary().set("model", "rwkv").message(), HasSubstr("rwkv"));
  EXPECT_THAT(SmallVocabulary().drop("model").message(), HasSubstr("tokenizer.ggml.model"));
  EXPECT_THAT(SmallVocabulary().set_types({1, 3}).message(), HasSubstr("token_type"));
  EXPECT_THAT(SmallVocabulary().set_id("eos_token_id", 10).message(), HasSubstr("eos_token_id"));
  SmallVocabulary merges;
  merges.merges = {"a b a"};
  EXPECT_THAT(merges.message(), HasSubstr("merges"));
  merges.merges = {"a c"};
  EXPECT_THAT(merges.message(), HasSubstr("c"));
  SmallVocabulary bytes;
  bytes.tokens[0] = std::string(1, char(0xFF));
  EXPECT_THAT(bytes.message(), HasSubstr("UTF-8"));
  SmallVocabulary endless;
  endless.tokens[0] = std::string(2000, 'a');
  EXPECT_THAT(endless.message(), HasSubstr("1024"));
  SmallVocabulary none;
  none.tokens.clear();
  EXPECT_THAT(none.message(), HasSubstr("tokens"));
}

}  // namespace
}  // namespace longlora::tokenizer
