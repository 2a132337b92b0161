// Writing .safetensors and model directories, and reading them back.
#include <ATen/ATen.h>

#include <cstring>

#include "longlora/checkpoint/tensor_store.h"
#include "longlora/core/json.h"
#include "test_support.h"

namespace longlora::checkpoint {
namespace {

namespace fs = std::filesystem;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

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

TEST_F(BrokenModelDirectory, RefusesShardsOutsideTheFolder) {
  for (const char* shard : {"../x.safetensors", "/etc/passwd", "..", ""}) {
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
              HasSubstr("expected model.safetensors or model.safetensors.index.json, got neither"));
  write_bytes(empty / "pytorch_model.bin", "x");
  EXPECT_THAT(input_error_of([&] { TensorStore::open_model_directory(empty.path()); }),
              HasSubstr("pytorch_model.bin has to be saved as safetensors"));
  EXPECT_THAT(input_error_of([&] { TensorStore::open_model_directory(empty / "none"); }),
              HasSubstr("nothing there"));
}

}  // namespace
}  // namespace longlora::checkpoint
