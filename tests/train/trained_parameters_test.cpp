#include "longlora/train/trained_parameters.h"

#include "longlora/model/adapter.h"
#include "longlora/tensors/disk_tensor.h"
#include "tests/model/tiny_models.h"
#include "tests/train/support.h"

namespace longlora::train {
namespace {

namespace fs = std::filesystem;

model::PreciseValue masters_of(TrainedModel& decoder) {
  return [&](const model::Parameter& parameter) { return decoder.trained().precise(parameter); };
}

TEST(TrainedParameters, AreThoseThatWereMadeTrainableWithTheirRoles) {
  TrainedModel decoder = model::load_decoder(tiny_model("gqa_untied"), at::kFloat);
  checkpoint::LoraConfig config;
  config.target_modules = {"v_proj"};
  model::add_lora(decoder, config, 1);
  model::train_adapter(decoder, {"layers.1.input_layernorm"});
  std::vector<std::pair<std::string, model::ParameterRole>> found;
  for (const TrainedParameter& trained : decoder.trained().all()) {
    found.emplace_back(trained.name, trained.role);
    EXPECT_EQ(trained.grad.abs().sum().item<double>(), 0.0);
  }
  using model::ParameterRole;
  EXPECT_THAT(found, ::testing::ElementsAre(
                         std::pair("model.layers.0.self_attn.v_proj.lora_A.weight", ParameterRole::kPairA),
                         std::pair("model.layers.0.self_attn.v_proj.lora_B.weight", ParameterRole::kPairB),
                         std::pair("model.layers.1.input_layernorm.weight", ParameterRole::kNormWeight),
                         std::pair("model.layers.1.self_attn.v_proj.lora_A.weight", ParameterRole::kPairA),
                         std::pair("model.layers.1.self_attn.v_proj.lora_B.weight", ParameterRole::kPairB),
                         std::pair("model.layers.2.self_attn.v_proj.lora_A.weight", ParameterRole::kPairA),
                         std::pair("model.layers.2.self_attn.v_proj.lora_B.weight", ParameterRole::kPairB)));
  EXPECT_EQ(decoder.trained().find(decoder.embed_tokens), nullptr);
}

TEST(TrainedParameters, SaveFromTheirMasters) {
  test::TemporaryDirectory folder;
  TrainedModel decoder = model::load_decoder(tiny_model("mha_tied"), at::kBFloat16);
  decoder.norm.weight.make_trainable();
  TrainedParameter& norm = decoder.of(decoder.norm.weight);
  norm.master.fill_(1.0009765625f);  // more bits than bfloat16 has
  norm.refresh_elements(0, norm.master.numel());
  EXPECT_EQ(decoder.norm.weight.value.dense().detach()[0].item<float>(), 1.0f);
  model::save_decoder(decoder, folder.path(), at::kFloat, masters_of(decoder));
  EXPECT_EQ(model::load_decoder(folder.path(), at::kFloat).norm.weight.value.dense()[0].item<float>(),
            1.0009765625f);
}

TEST(TrainedParameters, ShareTheirMasterInFloat32Alone) {
  TrainedModel wide = full_model("mha_tied"), narrow = full_model("mha_tied", at::kBFloat16);
  EXPECT_TRUE(wide.of(wide.norm.weight).master.is_same(wide.norm.weight.value.dense()));
  EXPECT_TRUE(wide.norm.weight.value.requires_grad());
  TrainedParameter& norm = narrow.of(narrow.norm.weight);
  EXPECT_EQ(norm.master.scalar_type(), at::kFloat);
  norm.master.add_(1.0);
  norm.refresh_elements(0, norm.master.numel());
  EXPECT_TRUE(at::equal(narrow.norm.weight.value.dense().detach(), norm.master.to(at::kBFloat16)));
}

TEST(TrainedParameters, TakeWhatTheFilesHoldAndNotWhatBfloat16MadeOfIt) {
  const fs::path base = tiny_model("gqa_untied"), peft = test::data_path("goldens/peft_adapter");
  const auto adapter = checkpoint::PeftAdapter::open(peft);
  const auto store = checkpoint::TensorStore::open_model_directory(base);
  TrainedModel decoder = model::load_with_adapter(base, peft, at::kBFloat16);
  model::train_adapter(decoder, {"embed", "norm", "lm_head"});
  decoder.trained().load_masters(store, &adapter);
  const std::string module = adapter.modules().front();
  int pairs = 0;
  model::visit_linears(decoder, [&](const std::string& name, model::Linear& linear) {
    if (name != module) return;
    EXPECT_TRUE(at::equal(decoder.of(linear.lora->a).master, adapter.load_a(module)));
    EXPECT_TRUE(at::equal(decoder.of(linear.lora->b).master, adapter.load_b(module)));
    EXPECT_FALSE(at::equal(linear.lora->a.value.dense().to(at::kFloat), decoder.of(linear.lora->a).master));
    ++pairs;
  });
  EXPECT_EQ(pairs, 1);
  // Trained parameters come from the adapter, others that train from the base.
  const at::Tensor embedding = decoder.of(decoder.embed_tokens).master;
  EXPECT_TRUE(at::equal(embedding, adapter.load_parameter("model.embed_tokens.weight")));
  EXPECT_TRUE(at::equal(decoder.of(decoder.lm_head).master, store.load("lm_head.weight")));
  // What the model computes with is the same as before.
  EXPECT_TRUE(at::equal(decoder.embed_tokens.value.dense(), embedding.to(at::kBFloat16)));
}

TEST(TrainedParameters, ReadBackAsTheSameAdapter) {
  for (const char* name : {"gqa_untied", "mha_tied"})
    for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16}) {
      SCOPED_TRACE(name);
      TrainedModel decoder = lora_plus_model(name, dtype);
      const auto tensors = model::adapter_tensors(decoder, masters_of(decoder));
      test::TemporaryDirectory folder;
      checkpoint::write_peft_adapter(folder.path(), {}, tensors.lora, tensors.parameters);
      const auto again = model::load_with_adapter(tiny_model(name), folder.path(), dtype);
      const at::Tensor ids = test::random_ids({2, 9}, 96, 1);
      EXPECT_TRUE(at::equal(model::logits_of(again, ids), model::logits_of(decoder, ids)));
      for (const auto& [parameter, value] : tensors.parameters)
        EXPECT_EQ(value.scalar_type(), at::kFloat) << parameter;
    }
}

TEST(TrainedParameters, LieOnADiskWhereTheirPlaceSaysSo) {
  const test::TemporaryDirectory folder;
  TrainedModel decoder(full_model("gqa_untied", at::kBFloat16),
                       {.place = {StateOnDisk::kEmbedding, folder.path()}});
  const at::Tensor before = decoder.embed_tokens.value.dense().detach().clone();
  const TrainedParameter& embedding = decoder.of(decoder.embed_tokens);
  EXPECT_TRUE(tensors::is_on_disk(embedding.master));
  EXPECT_TRUE(tensors::is_on_disk(decoder.embed_tokens.value.dense()));
  EXPECT_TRUE(decoder.embed_tokens.trainable());
  EXPECT_TRUE(at::equal(decoder.embed_tokens.value.dense(), before));
  EXPECT_TRUE(tensors::is_on_disk(decoder.trained().zeros_for(embedding, at::kFloat)));
  const TrainedParameter& head = decoder.of(decoder.lm_head);
  EXPECT_FALSE(tensors::is_on_disk(head.master));
  EXPECT_FALSE(tensors::is_on_disk(decoder.trained().zeros_for(head, at::kFloat)));
}

}  // namespace
}  // namespace longlora::train
