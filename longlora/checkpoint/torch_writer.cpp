#include "longlora/checkpoint/torch_writer.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <string>

#include "longlora/checkpoint/bytes.h"
#include "longlora/core/error.h"
#include "longlora/core/file.h"
#include "longlora/tensors/dtypes.h"

namespace longlora::checkpoint::internal {
namespace {

namespace fs = std::filesystem;

constexpr uint64_t kDataAlignment = 64;
constexpr uint32_t kIn64 = 0xffffffff;
constexpr const char* kRoot = "archive/";

std::string_view bytes_of(const at::Tensor& tensor) {
  return {static_cast<const char*>(tensor.const_data_ptr()), tensor.nbytes()};
}

template <typename Number>
void put(std::string& bytes, Number value) {
  bytes.append(reinterpret_cast<const char*>(&value), sizeof value);
}

// -- pickle ------------------------------------------------------------------------------------------------

void put_text(std::string& pickle, std::string_view text) {
  pickle += 'X';  // BINUNICODE
  put(pickle, static_cast<uint32_t>(text.size()));
  pickle += text;
}

void put_int(std::string& pickle, int64_t value) {
  if (value >= 0 && value < 256) {
    pickle += 'K';  // BININT1
    pickle += static_cast<char>(value);
  } else if (value >= INT32_MIN && value <= INT32_MAX) {
    pickle += 'J';  // BININT
    put(pickle, static_cast<int32_t>(value));
  } else {
    pickle += "\x8a\x08";  // LONG1 of eight bytes
    put(pickle, value);
  }
}

void put_global(std::string& pickle, const std::string& module, const std::string& name) {
  pickle += "c" + module + "\n" + name + "\n";
}

void put_sizes(std::string& pickle, const std::vector<int64_t>& sizes) {
  pickle += '(';
  for (const int64_t size : sizes) put_int(pickle, size);
  pickle += 't';
}

std::vector<int64_t> contiguous_strides(const std::vector<int64_t>& shape) {
  std::vector<int64_t> strides(shape.size());
  int64_t stride = 1;
  for (size_t i = shape.size(); i-- > 0;) {
    strides[i] = stride;
    stride *= std::max<int64_t>(shape[i], 1);
  }
  return strides;
}

int64_t count(const std::vector<int64_t>& shape) {
  int64_t elements = 1;
  for (const int64_t size : shape) elements *= size;
  return elements;
}

// _rebuild_tensor_v2(storage, 0, sizes, strides, False, OrderedDict()); v3 with
// the dtype at the end where there is no storage type of its own.
void put_tensor(std::string& pickle, const TensorSpec& spec, size_t key) {
  const tensors::DtypeNames& names = *tensors::dtype_names(spec.dtype);
  const bool is_typed = names.torch_storage != nullptr;
  put_global(pickle, "torch._utils", is_typed ? "_rebuild_tensor_v2" : "_rebuild_tensor_v3");
  pickle += "((";
  put_text(pickle, "storage");
  if (is_typed)
    put_global(pickle, "torch", names.torch_storage);
  else
    put_global(pickle, "torch.storage", "UntypedStorage");
  put_text(pickle, std::to_string(key));
  put_text(pickle, "cpu");
  put_int(pickle, count(spec.shape) * static_cast<int64_t>(is_typed ? 1 : names.element_bytes));
  pickle += "tQ";  // BINPERSID
  put_int(pickle, 0);
  put_sizes(pickle, spec.shape);
  put_sizes(pickle, contiguous_strides(spec.shape));
  pickle += '\x89';  // False
  put_global(pickle, "collections", "OrderedDict");
  pickle += ")R";
  if (!is_typed) put_global(pickle, "torch", names.torch);
  pickle += "tR";
}

std::string state_dict_pickle(const std::vector<TensorSpec>& specs) {
  std::string pickle = "\x80\x02}(";
  for (size_t i = 0; i < specs.size(); ++i) {
    put_text(pickle, specs[i].name);
    put_tensor(pickle, specs[i], i);
  }
  return pickle + "u.";
}

// -- zip ---------------------------------------------------------------------------------------------------

class ZipWriter {
 public:
  explicit ZipWriter(const fs::path& path) : writer_(path) {}

  void add(const std::string& name, std::string_view data) {
    Entry entry = {kRoot + name, position_, data.size(), crc32(data)};
    std::string header;
    put(header, uint32_t{0x04034b50});
    put_common(header, entry, std::min<uint64_t>(data.size(), kIn64));
    const std::string extra = sizes_field(entry);
    // Padding in a field of its own, "FB", as torch writes it.
    const uint64_t end = position_ + header.size() + 2 + entry.name.size() + extra.size() + 4;
    const uint64_t padding = (kDataAlignment - end % kDataAlignment) % kDataAlignment;
    put(header, static_cast<uint16_t>(extra.size() + 4 + padding));
    header += entry.name + extra + "FB";
    put(header, static_cast<uint16_t>(padding));
    header.append(padding, 'Z');
    write(header);
    write(data);
    entries_.push_back(std::move(entry));
  }

  void commit() {
    const uint64_t start = position_;
    for (const Entry& entry : entries_) write(central_header(entry));
    const uint64_t num_bytes = position_ - start;
    if (start >= kIn64 || entries_.size() >= 0xffff) write_zip64_end(start, num_bytes);
    std::string end;
    put(end, uint32_t{0x06054b50});
    put(end, uint32_t{0});  // disks
    const auto num_entries = static_cast<uint16_t>(std::min<size_t>(entries_.size(), 0xffff));
    put(end, num_entries);
    put(end, num_entries);
    put(end, static_cast<uint32_t>(std::min<uint64_t>(num_bytes, kIn64)));
    put(end, static_cast<uint32_t>(std::min<uint64_t>(start, kIn64)));
    put(end, uint16_t{0});  // comment
    write(end);
    writer_.commit();
  }

 private:
  struct Entry {
    std::string name;
    uint64_t offset;
    uint64_t num_bytes;
    uint32_t crc;
  };

  void write(std::string_view bytes) {
    writer_.write(bytes.data(), bytes.size());
    position_ += bytes.size();
  }

  // From "version needed" to the length of the name: the same in both headers.
  static void put_common(std::string& header, const Entry& entry, uint64_t stated_bytes) {
    put(header, static_cast<uint16_t>(entry.num_bytes >= kIn64 || entry.offset >= kIn64 ? 45 : 20));
    put(header, uint16_t{0x0800});      // names are UTF-8
    put(header, uint16_t{0});           // stored
    put(header, uint32_t{0x00210000});  // 1980-01-01: the same tensors give the same file
    put(header, entry.crc);
    put(header, static_cast<uint32_t>(stated_bytes));
    put(header, static_cast<uint32_t>(stated_bytes));
    put(header, static_cast<uint16_t>(entry.name.size()));
  }

  static std::string sizes_field(const Entry& entry) {
    if (entry.num_bytes < kIn64) return "";
    std::string field;
    put(field, uint16_t{1});
    put(field, uint16_t{16});
    put(field, entry.num_bytes);
    put(field, entry.num_bytes);
    return field;
  }

  static std::string central_header(const Entry& entry) {
    std::string extra;
    if (entry.num_bytes >= kIn64) extra = sizes_field(entry).substr(4);
    if (entry.offset >= kIn64) put(extra, entry.offset);
    if (!extra.empty()) {
      std::string field;
      put(field, uint16_t{1});
      put(field, static_cast<uint16_t>(extra.size()));
      extra = field + extra;
    }
    std::string header;
    put(header, uint32_t{0x02014b50});
    put(header, uint16_t{45});
    put_common(header, entry, std::min<uint64_t>(entry.num_bytes, kIn64));
    put(header, static_cast<uint16_t>(extra.size()));
    put(header, uint16_t{0});  // comment
    put(header, uint16_t{0});  // disk
    put(header, uint16_t{0});  // internal attributes
    put(header, uint32_t{0});  // external attributes
    put(header, static_cast<uint32_t>(std::min<uint64_t>(entry.offset, kIn64)));
    return header + entry.name + extra;
  }

  void write_zip64_end(uint64_t start, uint64_t num_bytes) {
    const uint64_t record = position_;
    std::string end;
    put(end, uint32_t{0x06064b50});
    put(end, uint64_t{44});  // of this record after this field
    put(end, uint16_t{45});
    put(end, uint16_t{45});
    put(end, uint64_t{0});  // disks
    put(end, static_cast<uint64_t>(entries_.size()));
    put(end, static_cast<uint64_t>(entries_.size()));
    put(end, num_bytes);
    put(end, start);
    put(end, uint32_t{0x07064b50});
    put(end, uint32_t{0});
    put(end, record);
    put(end, uint32_t{1});
    write(end);
  }

  AtomicFileWriter writer_;
  uint64_t position_ = 0;
  std::vector<Entry> entries_;
};

constexpr std::array<std::array<uint32_t, 256>, 8> make_crc_tables() {
  std::array<std::array<uint32_t, 256>, 8> tables = {};
  for (uint32_t i = 0; i < 256; ++i) {
    uint32_t value = i;
    for (int bit = 0; bit < 8; ++bit) value = (value >> 1) ^ ((value & 1) != 0 ? 0xedb88320u : 0u);
    tables[0][i] = value;
  }
  for (uint32_t i = 0; i < 256; ++i)
    for (size_t k = 1; k < 8; ++k)
      tables[k][i] = (tables[k - 1][i] >> 8) ^ tables[0][tables[k - 1][i] & 0xff];
  return tables;
}

constexpr auto kCrcTables = make_crc_tables();

}  // namespace

// Eight bytes at a time ("slicing by 8").
uint32_t crc32(std::string_view bytes) {
  uint32_t crc = 0xffffffff;
  while (bytes.size() >= 8) {
    const uint32_t low = read_number<uint32_t>(bytes, 0) ^ crc;
    const auto high = read_number<uint32_t>(bytes, 4);
    crc = kCrcTables[7][low & 0xff] ^ kCrcTables[6][low >> 8 & 0xff] ^ kCrcTables[5][low >> 16 & 0xff] ^
          kCrcTables[4][low >> 24] ^ kCrcTables[3][high & 0xff] ^ kCrcTables[2][high >> 8 & 0xff] ^
          kCrcTables[1][high >> 16 & 0xff] ^ kCrcTables[0][high >> 24];
    bytes.remove_prefix(8);
  }
  for (const char byte : bytes) crc = kCrcTables[0][(crc ^ static_cast<uint8_t>(byte)) & 0xff] ^ (crc >> 8);
  return ~crc;
}

at::Tensor make_tensor(const TensorSpec& spec, const TensorSource& source) {
  at::Tensor tensor = source(spec);
  if (!tensor.defined() || tensor.scalar_type() != spec.dtype ||
      tensor.sizes() != at::IntArrayRef(spec.shape))
    throw Error(fmt::format("[{}] expected the tensor that was announced, got another", spec.name));
  return tensor.detach().to(at::kCPU).contiguous();
}

void write_torch_file(const fs::path& path, const std::vector<TensorSpec>& specs,
                      const TensorSource& source) {
  ZipWriter zip(path);
  zip.add("data.pkl", state_dict_pickle(specs));
  zip.add("byteorder", "little");
  for (size_t i = 0; i < specs.size(); ++i)
    zip.add("data/" + std::to_string(i), bytes_of(make_tensor(specs[i], source)));
  zip.add("version", "3\n");
  zip.commit();
}

}  // namespace longlora::checkpoint::internal
