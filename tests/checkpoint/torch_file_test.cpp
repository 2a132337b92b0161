// Files of torch.save against what torch itself finds in them, and files that nobody should open.
#include "longlora/checkpoint/torch_file.h"

#include <ATen/ATen.h>

#include "longlora/checkpoint/pickle.h"
#include "longlora/checkpoint/tensor_store.h"
#include "longlora/checkpoint/zip_directory.h"
#include "longlora/core/file.h"
#include "longlora/core/json.h"
#include "longlora/tensors/dtypes.h"
#include "test_support.h"

namespace longlora::checkpoint {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::HasSubstr;

const fs::path kFolder = fs::path(LONGLORA_SOURCE_DIR) / "tests/data/torch_save";

std::string digest(const at::Tensor& tensor) {
  EXPECT_TRUE(tensor.is_contiguous());
  return sha256_hex({static_cast<const char*>(tensor.const_data_ptr()), tensor.nbytes()});
}

TEST(TorchFile, HoldsWhatTorchLoadFinds) {
  const Json files = read_json(kFolder / "expected.json")["tensors"];
  ASSERT_GE(files.size(), 60u);
  for (const auto& file : files.items()) {
    const TensorStore store = TensorStore::open_file(kFolder / file.key());
    EXPECT_EQ(store.tensors().size(), file.value().size()) << file.key();
    for (const auto& entry : file.value().items()) {
      const std::string where = file.key() + " " + entry.key();
      ASSERT_TRUE(store.contains(entry.key())) << where;
      const at::Tensor tensor = store.load(entry.key());
      EXPECT_EQ(tensors::dtype_names(tensor.scalar_type())->torch, entry.value()["dtype"]) << where;
      EXPECT_EQ(Json(tensor.sizes().vec()), entry.value()["shape"]) << where;
      EXPECT_EQ(digest(tensor), entry.value()["sha256"]) << where;
      EXPECT_EQ(store.info(entry.key()).num_bytes, tensor.nbytes()) << where;
    }
  }
}

TEST(TorchFile, ViewsConvertAsTheyLook) {
  // Legacy files do not align their storages.
  for (const char* file : {"made/views.pt", "made/legacy_views.pt"}) {
    const TensorStore store = TensorStore::open_file(kFolder / file);
    const at::Tensor base = at::arange(60, at::kFloat).view({6, 10});
    EXPECT_TRUE(store.load("transposed", {10, 6}, at::kDouble).equal(base.t().to(at::kDouble))) << file;
    EXPECT_TRUE(store.load("columns", {6, 2}, at::kBFloat16).equal(base.slice(1, 3, 5).to(at::kBFloat16)));
    EXPECT_TRUE(store.load("base", {6, 10}, at::kHalf).equal(base.to(at::kHalf))) << file;
    EXPECT_TRUE(
        store.load("flags").to(at::kByte).equal(at::tensor({1, 0, 0, 0, 1, 1}, at::kByte).view({3, 2})));
    EXPECT_TRUE(store.info("base").strides.empty()) << file;
    EXPECT_EQ(store.info("transposed").offset_bytes, store.info("base").offset_bytes) << file;
  }
}

TEST(TorchFile, RefusesByNameWhatItWouldHaveToRun) {
  for (const auto& file : read_json(kFolder / "expected.json")["refused"].items())
    EXPECT_THAT(input_error_of([&] { TensorStore::open_file(kFolder / file.key()); }),
                AllOf(HasSubstr(fs::path(file.key()).filename().string()),
                      HasSubstr(file.value().get<std::string>())));
}

// -- zips no writer would write ----------------------------------------------------------------------------

class BrokenTorchFile : public ::testing::Test {
 protected:
  std::string error_of(const std::string& bytes) {
    return input_error_of([&] { read_torch_file(bytes, "x.bin"); });
  }
  // made/views.pt with the first `from` after `start` replaced by `to`, of the same length.
  std::string changed(const std::string& from, const std::string& to, size_t start = 0) {
    std::string bytes = whole_;
    const size_t place = bytes.find(from, start);
    EXPECT_NE(place, std::string::npos);
    return bytes.replace(place, from.size(), to);
  }
  size_t table_of_contents() const { return whole_.find("PK\x01\x02"); }
  const std::string whole_ = read_file(kFolder / "made/views.pt");
};

TEST_F(BrokenTorchFile, IsTruncatedAnywhere) {
  for (size_t length = 4; length < whole_.size(); ++length)
    EXPECT_THROW(read_torch_file(std::string_view(whole_).substr(0, length), "x.bin"), InputError) << length;
  const std::string legacy = read_file(kFolder / "made/legacy_views.pt");
  for (size_t length = 1; length < legacy.size(); ++length)
    EXPECT_THROW(read_torch_file(std::string_view(legacy).substr(0, length), "x.bin"), InputError) << length;
}

TEST_F(BrokenTorchFile, CompressesAnEntry) {
  std::string bytes = whole_;
  bytes[table_of_contents() + 10] = 8;
  EXPECT_THAT(error_of(bytes), AllOf(HasSubstr("/data.pkl\""), HasSubstr("a compressed one (method 8)")));
}

TEST_F(BrokenTorchFile, EncryptsAnEntry) {
  std::string bytes = whole_;
  bytes[table_of_contents() + 8] |= 1;
  EXPECT_THAT(error_of(bytes), HasSubstr("encrypted"));
}

TEST_F(BrokenTorchFile, HasAnEntryBeyondItsEnd) {
  std::string bytes = whole_;
  for (const size_t field : {20u, 24u}) bytes[table_of_contents() + field + 3] = 0x7f;
  EXPECT_THAT(error_of(bytes), HasSubstr("truncated or damaged"));
}

TEST_F(BrokenTorchFile, HasEntriesThatOverlap) {
  const size_t first = table_of_contents();
  const size_t second = whole_.find("PK\x01\x02", first + 4);
  std::string bytes = whole_;
  bytes.replace(second + 42, 4, whole_, first + 42, 4);
  EXPECT_THAT(error_of(bytes), HasSubstr("overlapping entries"));
}

TEST_F(BrokenTorchFile, NamesAnEntryTwice) {
  const size_t second = whole_.find("views/data/1", table_of_contents());
  std::string bytes = whole_;
  bytes.replace(second, 12, "views/data/0");
  EXPECT_THAT(error_of(bytes), AllOf(HasSubstr("views/data/0"), HasSubstr("twice")));
}

// torch.load does not look at them either, and torch.save can leave them out.
TEST_F(BrokenTorchFile, MayHaveAnyChecksums) {
  std::string bytes = whole_;
  for (size_t entry = table_of_contents(); entry != std::string::npos;
       entry = bytes.find("PK\x01\x02", entry + 1))
    bytes.replace(entry + 16, 4, "\x01\x02\x03\x04");
  EXPECT_EQ(read_torch_file(bytes, "x.bin").size(), read_torch_file(whole_, "x.bin").size());
}

TEST_F(BrokenTorchFile, LacksAStorage) {
  std::string bytes = changed("views/data/1", "views/none/1");
  const size_t listed = bytes.find("views/data/1");
  EXPECT_THAT(error_of(bytes.replace(listed, 12, "views/none/1")),
              AllOf(HasSubstr("the storage \"1\""), HasSubstr("tensor \"halves\"")));
}

TEST_F(BrokenTorchFile, IsBigEndian) {
  EXPECT_THAT(error_of(changed("little", "bigger")), HasSubstr("expected little-endian data"));
}

TEST_F(BrokenTorchFile, AnyChangedByteIsRefusedOrHarmless) {
  for (const char* file : {"made/bare.pt", "made/legacy_nested.pt", "made/protocol_4.pt"}) {
    const std::string whole = read_file(kFolder / file);
    for (size_t position = 0; position < whole.size(); ++position)
      for (const char value : {'\0', '\x01', 'c', '\xff'}) {
        std::string bytes = whole;
        bytes[position] = value;
        try {
          for (const StoredTensor& tensor : read_torch_file(bytes, "x.bin")) {
            uint64_t last = 0;
            bool is_empty = false;
            for (size_t i = 0; i < tensor.shape.size(); ++i) {
              is_empty |= tensor.shape[i] == 0;
              last += static_cast<uint64_t>((tensor.shape[i] - 1) * tensor.strides[i]);
            }
            if (is_empty) continue;
            EXPECT_LE(tensor.offset_bytes + (last + 1) * tensors::element_bytes(tensor.dtype), bytes.size());
          }
        } catch (const InputError&) {
        }
      }
  }
}

// -- pickles nobody would write
// ------------------------------------------------------------------------------

// Text that may hold zero bytes.
template <size_t Size>
std::string raw(const char (&text)[Size]) {
  return {text, Size - 1};
}

std::string pickle_error(const std::string& body) {
  return input_error_of([&] { read_pickle("\x80\x02" + body, "x.bin"); });
}

TEST(BadPickle, NamesTheGlobalItRefuses) {
  EXPECT_THAT(pickle_error("cos\nsystem\n(X\x02"), HasSubstr("the global os.system, which is refused"));
  EXPECT_THAT(pickle_error(raw("\x8c\x08"
                               "builtins"
                               "\x8c\x04"
                               "eval"
                               "\x93")),
              HasSubstr("builtins.eval"));
  EXPECT_THAT(pickle_error("ctorch\nload\n."), HasSubstr("torch.load"));
  EXPECT_THAT(pickle_error("c\x01\x02\n" + std::string(5000, 'x') + "\n."),
              AllOf(HasSubstr("??.xxx"), HasSubstr("…")));
}

TEST(BadPickle, RefusesOpcodesOfOtherKinds) {
  for (const char opcode : {'i', 'o', 'I', 'S', '\x82', '\x92', '\xff'})
    EXPECT_THAT(pickle_error(std::string(1, opcode) + "os\nsystem\n."), HasSubstr("expected opcodes"))
        << opcode;
  EXPECT_THAT(input_error_of([] { read_pickle("\x80\x09.", "x.bin"); }), HasSubstr("protocol 2 to 5"));
}

TEST(BadPickle, DoesNotCopyAListForEver) {
  // A list of a million is number 0 of the memo, set is number 1; each call makes a set of the list.
  std::string body = "](" + std::string(1'000'000, 'N') + "eq" + raw("\0") + "cbuiltins\nset\nq\x01";
  for (int i = 0; i < 100; ++i) body += raw("h\x01h\0\x85R");
  EXPECT_THAT(pickle_error(body + "."), HasSubstr("containers of at most 64000000 values together"));
}

TEST(BadPickle, RefusesAnUnbalancedStack) {
  for (const std::string& body :
       {raw("."), raw("t."), raw("\x85."), raw("(."), raw("s."), raw("]s."), raw("a."), raw("b."), raw("R."),
        raw("Q."), raw("h\x05."), raw("1."), raw("0."), raw("N(NNu."), raw("}(Nu."), raw("K\x01N\x93.")})
    EXPECT_THROW(read_pickle("\x80\x02" + body, "x.bin"), InputError) << body;
}

TEST(BadPickle, RefusesAttributesOfOtherThings) {
  EXPECT_THAT(pickle_error("]}b."), HasSubstr("attributes of an OrderedDict alone"));
}

TEST(BadPickle, RefusesLengthsBeyondItsEnd) {
  EXPECT_THAT(pickle_error(raw("X\xff\xff\xff\xff"
                               "a.")),
              HasSubstr("expected 4294967295 further bytes"));
  EXPECT_THAT(pickle_error(raw("\x8d\xff\xff\xff\xff\xff\xff\xff\xff"
                               "a.")),
              HasSubstr("further bytes"));
  EXPECT_THAT(pickle_error(raw("T\xff\xff\xff\xff"
                               "a.")),
              HasSubstr("a length"));
}

// _rebuild_tensor_v2(storage of 4 floats, offset, (size,), (stride,), False, OrderedDict()), numbers of one
// byte or, with 'J', four.
std::string tensor_pickle(const std::string& offset, const std::string& sizes, const std::string& strides) {
  return "\x80\x02"
         "ctorch._utils\n_rebuild_tensor_v2\n((X\x07" +
         std::string(3, '\0') + "storagectorch\nFloatStorage\nX\x01" + std::string(3, '\0') + "0X\x03" +
         std::string(3, '\0') + "cpuK\x04tQ" + offset + "(" + sizes + "t(" + strides +
         "t\x89"
         "ccollections\nOrderedDict\n)RtR.";
}

// A file of the older format around a pickle that refers to the storage "0" of 4 floats.
std::string legacy_file(const std::string& data) {
  return raw("\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.\x80\x02M\xe9\x03.\x80\x02}.") + data +
         raw("\x80\x02]\x8c\x01"
             "0a.\x04\0\0\0\0\0\0\0") +
         std::string(16, '\0');
}

std::string tensor_error(const std::string& offset, const std::string& sizes, const std::string& strides) {
  return input_error_of(
      [&] { read_torch_file(legacy_file(tensor_pickle(offset, sizes, strides)), "x.bin"); });
}

TEST(BadPickle, RefusesTensorsOutsideTheirStorage) {
  const Pickle good = read_pickle(tensor_pickle(raw("K\0"), "K\x02K\x02", "K\x02K\x01"), "x.bin");
  ASSERT_EQ(good.tensors.size(), 1u);
  EXPECT_EQ(good.tensors[0].shape, (std::vector<int64_t>{2, 2}));
  EXPECT_THAT(tensor_error("K\x01", "K\x04", "K\x01"),
              AllOf(HasSubstr("tensor \"tensor\""), HasSubstr("reaches to element 5")));
  EXPECT_THAT(tensor_error(raw("K\0"), "K\x02", "K\x04"), HasSubstr("inside its storage \"0\" of 4"));
  EXPECT_THAT(tensor_error("J\xff\xff\xff\xff", "K\x01", "K\x01"), HasSubstr("an offset"));
  EXPECT_THAT(tensor_error(raw("K\0"), "J\xff\xff\xff\xff", "K\x01"), HasSubstr("sizes"));
  EXPECT_THAT(tensor_error(raw("K\0"), "K\x02", "J\xff\xff\xff\xff"), HasSubstr("strides"));
  EXPECT_THAT(tensor_error(raw("K\0"), "K\x02K\x02", "K\x01"), HasSubstr("as many strides as sizes"));
  const std::string huge = raw("\x8a\x08\0\0\0\0\0\0\x80\0");  // 2^55
  EXPECT_THAT(tensor_error(raw("K\0"), huge, huge), HasSubstr("beyond 64 bits"));
  EXPECT_THAT(tensor_error(raw("K\0"), huge, raw("K\0")), HasSubstr("beyond measure"));
  EXPECT_THAT(tensor_error(raw("K\0"), huge + huge + raw("K\0"), "K\x01K\x01K\x01"),
              HasSubstr("beyond measure"));
}

TEST(BadPickle, RefusesContainersInsideThemselves) {
  // l = []; l.append(l)
  const std::string magic =
      raw("\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.\x80\x02M\xe9\x03.\x80\x02}.");
  const std::string itself = raw("\x80\x02]q\0h\0a.");
  EXPECT_THAT(input_error_of([&] { read_torch_file(magic + itself + raw("\x80\x02]."), "x.bin"); }),
              HasSubstr("nested at most 64 deep"));
  // Each list holds the one before it twice: 2^60 places.
  std::string doubling = raw("\x80\x02]q\0");
  for (char i = 1; i < 60; ++i)
    doubling += std::string("](h") + static_cast<char>(i - 1) + "h" + static_cast<char>(i - 1) + "eq" + i;
  EXPECT_THAT(input_error_of([&] { read_torch_file(magic + doubling + "." + raw("\x80\x02]."), "x.bin"); }),
              HasSubstr("repeat each other"));
}

TEST(BadPickle, RefusesTwoTensorsOfOneName) {
  // {"a": {"b": t}, "a.b": t}: both are a.b.
  std::string tensor = tensor_pickle(raw("K\0"), "K\x02", "K\x01");
  tensor = tensor.substr(2, tensor.size() - 3) + raw("q\0");
  const std::string data = raw("\x80\x02}(\x8c\x01"
                               "a}\x8c\x01"
                               "b") +
                           tensor +
                           raw("s\x8c\x03"
                               "a.bh\0u.");
  EXPECT_THAT(input_error_of([&] { read_torch_file(legacy_file(data), "x.bin"); }),
              HasSubstr("\"a.b\" twice"));
}

TEST(LegacyTorchFile, RefusesStoragesThatContradictThePickle) {
  std::string bytes = read_file(kFolder / "made/legacy_views.pt");
  const size_t length = bytes.find(raw("\x3c\0\0\0\0\0\0\0"));  // 60 elements
  ASSERT_NE(length, std::string::npos);
  bytes[length] = 59;
  EXPECT_THAT(input_error_of([&] { read_torch_file(bytes, "x.bin"); }), HasSubstr("expected 60 elements"));
}

}  // namespace
}  // namespace longlora::checkpoint
