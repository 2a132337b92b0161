// Models in 4-bit NormalFloat: against what transformers and bitsandbytes save and compute.
#include "longlora/checkpoint/nf4_files.h"

#include "longlora/core/error.h"
#include "longlora/model/adapter.h"
#include "longlora/model/merge.h"
#include "tests/model/tiny_models.h"
#include "tests/support/temporary_directory.h"

namespace longlora::model {
namespace {

namespace fs = std::filesystem;
using checkpoint::NamedTensors;
using checkpoint::TensorStore;
using test::is_identical;
using test::message_of;
using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr const char* kWeight = "model.layers.1.mlp.down_proj.weight";

fs::path nf4_golden(const std::string& name) {
  return test::data_path("goldens/nf4") / name;
}

Json json_of(const at::Tensor& bytes) {
  return parse_json({static_cast<const char*>(bytes.data_ptr()), static_cast<size_t>(bytes.numel())},
                    "state");
}

TEST(QuantizedModel, IsSavedAsTransformersAndBitsandbytesSaveIt) {
  for (const auto& [name, double_quant] :
       {std::pair<const char*, bool>{"quantized", true}, {"plain_scales", false}}) {
    SCOPED_TRACE(name);
    const Decoder decoder =
        load_decoder(nf4_golden("base"), at::kBFloat16, {.quantize = ops::Nf4Options{64, double_quant}});
    const auto theirs = TensorStore::open_model_directory(nf4_golden(name));
    const NamedTensors ours = model_tensors(decoder, at::kBFloat16);
    EXPECT_EQ(ours.size(), theirs.tensors().size());
    for (const auto& [part, tensor] : ours) {
      SCOPED_TRACE(part);
      ASSERT_TRUE(theirs.contains(part));
      if (part.find("quant_state") != std::string::npos)
        EXPECT_EQ(json_of(tensor), json_of(theirs.load(part)));
      else
        EXPECT_TRUE(is_identical(tensor, theirs.load(part)));
    }
    const Json settings = model_config_json(decoder.config, "bfloat16")["quantization_config"];
    const Json expected = read_json(nf4_golden(name) / "config.json")["quantization_config"];
    for (const char* key :
         {"quant_method", "load_in_4bit", "load_in_8bit", "bnb_4bit_quant_type", "bnb_4bit_use_double_quant"})
      EXPECT_EQ(settings[key], expected[key]) << key;
  }
}

TEST(QuantizedModel, HasTheLogitsOfTransformersAndBitsandbytes) {
  const auto golden = TensorStore::open_file(nf4_golden("golden.safetensors"));
  const at::Tensor ids = golden.load("ids"), expected = golden.load("base_logits");
  const Decoder theirs = load_decoder(nf4_golden("quantized"), at::kFloat);
  EXPECT_EQ(theirs.config.quantization->block_size, 64);
  EXPECT_TRUE(theirs.config.quantization->double_quant);
  EXPECT_CLOSE(logits_of(theirs, ids), expected, 1e-5);
  const Decoder ours = load_decoder(nf4_golden("base"), at::kFloat, {.quantize = ops::Nf4Options()});
  EXPECT_CLOSE(logits_of(ours, ids), expected, 1e-5);
  // Four bits are not sixteen.
  EXPECT_GT(test::relative_difference(logits_of(load_decoder(nf4_golden("base"), at::kFloat), ids), expected),
            0.01);
}

TEST(QuantizedModel, ComesBackAsItWasSaved) {
  for (const ops::Nf4Options options : {ops::Nf4Options{256, true}, ops::Nf4Options{64, false}}) {
    const Decoder decoder = load_decoder(tiny_model("gqa_untied"), at::kFloat, {.quantize = options});
    test::TemporaryDirectory folder;
    save_decoder(decoder, folder.path(), at::kFloat);
    const Decoder again = load_decoder(folder.path(), at::kFloat);
    EXPECT_EQ(again.config.quantization->block_size, options.block_size);
    EXPECT_EQ(again.config.quantization->double_quant, options.double_quant);
    const auto left = model_tensors(decoder, at::kFloat), right = model_tensors(again, at::kFloat);
    ASSERT_EQ(left.size(), right.size());
    for (size_t i = 0; i < left.size(); ++i) {
      EXPECT_EQ(left[i].first, right[i].first);
      EXPECT_TRUE(is_identical(left[i].second, right[i].second)) << left[i].first;
    }
  }
}

TEST(QuantizedModel, HoldsTheLinearLayersOfEveryFamilyInFourBits) {
  for (const char* name : kFamilyModels) {
    SCOPED_TRACE(name);
    Decoder decoder = load_decoder(family_model(name), at::kFloat, {.quantize = ops::Nf4Options()});
    Decoder dense = load_decoder(family_model(name), at::kFloat);
    std::vector<at::Tensor> values;
    visit_linears(decoder, [&](const std::string&, const Linear& linear) {
      ASSERT_TRUE(linear.weight.value.is_nf4());
      values.push_back(ops::dequantize_nf4(linear.weight.value.nf4(), at::kFloat));
    });
    size_t next = 0;
    visit_linears(dense, [&](const std::string&, Linear& linear) {
      EXPECT_LT(test::relative_difference(values[next], linear.weight.value.dense()), 0.16);
      linear.weight.value = values[next++];
    });
    const at::Tensor ids = test::random_ids({2, 12}, 48, 3);
    EXPECT_CLOSE(logits_of(decoder, ids), logits_of(dense, ids), 1e-5);
    EXPECT_FALSE(decoder.head().value.is_nf4());
  }
}

TEST(QuantizedModel, TrainsPairsAloneAndKeepsThemBesideItsWeights) {
  Decoder decoder = load_decoder(nf4_golden("quantized"), at::kFloat);
  EXPECT_THROW(train_everything(decoder), UsageError);
  EXPECT_THROW(train_adapter(decoder, {"q_proj"}), UsageError);
  decoder = load_with_adapter(nf4_golden("quantized"), nf4_golden("adapter"), at::kFloat);
  const auto golden = TensorStore::open_file(nf4_golden("golden.safetensors"));
  merge_lora(decoder);
  EXPECT_TRUE(decoder.blocks[0].q_proj.lora.has_value());
  EXPECT_CLOSE(logits_of(decoder, golden.load("ids")), golden.load("logits"), 1e-5);
}

TEST(MergedModel, CanBeOfWhatFourBitsKept) {
  const auto golden = TensorStore::open_file(nf4_golden("golden.safetensors"));
  const auto adapter = checkpoint::PeftAdapter::open(nf4_golden("adapter"));
  const auto merged_logits = [&](const char* base, std::optional<ops::Nf4Options> quantize) {
    test::TemporaryDirectory folder;
    MergedModel(nf4_golden(base), adapter, {at::kFloat, MergeInto::kDequantized, quantize})
        .write(folder.path(), {});
    const Decoder merged = load_decoder(folder.path(), at::kFloat);
    EXPECT_FALSE(merged.config.quantization);
    EXPECT_FALSE(merged.blocks[0].q_proj.weight.value.is_nf4());
    return logits_of(merged, golden.load("ids"));
  };
  // What the run saw; the full-precision base gives another model.
  EXPECT_CLOSE(merged_logits("base", ops::Nf4Options()), golden.load("logits"), 1e-5);
  EXPECT_CLOSE(merged_logits("quantized", {}), golden.load("logits"), 1e-5);
  test::TemporaryDirectory folder;
  MergedModel(nf4_golden("base"), adapter, {.dtype = at::kFloat}).write(folder.path(), {});
  EXPECT_GT(test::relative_difference(logits_of(load_decoder(folder.path(), at::kFloat), golden.load("ids")),
                                      golden.load("logits")),
            0.01);
  EXPECT_THAT(message_of<InputError>([&] { MergedModel(nf4_golden("quantized"), adapter); }),
              HasSubstr("--merge_into dequantized"));
  EXPECT_THAT(message_of<UsageError>(
                  [&] { MergedModel(nf4_golden("base"), adapter, {.into = MergeInto::kDequantized}); }),
              HasSubstr("--quantize nf4"));
}

// Makes the first number of a tensor of floats in model.safetensors infinite or NaN, which no writer of ours
// writes: the upper half of a float32 is a bfloat16, and 0x7f80 is infinity there.
void spoil(const fs::path& folder, const std::string& tensor) {
  const fs::path file = folder / "model.safetensors";
  const checkpoint::TensorInfo info = TensorStore::open_file(file).info(tensor);
  std::string bytes = read_file(file);
  bytes.replace(info.offset_bytes + c10::elementSize(info.dtype) - 2, 2, "\x80\x7f");
  write_file_atomic(file, bytes);
}

// The message for a copy of the golden model of which `change` has altered the tensors, and of which one, if
// it is named, is not finite.
template <typename Change>
std::string refusal(const Change& change, const std::string& spoiled = "") {
  test::TemporaryDirectory folder;
  fs::copy_file(nf4_golden("quantized") / "config.json", folder / "config.json");
  const auto store = TensorStore::open_model_directory(nf4_golden("quantized"));
  std::map<std::string, at::Tensor> tensors;
  for (const auto& [name, info] : store.tensors()) tensors[name] = store.load(name);
  change(tensors);
  checkpoint::write_model_tensors(folder.path(), {tensors.begin(), tensors.end()});
  if (!spoiled.empty()) spoil(folder.path(), spoiled);
  return message_of<InputError>([&] { load_decoder(folder.path(), at::kFloat); });
}

// The same with one member of the settings replaced.
std::string refusal_of_state(const char* member, const Json& value) {
  return refusal([&](auto& tensors) {
    at::Tensor& bytes = tensors[std::string(kWeight) + ".quant_state.bitsandbytes__nf4"];
    Json state = json_of(bytes);
    state[member] = value;
    const std::string text = state.dump();
    bytes = at::empty({static_cast<int64_t>(text.size())}, at::kByte);
    std::copy(text.begin(), text.end(), bytes.mutable_data_ptr<uint8_t>());
  });
}

TEST(QuantizedModel, RefusesDamagedPartsByFileAndTensor) {
  const std::string weight = kWeight;
  const auto names_it = AllOf(HasSubstr("model.safetensors"), HasSubstr(kWeight));
  const auto without = [&](const std::string& end) {
    return refusal([&](auto& tensors) { tensors.erase(weight + end); });
  };
  for (const char* end : {".absmax", ".quant_map", ".nested_absmax", ".nested_quant_map"})
    EXPECT_THAT(without(end), AllOf(names_it, HasSubstr(end), HasSubstr("missing")));
  const auto replaced = [&](const std::string& end, const at::Tensor& value) {
    return refusal([&](auto& tensors) { tensors[weight + end] = value; });
  };
  EXPECT_THAT(replaced("", at::zeros({5, 1}, at::kByte)), AllOf(names_it, HasSubstr("bytes of codes")));
  EXPECT_THAT(replaced(".absmax", at::zeros({5}, at::kByte)), AllOf(names_it, HasSubstr("elements")));
  EXPECT_THAT(replaced(".absmax", at::zeros({128}, at::kFloat)), names_it);
  EXPECT_THAT(replaced(".quant_map", at::zeros({16}, at::kFloat)), AllOf(names_it, HasSubstr("16 values")));
  EXPECT_THAT(refusal([](auto&) {}, weight + ".nested_absmax"), AllOf(names_it, HasSubstr("finite")));
  EXPECT_THAT(replaced(".nested_quant_map", at::zeros({255}, at::kFloat)), names_it);
  EXPECT_THAT(replaced(".quant_state.bitsandbytes__nf4", at::full({3}, int64_t{'{'}, at::kByte)), names_it);
  EXPECT_THAT(replaced(".quant_state.bitsandbytes__nf4", at::zeros({1 << 20}, at::kByte)), names_it);
}

TEST(QuantizedModel, RefusesSettingsThatCannotBe) {
  const auto names_it = AllOf(HasSubstr("model.safetensors"), HasSubstr(kWeight));
  EXPECT_THAT(refusal_of_state("quant_type", "fp4"), names_it);
  EXPECT_THAT(refusal_of_state("blocksize", 48), names_it);
  EXPECT_THAT(refusal_of_state("blocksize", 128), names_it);  // other numbers of scales
  EXPECT_THAT(refusal_of_state("blocksize", "64"), names_it);
  EXPECT_THAT(refusal_of_state("dtype", "int8"), names_it);
  EXPECT_THAT(refusal_of_state("shape", {128, 64}), names_it);
  EXPECT_THAT(refusal_of_state("shape", {int64_t{1} << 62, 64}), names_it);
  EXPECT_THAT(refusal_of_state("nested_blocksize", 0), names_it);
  EXPECT_THAT(refusal_of_state("nested_blocksize", 1), names_it);
  EXPECT_THAT(refusal_of_state("nested_offset", 1e300), names_it);
  EXPECT_THAT(refusal_of_state("nested_offset", nullptr), names_it);
}

TEST(QuantizedModel, RefusesOtherKindsOfQuantisation) {
  const std::string weight = kWeight;
  EXPECT_THAT(refusal([&](auto& tensors) {
                tensors[weight + ".quant_state.bitsandbytes__fp4"] =
                    tensors[weight + ".quant_state.bitsandbytes__nf4"];
                tensors.erase(weight + ".quant_state.bitsandbytes__nf4");
              }),
              HasSubstr("got FP4"));
  const Json config = read_json(nf4_golden("quantized") / "config.json");
  const auto refused = [&](const Json& settings) {
    Json changed = config;
    changed["quantization_config"] = settings;
    return message_of<InputError>([&] { parse_model_config(changed, "config.json"); });
  };
  EXPECT_THAT(refused({{"quant_method", "gptq"}, {"bits", 4}}), HasSubstr("quantization_config"));
  EXPECT_THAT(refused({{"quant_method", "bitsandbytes"}, {"load_in_8bit", true}}), HasSubstr("NF4"));
  EXPECT_THAT(refused({{"load_in_4bit", true}, {"bnb_4bit_quant_type", "nf4"}, {"bnb_4bit_blocksize", 63}}),
              HasSubstr("bnb_4bit_blocksize"));
}

TEST(QuantizedModel, RefusesWeightsThatAreNotFinite) {
  test::TemporaryDirectory folder;
  for (const char* name : {"config.json", "model.safetensors"})
    fs::copy_file(nf4_golden("base") / name, folder / name);
  spoil(folder.path(), kWeight);
  EXPECT_THAT(message_of<InputError>(
                  [&] { load_decoder(folder.path(), at::kBFloat16, {.quantize = ops::Nf4Options()}); }),
              AllOf(HasSubstr("model.safetensors"), HasSubstr(kWeight), HasSubstr("finite")));
}

}  // namespace
}  // namespace longlora::model
