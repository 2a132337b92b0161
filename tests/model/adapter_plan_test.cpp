// Every part of an adapter that PEFT stores, beside its base and merged, against PEFT; and what becomes of
// ties.
#include "longlora/model/adapter_plan.h"

#include <functional>

#include "longlora/core/error.h"
#include "longlora/core/json.h"
#include "longlora/model/adapter.h"
#include "longlora/model/merge.h"
#include "tests/model/tiny_models.h"
#include "tests/support/temporary_directory.h"

namespace longlora::model {
namespace {

namespace fs = std::filesystem;
using checkpoint::LoraConfig;
using checkpoint::NamedTensors;
using checkpoint::PeftAdapter;
using checkpoint::TensorStore;
using test::message_of;
using ::testing::AllOf;
using ::testing::HasSubstr;

fs::path case_folder(const std::string& name) {
  return test::data_path("goldens/adapter_parts") / name;
}

fs::path base_of(const std::string& name) {
  return case_folder("bases") / name;
}

// Writes the merged model into `folder`.
void merge_into(const fs::path& folder, const fs::path& base, const fs::path& adapter_path) {
  const PeftAdapter adapter = PeftAdapter::open(adapter_path);
  MergedModel(base, adapter).write(folder, {});
}

class AdapterParts : public ::testing::TestWithParam<std::string> {};

TEST_P(AdapterParts, ComputeWhatPeftComputes) {
  const Json expected = read_json(case_folder("cases.json"))[GetParam()];
  const fs::path base = base_of(expected["base"]), adapter = case_folder(GetParam());
  const auto golden = TensorStore::open_file(adapter / "golden.safetensors");
  const at::Tensor ids = golden.load("ids");
  const Decoder decoder = load_with_adapter(base, adapter, at::kFloat);
  EXPECT_CLOSE(logits_of(decoder, ids), golden.load("logits"), 1e-5);
  EXPECT_EQ(decoder.lm_head.value.defined(), !expected["tied"].get<bool>());
  EXPECT_EQ(decoder.config.vocab_size, expected["rows"]);
}

TEST_P(AdapterParts, AreMergedIntoAModelThatComputesTheSame) {
  if (GetParam() == "pair_bias") GTEST_SKIP() << "its base has no bias that could be merged into";
  const Json expected = read_json(case_folder("cases.json"))[GetParam()];
  const fs::path adapter = case_folder(GetParam());
  const auto golden = TensorStore::open_file(adapter / "golden.safetensors");
  test::TemporaryDirectory merged;
  merge_into(merged.path(), base_of(expected["base"]), adapter);
  EXPECT_CLOSE(logits_of(load_decoder(merged.path(), at::kFloat), golden.load("ids")), golden.load("logits"),
               1e-5);
  const Json config = read_json(merged / "config.json");
  EXPECT_EQ(config["tie_word_embeddings"], expected["tied"]);
  EXPECT_EQ(config["vocab_size"], expected["rows"]);
  const std::string head =
      std::string(parse_model_config(config, "config").family().names.lm_head) + ".weight";
  EXPECT_EQ(TensorStore::open_model_directory(merged.path()).contains(head), !expected["tied"].get<bool>());
}

INSTANTIATE_TEST_SUITE_P(
    Cases, AdapterParts,
    ::testing::Values("resized", "resized_down", "saved_embedding", "saved_head", "saved_both",
                      "saved_embedding_resized", "saved_head_resized", "saved_tied", "pair_embedding",
                      "pair_head", "pair_both", "pair_tied", "pair_tied_by_head", "pair_embedding_resized",
                      "pair_head_saved_embedding", "rows", "rows_of_both", "rows_of_head", "rows_resized",
                      "rows_and_pair_head", "untied_saved_resized", "untied_resized_down", "untied_pairs",
                      "untied_dora", "untied_rows", "saved_norms", "saved_mlp", "one_layer", "excluded",
                      "pair_bias", "bias_all", "bias_lora_only", "biases_pair_bias", "neox_pair_head",
                      "neox_tied_saved", "neox_dora_resized", "neox_saved"),
    [](const auto& tested) { return tested.param; });

TEST(MergedModel, RefusesBiasesOfPairsForLayersWithoutOne) {
  test::TemporaryDirectory merged;
  EXPECT_THAT(
      message_of<InputError>([&] { merge_into(merged.path(), base_of("untied"), case_folder("pair_bias")); }),
      AllOf(HasSubstr("lora_bias"), HasSubstr("q_proj"), HasSubstr("--peft_model")));
}

// An adapter folder whose tensors have other names.
void copy_renamed(const fs::path& from, const fs::path& to,
                  const std::function<std::string(const std::string&)>& renamed) {
  fs::copy_file(from / "adapter_config.json", to / "adapter_config.json");
  const auto store = TensorStore::open_file(from / "adapter_model.safetensors");
  NamedTensors tensors;
  for (const auto& [name, info] : store.tensors()) tensors.emplace_back(renamed(name), store.load(name));
  checkpoint::write_safetensors(to / "adapter_model.safetensors", tensors);
}

TEST(LoadAdapter, TakesNamesThatWrappersHaveChanged) {
  const fs::path adapter = case_folder("pair_head_saved_embedding");
  const auto golden = TensorStore::open_file(adapter / "golden.safetensors");
  const std::string prefix = "base_model.model.";
  const std::vector<std::function<std::string(const std::string&)>> changes = {
      [&](const std::string& name) { return "module." + name; },
      [&](const std::string& name) { return prefix + name; },
      [&](const std::string& name) { return prefix + "_orig_mod." + name.substr(prefix.size()); },
      [&](const std::string& name) { return "_fsdp_wrapped_module." + name; },
  };
  for (const auto& renamed : changes) {
    test::TemporaryDirectory folder, merged;
    copy_renamed(adapter, folder.path(), renamed);
    const Decoder decoder = load_with_adapter(base_of("tied"), folder.path(), at::kFloat);
    EXPECT_CLOSE(logits_of(decoder, golden.load("ids")), golden.load("logits"), 1e-5);
    merge_into(merged.path(), base_of("tied"), folder.path());
    EXPECT_CLOSE(logits_of(load_decoder(merged.path(), at::kFloat), golden.load("ids")),
                 golden.load("logits"), 1e-5);
  }
}

TEST(RequireTrainable, NamesThePartsThatHaveNoPlaceInTraining) {
  const auto check_trainable = [](const std::string& name_of_base, const std::string& name) {
    const Decoder base = load_decoder(base_of(name_of_base), at::kFloat);
    const auto adapter = PeftAdapter::open(case_folder(name));
    require_trainable(plan_adapter(base, adapter), base, adapter);
  };
  const auto refusal = [&](const std::string& base, const std::string& name) {
    return message_of<UsageError>([&] { check_trainable(base, name); });
  };
  EXPECT_THAT(refusal("tied", "pair_both"),
              AllOf(HasSubstr("a low-rank pair of lm_head.weight"),
                    HasSubstr("a low-rank pair of model.embed_tokens.weight"), HasSubstr("merge")));
  EXPECT_THAT(refusal("tied", "rows"), HasSubstr("single rows of model.embed_tokens.weight"));
  EXPECT_THAT(refusal("untied", "pair_bias"), HasSubstr("lora_bias"));
  for (const char* name : {"resized", "saved_embedding_resized"}) check_trainable("tied", name);
}

// What an adapter that is trained further, and not changed, is written as, read again.
at::Tensor logits_of_continued(const fs::path& base, const fs::path& adapter_path,
                               const std::vector<std::string>& patterns, const at::Tensor& ids) {
  test::TemporaryDirectory folder, merged;
  const LoraConfig config = PeftAdapter::open(adapter_path).config();
  Decoder decoder = load_with_adapter(base, adapter_path, at::kFloat);
  train_adapter(decoder, patterns, config);
  const AdapterTensors tensors = adapter_tensors(decoder);
  checkpoint::write_peft_adapter(folder.path(), config, tensors.lora, tensors.parameters);
  merge_into(merged.path(), base, folder.path());
  const at::Tensor logits = logits_of(load_with_adapter(base, folder.path(), at::kFloat), ids);
  EXPECT_CLOSE(logits_of(load_decoder(merged.path(), at::kFloat), ids), logits, 1e-5);
  return logits;
}

TEST(TrainAdapter, LosesNothingOfAnAdapterThatIsContinued) {
  const Json cases = read_json(case_folder("cases.json"));
  for (const char* name :
       {"resized", "resized_down", "saved_embedding", "saved_head", "saved_both", "saved_embedding_resized",
        "saved_head_resized", "saved_tied", "untied_saved_resized", "saved_norms", "saved_mlp", "one_layer",
        "excluded", "bias_all", "bias_lora_only"})
    for (const std::vector<std::string>& patterns :
         {std::vector<std::string>{}, std::vector<std::string>{"embed", "norm"}}) {
      const auto golden = TensorStore::open_file(case_folder(name) / "golden.safetensors");
      EXPECT_CLOSE(
          logits_of_continued(base_of(cases[name]["base"]), case_folder(name), patterns, golden.load("ids")),
          golden.load("logits"), 1e-5)
          << name;
    }
}

TEST(TrainAdapter, TrainsWhatTheAdapterTrainedWhole) {
  Decoder decoder = load_with_adapter(base_of("tied"), case_folder("saved_head"), at::kFloat);
  train_adapter(decoder, {}, PeftAdapter::open(case_folder("saved_head")).config());
  EXPECT_TRUE(decoder.lm_head.trainable());
  EXPECT_FALSE(decoder.embed_tokens.trainable());
}

}  // namespace
}  // namespace longlora::model
