// Reading .safetensors: values as other programs wrote them, and files that lie.
#include <ATen/ATen.h>

#include <cstring>

#include "longlora/checkpoint/safetensors_header.h"
#include "longlora/checkpoint/tensor_store.h"
#include "longlora/core/json.h"
#include "longlora/core/memory.h"
#include "longlora/tensors/dtypes.h"
#include "test_support.h"

namespace longlora::checkpoint {
namespace {

using ::testing::HasSubstr;

const std::filesystem::path kData = std::filesystem::path(LONGLORA_SOURCE_DIR) / "tests/data/checkpoint";

class HostileSafetensors : public ::testing::Test {
 protected:
  std::string open_error(const std::string& bytes) {
    write_bytes(folder_ / "x.safetensors", bytes);
    const std::string message = input_error_of([&] { TensorStore::open_file(folder_ / "x.safetensors"); });
    EXPECT_THAT(message, HasSubstr("x.safetensors"));
    return message;
  }
  std::string header_error(const std::string& header, size_t data_bytes = 0) {
    return open_error(safetensors_bytes(header, data_bytes));
  }
  TemporaryDirectory folder_;
};

TEST(Safetensors, ReadsEveryDtypeAsThePythonLibraryWroteIt) {
  const TensorStore store = TensorStore::open_file(kData / "every_dtype.safetensors");
  const Json expected = read_json(kData / "every_dtype.json");
  ASSERT_EQ(store.tensors().size(), expected.size());
  for (const auto& [name, golden] : expected.items()) {
    SCOPED_TRACE(name);
    const at::Tensor tensor = store.load(name);
    EXPECT_EQ(tensor.sizes().vec(), golden["shape"].get<std::vector<int64_t>>());
    EXPECT_TRUE(tensor.is_contiguous());
    const bool is_float = tensor.is_floating_point();
    const at::Tensor flat = tensor.to(is_float ? at::kDouble : at::kLong).flatten();
    ASSERT_EQ(flat.numel(), static_cast<int64_t>(golden["values"].size()));
    for (int64_t i = 0; i < flat.numel(); ++i) {
      const std::string text = golden["values"][i];
      if (is_float)
        EXPECT_EQ(flat[i].item<double>(), std::strtod(text.c_str(), nullptr));
      else
        EXPECT_EQ(flat[i].item<int64_t>(), std::strtoll(text.c_str(), nullptr, 10));
    }
  }
  EXPECT_EQ(store.info("bf16").dtype, at::kBFloat16);
  EXPECT_EQ(store.info("f8_e4m3").dtype, at::kFloat8_e4m3fn);
  EXPECT_EQ(store.metadata().at("note"), "ä \"quoted\"");
}

TEST(Safetensors, OpeningAModelLargerThanMemoryTakesNone) {
  constexpr int64_t kHalf = 6'500'000'000;
  const std::string header =
      R"({"a":{"dtype":"U8","shape":[6500000000],"data_offsets":[0,6500000000]},)"
      R"("b":{"dtype":"U8","shape":[65,100000000],"data_offsets":[6500000000,13000000000]}})";
  TemporaryDirectory folder;
  write_bytes(folder / "x.safetensors", safetensors_bytes(header, 0));
  // A file with a hole takes no disk either.
  std::filesystem::resize_file(folder / "x.safetensors", 8 + header.size() + 2 * kHalf);
  const int64_t before = current_rss_bytes();
  const TensorStore store = TensorStore::open_file(folder / "x.safetensors");
  EXPECT_EQ(store.info("b").num_bytes, static_cast<uint64_t>(kHalf));
  EXPECT_LT(current_rss_bytes() - before, int64_t{16} << 20);
}

TEST(Safetensors, LoadChecksTheShapeAndConvertsTheDtype) {
  const TensorStore store = TensorStore::open_file(kData / "every_dtype.safetensors");
  const at::Tensor converted = store.load("bf16", {2, 4}, at::kFloat);
  EXPECT_EQ(converted.scalar_type(), at::kFloat);
  const std::string message = input_error_of([&] { store.load("bf16", {4, 2}, at::kFloat); });
  EXPECT_THAT(message, HasSubstr("every_dtype.safetensors"));
  EXPECT_THAT(message, HasSubstr("expected shape [4, 2], got [2, 4]"));
}

TEST(Safetensors, RefusesWholeNumbersWhereWeightsAreWanted) {
  const TensorStore store = TensorStore::open_file(kData / "every_dtype.safetensors");
  const std::string message = input_error_of([&] { store.load("i16", store.info("i16").shape, at::kFloat); });
  EXPECT_THAT(message, HasSubstr("\"i16\": expected floating point, got Short"));
}

TEST(Safetensors, NamesTheNearestTensorWhenOneIsMissing) {
  const TensorStore store = TensorStore::open_file(kData / "every_dtype.safetensors");
  EXPECT_THAT(input_error_of([&] { store.load("scaler"); }), HasSubstr("the nearest is \"scalar\""));
}

TEST(Safetensors, ALoadedTensorOutlivesItsStore) {
  at::Tensor tensor;
  { tensor = TensorStore::open_file(kData / "every_dtype.safetensors").load("i16"); }
  EXPECT_EQ(tensor[1].item<int64_t>(), 32767);
}

TEST(Safetensors, AnyNonZeroByteIsTrue) {
  TemporaryDirectory folder;
  std::string bytes = safetensors_bytes(R"({"a":{"dtype":"BOOL","shape":[3],"data_offsets":[0,3]}})", 3);
  bytes[bytes.size() - 1] = 2;
  write_bytes(folder / "x.safetensors", bytes);
  const at::Tensor tensor = TensorStore::open_file(folder / "x.safetensors").load("a");
  EXPECT_TRUE(tensor.equal(at::tensor({0, 0, 1}).to(at::kBool)));
}

TEST(Safetensors, AFileWithoutTensorsIsEmpty) {
  TemporaryDirectory folder;
  write_bytes(folder / "x.safetensors", safetensors_bytes("{}", 0));
  EXPECT_TRUE(TensorStore::open_file(folder / "x.safetensors").tensors().empty());
}

TEST_F(HostileSafetensors, RefusesAMissingFile) {
  EXPECT_THAT(input_error_of([&] { TensorStore::open_file(folder_ / "none.safetensors"); }),
              HasSubstr("none.safetensors"));
}

TEST_F(HostileSafetensors, RefusesAFileTooShortForALength) {
  EXPECT_THAT(open_error("abc"), HasSubstr("got 3 bytes"));
}

TEST_F(HostileSafetensors, RefusesAnEmptyFile) {
  EXPECT_THAT(open_error(""), HasSubstr("x.safetensors"));
}

TEST_F(HostileSafetensors, RefusesATruncatedHeader) {
  const std::string whole = safetensors_bytes(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})", 4);
  EXPECT_THAT(open_error(whole.substr(0, 30)), HasSubstr("truncated"));
}

TEST_F(HostileSafetensors, RefusesAHeaderLengthBeyondTheLimit) {
  EXPECT_THAT(open_error(std::string(7, '\xff') + '\x7f' + "{}"), HasSubstr("at most 100000000 bytes"));
  EXPECT_THAT(open_error(std::string(8, '\xff') + "{}"), HasSubstr("at most 100000000 bytes"));
}

TEST_F(HostileSafetensors, RefusesEveryTruncationOfTheData) {
  const std::string whole =
      safetensors_bytes(R"({"a":{"dtype":"F32","shape":[4],"data_offsets":[0,16]}})", 16);
  for (size_t cut = 1; cut <= 16; ++cut)
    EXPECT_THAT(open_error(whole.substr(0, whole.size() - cut)), HasSubstr("truncated or damaged"));
}

TEST_F(HostileSafetensors, RefusesSomethingElseThanAnObject) {
  EXPECT_THAT(header_error("[1,2]"), HasSubstr("starts with '{'"));
  EXPECT_THAT(header_error(""), HasSubstr("starts with '{'"));
  EXPECT_THAT(header_error("\x80\x02}q"), HasSubstr("starts with '{'"));
}

TEST_F(HostileSafetensors, RefusesBrokenJsonAndSaysWhere) {
  EXPECT_THAT(header_error(R"({"a":)"), HasSubstr("syntax error at byte"));
  EXPECT_THAT(header_error(R"({} {})"), HasSubstr("syntax error at byte"));
  EXPECT_THAT(header_error("{\"\xff\":1}"), HasSubstr("syntax error at byte"));
}

TEST_F(HostileSafetensors, RefusesDeepNesting) {
  std::string header = "{\"a\":";
  for (int i = 0; i < 100000; ++i) header += "{\"shape\":";
  EXPECT_THAT(header_error(header), HasSubstr("got an object at \"a\""));
  EXPECT_THAT(header_error(R"({"a":{"shape":[[1]],"dtype":"F32","data_offsets":[0,4]}})", 4),
              HasSubstr("a list"));
}

TEST_F(HostileSafetensors, RefusesDuplicateNamesAndFields) {
  const std::string entry = R"({"dtype":"F32","shape":[1],"data_offsets":[0,4]})";
  EXPECT_THAT(header_error("{\"a\":" + entry + ",\"a\":" + entry + "}", 4), HasSubstr("\"a\" twice"));
  EXPECT_THAT(header_error(R"({"a":{"dtype":"F32","dtype":"F16","shape":[1],"data_offsets":[0,4]}})", 4),
              HasSubstr("\"dtype\" twice"));
  EXPECT_THAT(header_error(R"({"__metadata__":{"k":"1","k":"2"}})"), HasSubstr("\"k\" twice"));
}

TEST_F(HostileSafetensors, RefusesMissingAndUnknownFields) {
  EXPECT_THAT(header_error(R"({"a":{"dtype":"F32","shape":[1]}})", 4), HasSubstr("lacks one of them"));
  EXPECT_THAT(header_error(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4],"stride":[1]}})", 4),
              HasSubstr("unknown field \"stride\""));
}

TEST_F(HostileSafetensors, RefusesAnUnknownDtype) {
  EXPECT_THAT(header_error(R"({"a":{"dtype":"Q4","shape":[1],"data_offsets":[0,4]}})", 4),
              HasSubstr("tensor \"a\": expected a known dtype"));
}

TEST_F(HostileSafetensors, RefusesWrongTypes) {
  EXPECT_THAT(header_error(R"({"a":{"dtype":7,"shape":[1],"data_offsets":[0,4]}})", 4),
              HasSubstr("a number"));
  EXPECT_THAT(header_error(R"({"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}})", 4),
              HasSubstr("a negative number"));
  EXPECT_THAT(header_error(R"({"a":{"dtype":"F32","shape":[1.5],"data_offsets":[0,4]}})", 4),
              HasSubstr("1.5"));
  EXPECT_THAT(header_error(R"({"a":{"dtype":"F32","shape":[18446744073709551616],"data_offsets":[0,4]}})", 4),
              HasSubstr("not an unsigned 64-bit integer"));
  EXPECT_THAT(header_error(R"({"__metadata__":{"k":1}})"), HasSubstr("a number"));
  EXPECT_THAT(header_error(R"({"a":null})"), HasSubstr("null"));
}

TEST_F(HostileSafetensors, RefusesOffsetsOutsideTheData) {
  EXPECT_THAT(header_error(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}})", 4),
              HasSubstr("[4, 8]"));
  EXPECT_THAT(header_error(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[4,0]}})", 4),
              HasSubstr("[4, 0]"));
  EXPECT_THAT(
      header_error(
          R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[18446744073709551615,18446744073709551615]}})",
          4),
      HasSubstr("truncated or damaged"));
  EXPECT_THAT(header_error(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4,8]}})", 8),
              HasSubstr("two data_offsets"));
}

TEST_F(HostileSafetensors, RefusesAShapeThatDoesNotFitItsBytes) {
  EXPECT_THAT(header_error(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}})", 4),
              HasSubstr("expected 8 bytes for shape [2] of F32, got 4"));
}

TEST_F(HostileSafetensors, RefusesAShapeWhoseProductOverflows) {
  // 2^62 elements of 4 bytes are 0 bytes modulo 2^64.
  EXPECT_THAT(header_error(R"({"a":{"dtype":"F32","shape":[4611686018427387904],"data_offsets":[0,0]}})"),
              HasSubstr("fits in memory"));
  EXPECT_THAT(header_error(R"({"a":{"dtype":"U8","shape":[4294967296,4294967296],"data_offsets":[0,0]}})"),
              HasSubstr("fits in memory"));
  EXPECT_THAT(header_error(R"({"a":{"dtype":"U8","shape":[0,4294967296,4294967296],"data_offsets":[0,0]}})"),
              HasSubstr("fits in memory"));
}

TEST_F(HostileSafetensors, RefusesTooManyDimensions) {
  std::string shape = "1";
  for (int i = 0; i < 64; ++i) shape += ",1";
  EXPECT_THAT(header_error("{\"a\":{\"dtype\":\"U8\",\"shape\":[" + shape + "],\"data_offsets\":[0,1]}}", 1),
              HasSubstr("more than 64 numbers"));
}

TEST_F(HostileSafetensors, RefusesOverlapsHolesAndRests) {
  const std::string a = R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},)";
  EXPECT_THAT(header_error(a + R"("b":{"dtype":"U8","shape":[4],"data_offsets":[2,6]}})", 6),
              HasSubstr("\"b\": expected data of its own, got bytes that overlap those of \"a\""));
  // An empty one before it is not what it overlaps, and one inside another is named with its owner.
  const std::string none = R"("e":{"dtype":"U8","shape":[0],"data_offsets":[4,4]},)";
  EXPECT_THAT(header_error(a + none + R"("b":{"dtype":"U8","shape":[6],"data_offsets":[3,9]}})", 9),
              HasSubstr("\"b\": expected data of its own, got bytes that overlap those of \"a\""));
  EXPECT_THAT(
      header_error(
          R"({"e":{"dtype":"U8","shape":[0],"data_offsets":[2,2]},)" + a.substr(1, a.size() - 2) + "}", 4),
      HasSubstr("\"e\": expected data of its own, got bytes that overlap those of \"a\""));
  EXPECT_THAT(header_error(a + R"("b":{"dtype":"U8","shape":[4],"data_offsets":[6,10]}})", 10),
              HasSubstr("got 2 unused bytes between \"a\" and it"));
  EXPECT_THAT(header_error(R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[1,5]}})", 5),
              HasSubstr("got 1 unused bytes between the start of the data and it"));
  EXPECT_THAT(header_error(R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}})", 9),
              HasSubstr("got 5 further bytes"));
}

TEST_F(HostileSafetensors, AnyChangedByteIsRefusedOrHarmless) {
  const std::string whole = read_bytes(kData / "every_dtype.safetensors");
  uint64_t header_bytes = 0;
  std::memcpy(&header_bytes, whole.data(), sizeof header_bytes);
  for (size_t position = 0; position < 8 + header_bytes; ++position)
    for (const char value : {'\0', '9', '"', '}', '\xff'}) {
      std::string changed = whole;
      changed[position] = value;
      try {
        for (const HeaderEntry& entry : parse_safetensors_header(changed, "x.safetensors").entries) {
          uint64_t num_bytes = tensors::element_bytes(entry.dtype);
          for (const int64_t size : entry.shape) num_bytes *= static_cast<uint64_t>(size);
          EXPECT_EQ(num_bytes, entry.end_bytes - entry.begin_bytes);
          EXPECT_LE(entry.end_bytes, changed.size());
        }
      } catch (const InputError&) {
      }
    }
}

TEST_F(HostileSafetensors, AMessageDoesNotRepeatAnEndlessName) {
  std::string header(100000, 'x');
  header.insert(0, "{\"").append("\":null}");
  const std::string message = header_error(header);
  EXPECT_LT(message.size(), 1000u);
}

}  // namespace
}  // namespace longlora::checkpoint
