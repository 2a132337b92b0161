// Writing .safetensors and model directories, and reading them back.
#include <ATen/ATen.h>

#include <cmath>
#include <cstring>
#include <limits>

#include "longlora/checkpoint/tensor_store.h"
#include "longlora/checkpoint/tensor_writer.h"
#include "longlora/checkpoint/torch_writer.h"
#include "longlora/core/json.h"
#include "test_support.h"

namespace longlora::checkpoint {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

std::vector<std::string> names_in(const fs::path& folder) {
  std::vector<std::string> names;
  for (const auto& path : list_directory(folder)) names.push_back(path.filename().string());
  return names;
}

NamedTensors four_tensors() {
  return {{"d", at::arange(6, at::kFloat).view({2, 3})},
          {"c", at::arange(4, at::kFloat)},
          {"b", at::arange(100, at::kFloat)},
          {"a", at::arange(2, at::kFloat)}};
}

void expect_same_tensors(const TensorStore& store, const NamedTensors& tensors) {
  ASSERT_EQ(store.tensors().size(), tensors.size());
  for (const auto& [name, tensor] : tensors) {
    const at::Tensor loaded = store.load(name);
    EXPECT_EQ(loaded.scalar_type(), tensor.scalar_type()) << name;
    EXPECT_TRUE(loaded.equal(tensor)) << name;
  }
}

TEST(TensorWriter, EveryDtypeComesBackAsItWas) {
  TemporaryDirectory folder;
  NamedTensors tensors;
  for (at::ScalarType dtype : {at::kBool, at::kByte, at::kChar, at::kShort, at::kInt, at::kLong, at::kHalf,
                               at::kBFloat16, at::kFloat, at::kDouble})
    tensors.emplace_back(c10::toString(dtype), at::tensor({0, 1, 2, 3, 5}).to(dtype));
  tensors.emplace_back("scalar", at::scalar_tensor(3.25));
  tensors.emplace_back("empty", at::empty({0, 7}));
  write_safetensors(folder / "x.safetensors", tensors);
  expect_same_tensors(TensorStore::open_file(folder / "x.safetensors"), tensors);
}

TEST(TensorWriter, WritesViewsAsTheyLook) {
  TemporaryDirectory folder;
  const at::Tensor base = at::arange(12, at::kFloat).view({3, 4});
  const NamedTensors tensors = {
      {"transposed", base.t()}, {"columns", base.slice(1, 1, 3)}, {"expanded", base[0].expand({2, 4})}};
  write_safetensors(folder / "x.safetensors", tensors);
  expect_same_tensors(TensorStore::open_file(folder / "x.safetensors"), tensors);
}

TEST(TensorWriter, EveryTensorStartsAtAMultipleOfItsElementSize) {
  TemporaryDirectory folder;
  write_safetensors(folder / "x.safetensors", {{"bytes", at::ones({3}, at::kByte)},
                                               {"halves", at::ones({3}, at::kBFloat16)},
                                               {"doubles", at::ones({3}, at::kDouble)},
                                               {"floats", at::ones({3}, at::kFloat)}});
  const TensorStore store = TensorStore::open_file(folder / "x.safetensors");
  for (const auto& [name, info] : store.tensors())
    EXPECT_EQ(info.offset_bytes % c10::elementSize(info.dtype), 0u) << name;
  uint64_t header_bytes = 0;
  std::memcpy(&header_bytes, read_bytes(folder / "x.safetensors").data(), sizeof header_bytes);
  EXPECT_EQ(header_bytes % 8, 0u);
}

TEST(TensorWriter, TensorsOfOneDtypeKeepTheOrderGiven) {
  TemporaryDirectory folder;
  write_safetensors(folder / "x.safetensors", four_tensors());
  const TensorStore store = TensorStore::open_file(folder / "x.safetensors");
  EXPECT_LT(store.info("d").offset_bytes, store.info("c").offset_bytes);
  EXPECT_LT(store.info("b").offset_bytes, store.info("a").offset_bytes);
}

TEST(TensorWriter, MetadataSaysPyTorchUnlessGiven) {
  TemporaryDirectory folder;
  write_safetensors(folder / "x.safetensors", four_tensors());
  EXPECT_EQ(TensorStore::open_file(folder / "x.safetensors").metadata().at("format"), "pt");
  write_safetensors(folder / "y.safetensors", four_tensors(), {{"step", "7"}});
  EXPECT_EQ(TensorStore::open_file(folder / "y.safetensors").metadata(),
            (std::map<std::string, std::string>{{"step", "7"}}));
}

TEST(TensorWriter, RefusesTwoTensorsOfOneName) {
  TemporaryDirectory folder;
  const at::Tensor one = at::ones({1});
  EXPECT_THAT(input_error_of([&] {
                write_safetensors(folder / "x.safetensors", {{"a", one}, {"a", one}});
              }),
              HasSubstr("\"a\" twice"));
  EXPECT_TRUE(names_in(folder.path()).empty());
}

TEST(TensorWriter, AnUnwritablePlaceIsAResourceErrorAndLeavesNothing) {
  TemporaryDirectory folder;
  EXPECT_THROW(write_safetensors(folder / "missing/x.safetensors", four_tensors()), ResourceError);
  EXPECT_TRUE(names_in(folder.path()).empty());
}

// Writes tensors through the interface that makes each when its turn comes.
void write_as(const fs::path& path, TensorFormat format, const NamedTensors& tensors) {
  std::vector<TensorSpec> specs;
  for (const auto& [name, tensor] : tensors)
    specs.push_back({name, tensor.scalar_type(), tensor.sizes().vec()});
  const std::map<std::string, at::Tensor> by_name(tensors.begin(), tensors.end());
  write_tensor_file(path, format, specs, [&](const TensorSpec& spec) { return by_name.at(spec.name); });
}

TEST(TorchWriter, EveryDtypeComesBackAsItWas) {
  TemporaryDirectory folder;
  NamedTensors tensors;
  for (at::ScalarType dtype : {at::kBool, at::kByte, at::kChar, at::kShort, at::kInt, at::kLong, at::kHalf,
                               at::kBFloat16, at::kFloat, at::kDouble, at::kComplexFloat, at::kComplexDouble})
    tensors.emplace_back(c10::toString(dtype), at::tensor({0, 1, 2, 3, 5}).to(dtype));
  tensors.emplace_back("scalar", at::scalar_tensor(3.25));
  tensors.emplace_back("empty", at::empty({0, 7}));
  tensors.emplace_back("transposed", at::arange(12, at::kFloat).view({3, 4}).t());
  tensors.emplace_back("wide", at::zeros({1, 300}));
  write_as(folder / "x.bin", TensorFormat::kTorch, tensors);
  expect_same_tensors(TensorStore::open_file(folder / "x.bin"), tensors);
}

TEST(TorchWriter, WritesDtypesThatHaveNoStorageType) {
  TemporaryDirectory folder;
  const at::Tensor ids = at::tensor({1, 2, 65535}).to(at::kUInt16);
  write_as(folder / "x.bin", TensorFormat::kTorch,
           {{"ids", ids}, {"f8", at::ones({3}).to(at::kFloat8_e5m2)}});
  const TensorStore store = TensorStore::open_file(folder / "x.bin");
  EXPECT_EQ(store.info("f8").dtype, at::kFloat8_e5m2);
  EXPECT_TRUE(store.load("ids").to(at::kLong).equal(ids.to(at::kLong)));
}

TEST(TorchWriter, DataStartsAtMultiplesOf64Bytes) {
  TemporaryDirectory folder;
  write_as(folder / "x.bin", TensorFormat::kTorch, four_tensors());
  const TensorStore store = TensorStore::open_file(folder / "x.bin");
  for (const auto& [name, info] : store.tensors()) EXPECT_EQ(info.offset_bytes % 64, 0u) << name;
}

TEST(TorchWriter, ManyTensorsTakeTheLongFormOfTheTable) {
  TemporaryDirectory folder;
  NamedTensors tensors;
  for (int i = 0; i < 66000; ++i) tensors.emplace_back(std::to_string(i), at::scalar_tensor(i, at::kInt));
  write_as(folder / "x.bin", TensorFormat::kTorch, tensors);
  const TensorStore store = TensorStore::open_file(folder / "x.bin");
  ASSERT_EQ(store.tensors().size(), 66000u);
  EXPECT_EQ(store.load("65999").item<int>(), 65999);
}

TEST(TorchWriter, ChecksumsAreThoseOfZip) {
  EXPECT_EQ(internal::crc32(""), 0u);
  EXPECT_EQ(internal::crc32("123456789"), 0xcbf43926u);
  EXPECT_EQ(internal::crc32("The quick brown fox jumps over the lazy dog"), 0x414fa339u);
}

TEST(TensorWriter, MakesOneTensorAtATimeInTheOrderOfTheFile) {
  TemporaryDirectory folder;
  for (const TensorFormat format : {TensorFormat::kSafetensors, TensorFormat::kTorch}) {
    std::vector<std::string> made;
    const std::vector<TensorSpec> specs = {{"a", at::kFloat, {2}}, {"b", at::kFloat, {3}}};
    write_tensor_file(folder / "x", format, specs, [&](const TensorSpec& spec) {
      made.push_back(spec.name);
      return at::ones(spec.shape);
    });
    EXPECT_THAT(made, ElementsAre("a", "b"));
  }
}

TEST(TensorWriter, RefusesATensorThatIsNotWhatWasAnnounced) {
  TemporaryDirectory folder;
  EXPECT_THROW(write_tensor_file(folder / "x.bin", TensorFormat::kTorch, {{"a", at::kFloat, {2}}},
                                 [](const TensorSpec&) { return at::ones({3}); }),
               Error);
  EXPECT_TRUE(names_in(folder.path()).empty());
}

TEST(TensorWriter, RefusesNumbersThatAreNotFiniteAndLeavesNothing) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  TemporaryDirectory folder;
  const auto refusal = [&](TensorFormat format, at::ScalarType dtype, float number, int64_t place) {
    at::Tensor values = at::ones({3, 5000});
    values.view(-1)[place] = number;
    const NamedTensors tensors = {{"fine", at::ones({3})}, {"spoiled.weight", values.to(dtype)}};
    return input_error_of([&] { write_as(folder / "x", format, tensors); });
  };
  for (const TensorFormat format : {TensorFormat::kSafetensors, TensorFormat::kTorch})
    for (const at::ScalarType dtype : {at::kHalf, at::kBFloat16, at::kFloat, at::kDouble})
      for (const float number : {kInfinity, -kInfinity, std::nanf("")})
        for (const int64_t place : {0, 4097, 14999})
          EXPECT_THAT(refusal(format, dtype, number, place),
                      AllOf(HasSubstr("[spoiled.weight] expected finite numbers"),
                            HasSubstr(std::string("got ") +
                                      (std::isnan(number) ? "nan"
                                       : number > 0       ? "inf"
                                                          : "-inf") +
                                      " at element " + std::to_string(place) + " of 15000")));
  // What grew too large for the dtype asked for has a way out; what is not a number has none.
  EXPECT_THAT(refusal(TensorFormat::kSafetensors, at::kHalf, 1e6f, 7), HasSubstr("--dtype bfloat16"));
  EXPECT_THAT(refusal(TensorFormat::kSafetensors, at::kBFloat16, 3.4e38f, 7), HasSubstr("--dtype float32"));
  EXPECT_THAT(refusal(TensorFormat::kSafetensors, at::kHalf, std::nanf(""), 7), HasSubstr("damaged"));
  EXPECT_TRUE(names_in(folder.path()).empty());
}

TEST(TensorWriter, WritesTheLargestAndSmallestNumbersAndAnInfiniteMask) {
  TemporaryDirectory folder;
  const NamedTensors tensors = {
      {"half", at::tensor({65504.0, -65504.0, 6e-8}).to(at::kHalf)},
      {"bfloat16", at::tensor({3.38e38, -3.38e38, 1e-40}).to(at::kBFloat16)},
      {"float", at::tensor({3.4e38, -3.4e38, 1e-45}).to(at::kFloat)},
      {"gpt_neox.layers.0.attention.masked_bias", at::tensor({-1e9}).to(at::kHalf)}};
  write_safetensors(folder / "x.safetensors", tensors);
  expect_same_tensors(TensorStore::open_file(folder / "x.safetensors"), tensors);
}

TEST(ByteSize, ReadsWhatTransformersReadsAndMore) {
  EXPECT_EQ(parse_byte_size("5GB", "--max_shard_size"), 5'000'000'000u);
  EXPECT_EQ(parse_byte_size("1.5 MB", "--max_shard_size"), 1'500'000u);
  EXPECT_EQ(parse_byte_size("2GiB", "--max_shard_size"), 2147483648u);
  EXPECT_EQ(parse_byte_size("700", "--max_shard_size"), 700u);
  for (const char* text : {"", "GB", "-5GB", "0", "5XB", "1e30GB", "nan"})
    EXPECT_THROW(parse_byte_size(text, "--max_shard_size"), UsageError) << text;
}

TEST(ModelDirectory, TorchShardsHaveTheirOwnNames) {
  TemporaryDirectory folder;
  std::vector<TensorSpec> specs;
  for (const auto& [name, tensor] : four_tensors()) specs.push_back({name, at::kFloat, tensor.sizes().vec()});
  const NamedTensors tensors = four_tensors();
  const std::map<std::string, at::Tensor> by_name(tensors.begin(), tensors.end());
  const auto source = [&](const TensorSpec& spec) { return by_name.at(spec.name); };
  write_model_files(folder.path(), specs, source, {TensorFormat::kTorch, 40});
  EXPECT_THAT(names_in(folder.path()),
              ElementsAre("pytorch_model-00001-of-00003.bin", "pytorch_model-00002-of-00003.bin",
                          "pytorch_model-00003-of-00003.bin", "pytorch_model.bin.index.json"));
  expect_same_tensors(TensorStore::open_model_directory(folder.path()), tensors);
  write_model_files(folder.path(), specs, source, {TensorFormat::kTorch, 4000});
  fs::remove(folder / "pytorch_model-00001-of-00003.bin");
  expect_same_tensors(TensorStore::open_model_directory(folder.path()), tensors);
}

TEST(ModelDirectory, ASmallModelIsOneFile) {
  TemporaryDirectory folder;
  write_model_tensors(folder.path(), four_tensors());
  EXPECT_THAT(names_in(folder.path()), ElementsAre("model.safetensors"));
  expect_same_tensors(TensorStore::open_model_directory(folder.path()), four_tensors());
}

TEST(ModelDirectory, ALargeModelIsCutAsTransformersCutsIt) {
  TemporaryDirectory folder;
  write_model_tensors(folder.path(), four_tensors(), 40);  // d 24 + c 16 | b 400 | a 8
  EXPECT_THAT(names_in(folder.path()),
              ElementsAre("model-00001-of-00003.safetensors", "model-00002-of-00003.safetensors",
                          "model-00003-of-00003.safetensors", "model.safetensors.index.json"));
  const Json index = read_json(folder / "model.safetensors.index.json");
  EXPECT_EQ(index["metadata"]["total_size"], 448);
  EXPECT_EQ(index["weight_map"]["c"], "model-00001-of-00003.safetensors");
  EXPECT_EQ(index["weight_map"]["b"], "model-00002-of-00003.safetensors");
  const TensorStore store = TensorStore::open_model_directory(folder.path());
  expect_same_tensors(store, four_tensors());
  EXPECT_EQ(store.file_of("a").filename(), "model-00003-of-00003.safetensors");
}

TEST(ModelDirectory, WritingAgainInTheOtherFormLeavesOneModel) {
  TemporaryDirectory folder;
  write_model_tensors(folder.path(), four_tensors());
  write_model_tensors(folder.path(), {{"e", at::ones({9})}, {"f", at::ones({9})}}, 36);
  EXPECT_TRUE(TensorStore::open_model_directory(folder.path()).contains("e"));
  write_model_tensors(folder.path(), four_tensors());
  EXPECT_TRUE(TensorStore::open_model_directory(folder.path()).contains("a"));
}

class BrokenModelDirectory : public ::testing::Test {
 protected:
  void SetUp() override { write_model_tensors(folder_.path(), four_tensors(), 40); }
  std::string open_error() {
    return input_error_of([&] { TensorStore::open_model_directory(folder_.path()); });
  }
  void write_index(const std::string& text) { write_bytes(folder_ / "model.safetensors.index.json", text); }
  TemporaryDirectory folder_;
};

TEST_F(BrokenModelDirectory, NamesAMissingShard) {
  fs::remove(folder_ / "model-00002-of-00003.safetensors");
  EXPECT_THAT(open_error(), HasSubstr("the shard model-00002-of-00003.safetensors"));
}

TEST_F(BrokenModelDirectory, NamesATensorThatAShardLacks) {
  write_safetensors(folder_ / "model-00003-of-00003.safetensors", {{"z", at::ones({1})}});
  EXPECT_THAT(open_error(), HasSubstr("expected tensor \"a\""));
}

TEST_F(BrokenModelDirectory, RefusesAnUnlistedTensorInTwoShards) {
  const at::Tensor one = at::ones({1});
  write_safetensors(folder_ / "model-00002-of-00003.safetensors", {{"b", one}, {"z", one}});
  write_safetensors(folder_ / "model-00003-of-00003.safetensors", {{"a", one}, {"z", one}});
  EXPECT_THAT(open_error(), HasSubstr("\"z\" in one shard"));
}

TEST_F(BrokenModelDirectory, TakesTheLastOfTwoCopiesAsTransformersDoesAndWarnsWhereTheyDiffer) {
  const std::string second = "model-00002-of-00003.safetensors", third = "model-00003-of-00003.safetensors";
  const at::Tensor b = at::arange(100, at::kFloat), a = at::arange(2, at::kFloat);
  const auto opened = [&](const at::Tensor& copy) {
    write_safetensors(folder_ / third, {{"a", a}, {"b", copy}});
    testing::internal::CaptureStderr();
    const TensorStore store = TensorStore::open_model_directory(folder_.path());
    EXPECT_TRUE(store.load("b").equal(copy));
    return testing::internal::GetCapturedStderr();
  };
  EXPECT_THAT(opened(b), Not(HasSubstr("warning")));
  EXPECT_THAT(opened(b + 1), AllOf(HasSubstr("warning"), HasSubstr("\"b\" has other values in " + third),
                                   HasSubstr("than in " + second)));
}

TEST_F(BrokenModelDirectory, ReadsShardsBelowTheFolder) {
  fs::create_directory(folder_ / "sub");
  fs::rename(folder_ / "model-00002-of-00003.safetensors", folder_ / "sub/x.safetensors");
  std::string index = read_file(folder_ / "model.safetensors.index.json");
  const std::string name = "model-00002-of-00003.safetensors";
  index.replace(index.find(name), name.size(), "sub/x.safetensors");
  write_index(index);
  expect_same_tensors(TensorStore::open_model_directory(folder_.path()), four_tensors());
}

TEST_F(BrokenModelDirectory, RefusesShardsOutsideTheFolder) {
  for (const char* shard :
       {"../x.safetensors", "sub/../../x.safetensors", "./x", "/etc/passwd", "..", "sub/", ""}) {
    write_index(std::string(R"({"weight_map": {"a": ")") + shard + "\"}}");
    EXPECT_THAT(open_error(), HasSubstr("a file in the same folder")) << shard;
  }
}

TEST_F(BrokenModelDirectory, RefusesAnIndexWithoutAWeightMap) {
  for (const char* text : {"{}", "[]", R"({"weight_map": {}})", R"({"weight_map": 3})"}) {
    write_index(text);
    EXPECT_THAT(open_error(), HasSubstr("weight_map")) << text;
  }
}

TEST_F(BrokenModelDirectory, SaysWhatItLooksFor) {
  TemporaryDirectory empty;
  EXPECT_THAT(input_error_of([&] { TensorStore::open_model_directory(empty.path()); }),
              HasSubstr("expected model.safetensors, pytorch_model.bin, either's .index.json, Meta's "
                        "consolidated.00.pth or a GGUF file, got none"));
  write_bytes(empty / "consolidated.00.pth", "x");
  EXPECT_THAT(input_error_of([&] { TensorStore::open_model_directory(empty.path()); }),
              HasSubstr("params.json"));
  EXPECT_THAT(input_error_of([&] { TensorStore::open_model_directory(empty / "none"); }),
              HasSubstr("nothing there"));
}

}  // namespace
}  // namespace longlora::checkpoint
