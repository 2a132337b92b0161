// Whether the head of a model on disk is its embedding: what config.json says against what the files hold.
#include "longlora/model/stored_model.h"

#include "longlora/core/error.h"
#include "tests/model/tiny_models.h"
#include "tests/support/temporary_directory.h"

namespace longlora::model {
namespace {

namespace fs = std::filesystem;
using checkpoint::NamedTensors;
using checkpoint::TensorStore;
using test::message_of;
using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr const char* kEmbedding = "model.embed_tokens.weight";
constexpr const char* kHead = "lm_head.weight";

// Copies the tied tiny model, with these tensors in place of its own; undefined ones are left out.
void write_model(const fs::path& folder, const NamedTensors& changes) {
  fs::copy_file(tiny_model("mha_tied") / "config.json", folder / "config.json");
  const auto store = TensorStore::open_model_directory(tiny_model("mha_tied"));
  std::map<std::string, at::Tensor> tensors;
  for (const auto& [name, info] : store.tensors()) tensors[name] = store.load(name);
  for (const auto& [name, tensor] : changes)
    if (tensor.defined())
      tensors[name] = tensor;
    else
      tensors.erase(name);
  checkpoint::write_model_tensors(folder, NamedTensors(tensors.begin(), tensors.end()));
}

at::Tensor embedding() {
  return TensorStore::open_model_directory(tiny_model("mha_tied")).load(kEmbedding);
}

at::Tensor some_ids() {
  return test::random_ids({2, 9}, 96, 3);
}

TEST(StoredModel, UsesAHeadOfTheFilesThatDiffersFromTheEmbeddingItIsTiedTo) {
  test::TemporaryDirectory folder, again;
  const at::Tensor head = test::random_tensor({96, 32}, 5);
  write_model(folder.path(), {{kHead, head}});
  EXPECT_FALSE(open_stored_model(folder.path()).config.tie_word_embeddings);
  const Decoder decoder = load_decoder(folder.path(), at::kFloat);
  const at::Tensor logits = logits_of(decoder, some_ids());
  EXPECT_CLOSE(logits, at::matmul(test::hidden_states(decoder, some_ids()), head.t()).view({2, 9, 96}), 1e-6);
  // It stays with what is written.
  save_decoder(decoder, again.path(), at::kFloat);
  EXPECT_EQ(read_json(again / "config.json")["tie_word_embeddings"], false);
  EXPECT_TRUE(at::equal(logits_of(load_decoder(again.path(), at::kFloat), some_ids()), logits));
}

TEST(StoredModel, KeepsTheTieWhereHeadAndEmbeddingAreEqual) {
  test::TemporaryDirectory folder;
  write_model(folder.path(), {{kHead, embedding()}});
  const Decoder decoder = load_decoder(folder.path(), at::kFloat);
  EXPECT_TRUE(decoder.config.tie_word_embeddings);
  EXPECT_FALSE(decoder.lm_head.value.defined());
}

TEST(StoredModel, IsReadWhereTheFilesHoldTheHeadAlone) {
  const at::Tensor expected = logits_of(load_decoder(tiny_model("mha_tied"), at::kFloat), some_ids());
  test::TemporaryDirectory folder;
  write_model(folder.path(), {{kHead, embedding()}, {kEmbedding, {}}});
  const StoredModel stored = open_stored_model(folder.path());
  EXPECT_TRUE(stored.config.tie_word_embeddings);
  EXPECT_TRUE(stored.weights.contains(kEmbedding));
  EXPECT_TRUE(at::equal(logits_of(load_decoder(folder.path(), at::kFloat), some_ids()), expected));
}

TEST(StoredModel, WithoutItsOwnHeadIsRefusedWithTheWayOut) {
  test::TemporaryDirectory folder;
  write_model(folder.path(), {});
  Json config = read_json(folder / "config.json");
  config["tie_word_embeddings"] = false;
  write_json(folder / "config.json", config);
  EXPECT_THAT(message_of<InputError>([&] { load_decoder(folder.path(), at::kFloat); }),
              AllOf(HasSubstr("expected lm_head.weight"), HasSubstr("set it to true")));
}

TEST(TensorStore, ComparesTensorsAsNumbers) {
  test::TemporaryDirectory folder;
  const at::Tensor a = test::random_tensor({7, 3}, 1).to(at::kBFloat16);
  at::Tensor b = a.to(at::kFloat).clone();
  b[6][2] += 1e-3;
  checkpoint::write_safetensors(
      folder / "a.safetensors",
      {{"a", a}, {"wide", a.to(at::kFloat)}, {"other", b}, {"turned", a.t().contiguous()}});
  const auto store = TensorStore::open_file(folder / "a.safetensors");
  const auto is_equal = [&](const char* x, const char* y) {
    return TensorStore::are_equal(store, x, store, y);
  };
  EXPECT_TRUE(is_equal("a", "a"));
  EXPECT_TRUE(is_equal("a", "wide"));
  EXPECT_FALSE(is_equal("wide", "other"));
  EXPECT_FALSE(is_equal("a", "turned"));
}

}  // namespace
}  // namespace longlora::model
