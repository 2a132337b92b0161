#include "longlora/checkpoint/torch_writer.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <cmath>
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

// -- finite numbers ----------------------------------------------------------------------------------------

// The first of `count` numbers all of whose exponent's bits are set, which makes them infinite or NaN; -1
// where there is none. Whole blocks are looked at without a branch, at the speed of the memory.
template <typename Bits>
int64_t find_not_finite(const Bits* numbers, int64_t count, Bits exponent) {
  constexpr int64_t kBlock = 4096;
  for (int64_t start = 0; start < count; start += kBlock) {
    const int64_t end = std::min(count, start + kBlock);
    bool found = false;
    for (int64_t i = start; i < end; ++i) found |= (numbers[i] & exponent) == exponent;
    if (!found) continue;
    for (int64_t i = start; i < end; ++i)
      if ((numbers[i] & exponent) == exponent) return i;
  }
  return -1;
}

int64_t find_not_finite(const at::Tensor& tensor, int64_t begin, int64_t count) {
  const void* data =
      static_cast<const char*>(tensor.const_data_ptr()) + begin * static_cast<int64_t>(tensor.element_size());
  switch (tensor.scalar_type()) {
    case at::kHalf:
      return find_not_finite<uint16_t>(static_cast<const uint16_t*>(data), count, 0x7c00);
    case at::kBFloat16:
      return find_not_finite<uint16_t>(static_cast<const uint16_t*>(data), count, 0x7f80);
    case at::kFloat:
      return find_not_finite<uint32_t>(static_cast<const uint32_t*>(data), count, 0x7f800000);
    case at::kDouble:
      return find_not_finite<uint64_t>(static_cast<const uint64_t*>(data), count, 0x7ff0000000000000);
    default:
      return -1;
  }
}

std::string way_out(at::ScalarType dtype, bool is_nan) {
  if (is_nan) return "its source is damaged, or the training that wrote it diverged; take another copy";
  if (dtype == at::kHalf)
    return "a number outgrew float16, or was infinite before; write with --dtype bfloat16 or float32";
  if (dtype == at::kBFloat16)
    return "a number outgrew bfloat16, or was infinite before; write with --dtype float32";
  return "its source is damaged, or numbers outgrew it; take another copy";
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

// Writes _rebuild_tensor_v2(storage, 0, sizes, strides, False, OrderedDict()), or v3 with the dtype at the
// end where there is no storage type for it.
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
    // The padding stands in a field of its own, "FB", as torch writes it.
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

  // Writes the fields from "version needed" to the length of the name, which are the same in both headers.
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

// Takes eight bytes at a time ("slicing by 8").
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

void check_finite(const TensorSpec& spec, const at::Tensor& tensor, int64_t begin, int64_t end) {
  const int64_t found = find_not_finite(tensor, begin, end - begin);
  if (found < 0 || spec.name.ends_with("attention.masked_bias")) return;
  // The sign of a NaN says nothing.
  const double value = tensor.view(-1)[begin + found].item<double>();
  const double number = std::isnan(value) ? std::abs(value) : value;
  throw InputError(fmt::format("[{}] expected finite numbers to write, got {} at element {} of {} in {}; {}",
                               spec.name, number, begin + found, tensor.numel(),
                               tensors::dtype_name(spec.dtype), way_out(spec.dtype, std::isnan(number))));
}

void write_torch_file(const fs::path& path, const std::vector<TensorSpec>& specs,
                      const TensorSource& source) {
  ZipWriter zip(path);
  zip.add("data.pkl", state_dict_pickle(specs));
  zip.add("byteorder", "little");
  for (size_t i = 0; i < specs.size(); ++i) {
    const at::Tensor tensor = make_tensor(specs[i], source);
    check_finite(specs[i], tensor, 0, tensor.numel());
    zip.add("data/" + std::to_string(i), bytes_of(tensor));
  }
  zip.add("version", "3\n");
  zip.commit();
}

}  // namespace longlora::checkpoint::internal
