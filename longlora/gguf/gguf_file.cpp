#include "longlora/gguf/gguf_file.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <limits>
#include <set>

#include "longlora/core/error.h"
#include "longlora/core/utf8.h"

namespace longlora::gguf {
namespace {

static_assert(std::endian::native == std::endian::little, "the files are read as they lie in memory");

constexpr std::string_view kMagic = "GGUF";
constexpr uint32_t kOldestVersion = 2, kNewestVersion = 3;
constexpr uint64_t kLongestName = 65535;  // of a key or a tensor
constexpr uint32_t kMostDimensions = 4;
constexpr uint64_t kDefaultAlignment = 32, kLargestAlignment = 1 << 20;
constexpr int kDeepestArray = 4;
constexpr size_t kShownBytes = 60;

std::string shown(std::string_view text) {
  std::string result = replace_invalid_utf8(text.substr(0, kShownBytes));
  std::replace_if(
      result.begin(), result.end(), [](char c) { return static_cast<unsigned char>(c) < 0x20; }, '?');
  return text.size() > kShownBytes ? result + "…" : result;
}

// A place in the file that moves on; nothing is read beyond its end.
class Cursor {
 public:
  Cursor(std::string_view file, const std::string& source) : file_(file), source_(source) {}

  uint64_t position() const { return position_; }
  uint64_t left() const { return file_.size() - position_; }

  [[noreturn]] void fail(const std::string& expected, const std::string& got) const {
    throw InputError(fmt::format("[{}] expected {}, got {}", source_, expected, got));
  }
  [[noreturn]] void fail_at_end(const std::string& what) const {
    fail(what, fmt::format("the end of the file at byte {}; it is truncated or damaged: fetch it again",
                           file_.size()));
  }

  std::string_view take(uint64_t num_bytes, const char* what) {
    if (num_bytes > left()) fail_at_end(fmt::format("{} of {} bytes at byte {}", what, num_bytes, position_));
    const std::string_view taken = file_.substr(position_, num_bytes);
    position_ += num_bytes;
    return taken;
  }
  template <typename Number>
  Number number(const char* what) {
    Number value;
    std::memcpy(&value, take(sizeof value, what).data(), sizeof value);
    return value;
  }
  // How many things of at least `least_bytes` each follow.
  uint64_t count(uint64_t least_bytes, const char* what) {
    const auto count = number<uint64_t>(what);
    if (count > left() / least_bytes) fail_at_end(fmt::format("{} {}", count, what));
    return count;
  }
  std::string_view text(const char* what) { return take(number<uint64_t>(what), what); }
  std::string name(const char* what) {
    const std::string_view name = text(what);
    if (name.empty() || name.size() > kLongestName || find_invalid_utf8(name) != std::string_view::npos)
      fail(fmt::format("{} of 1 to {} bytes in UTF-8", what, kLongestName),
           fmt::format("\"{}\" of {} bytes", shown(name), name.size()));
    return std::string(name);
  }

 private:
  std::string_view file_;
  const std::string& source_;
  uint64_t position_ = 0;
};

ValueType read_type(Cursor& cursor, const std::string& key) {
  const auto type = cursor.number<uint32_t>("the type of a value");
  if (type > static_cast<uint32_t>(ValueType::kFloat64))
    cursor.fail(fmt::format("a type of 0 to {} for the value of \"{}\"",
                            static_cast<uint32_t>(ValueType::kFloat64), shown(key)),
                std::to_string(type));
  return static_cast<ValueType>(type);
}

// Moves behind one array, whose elements may be arrays.
Value read_array(Cursor& cursor, std::string_view file, const std::string& key, int depth) {
  if (depth == kDeepestArray)
    cursor.fail(fmt::format("lists nested at most {} deep in \"{}\"", kDeepestArray, shown(key)), "more");
  const ValueType element = read_type(cursor, key);
  const uint64_t width = value_bytes(element);
  const uint64_t count = cursor.count(width > 0 ? width : sizeof(uint64_t), "elements of a list");
  const uint64_t begin = cursor.position();
  if (width > 0)
    cursor.take(count * width, "the elements of a list");
  else
    for (uint64_t i = 0; i < count; ++i)
      if (element == ValueType::kString)
        cursor.text("a text");
      else
        read_array(cursor, file, key, depth + 1);
  return {ValueType::kArray, element, count, file.substr(begin, cursor.position() - begin)};
}

Value read_value(Cursor& cursor, std::string_view file, const std::string& key) {
  const ValueType type = read_type(cursor, key);
  if (type == ValueType::kArray) return read_array(cursor, file, key, 0);
  const uint64_t begin = cursor.position();
  if (type == ValueType::kString)
    cursor.text("a text");
  else
    cursor.take(value_bytes(type), "a value");
  return {type, type, 1, file.substr(begin, cursor.position() - begin)};
}

uint32_t read_version(Cursor& cursor) {
  if (cursor.take(kMagic.size(), "the magic number") != kMagic) cursor.fail("a GGUF file", "another");
  const auto version = cursor.number<uint32_t>("the version");
  if (version != 0 && (version & 0xFFFFU) == 0)
    cursor.fail("a little-endian GGUF file",
                "a big-endian one; fetch or make the little-endian file of the same model");
  if (version < kOldestVersion || version > kNewestVersion)
    cursor.fail(fmt::format("GGUF of version {} or {}", kOldestVersion, kNewestVersion),
                fmt::format("version {}; make the file again with a current llama.cpp", version));
  return version;
}

uint64_t read_alignment(const Metadata& metadata) {
  const char* key = "general.alignment";
  const int64_t alignment = metadata.integer(key).value_or(int64_t{kDefaultAlignment});
  if (alignment < 1 || alignment > int64_t{kLargestAlignment} || !std::has_single_bit(uint64_t(alignment)))
    metadata.fail(key, fmt::format("a power of two of at most {}", kLargestAlignment),
                  std::to_string(alignment));
  return static_cast<uint64_t>(alignment);
}

// Bytes of a tensor; the row, its last dimension, has whole blocks.
uint64_t tensor_bytes(const Cursor& cursor, const TensorEntry& tensor) {
  const int64_t elements = block_elements(tensor.type);
  uint64_t num_bytes = block_bytes(tensor.type);
  for (size_t i = 0; i < tensor.shape.size(); ++i) {
    const bool is_row = i + 1 == tensor.shape.size();
    const int64_t size = tensor.shape[i];
    if (is_row && size % elements != 0)
      cursor.fail(
          fmt::format("rows of tensor \"{}\" of whole blocks of {} elements", shown(tensor.name), elements),
          fmt::format("{} elements", size));
    const auto factor = static_cast<uint64_t>(is_row ? size / elements : size);
    if (factor > uint64_t{std::numeric_limits<int64_t>::max()} / 8 / num_bytes)
      cursor.fail(fmt::format("a shape of tensor \"{}\" that fits in memory", shown(tensor.name)),
                  fmt::format("[{}]", fmt::join(tensor.shape, ", ")));
    num_bytes *= factor;
  }
  return num_bytes;
}

TensorEntry read_tensor(Cursor& cursor) {
  TensorEntry tensor;
  tensor.name = cursor.name("the name of a tensor");
  const auto rank = cursor.number<uint32_t>("the number of dimensions");
  if (rank < 1 || rank > kMostDimensions)
    cursor.fail(fmt::format("1 to {} dimensions of tensor \"{}\"", kMostDimensions, shown(tensor.name)),
                std::to_string(rank));
  for (uint32_t i = 0; i < rank; ++i) {
    const auto size = cursor.number<uint64_t>("a size");
    if (size < 1 || size > uint64_t{std::numeric_limits<int64_t>::max()})
      cursor.fail(fmt::format("positive sizes of tensor \"{}\"", shown(tensor.name)), std::to_string(size));
    tensor.shape.insert(tensor.shape.begin(), static_cast<int64_t>(size));
  }
  const auto type = cursor.number<uint32_t>("the type of a tensor");
  const auto known = block_type(type);
  if (!known)
    cursor.fail(fmt::format("tensor \"{}\" in one of the types {}", shown(tensor.name), readable_types()),
                fmt::format("{}; use a file of the model in another quantisation", type_name(type)));
  tensor.type = *known;
  tensor.offset_bytes = cursor.number<uint64_t>("an offset");
  tensor.num_bytes = tensor_bytes(cursor, tensor);
  return tensor;
}

// Offsets from the start of the file, each tensor inside it and apart from the others.
void place_tensors(const Cursor& cursor, uint64_t file_bytes, uint64_t alignment,
                   std::vector<TensorEntry>& tensors) {
  const uint64_t data_start = (cursor.position() + alignment - 1) / alignment * alignment;
  const uint64_t data_bytes = file_bytes > data_start ? file_bytes - data_start : 0;
  std::vector<const TensorEntry*> by_offset;
  for (TensorEntry& tensor : tensors) {
    if (tensor.offset_bytes % alignment != 0)
      cursor.fail(fmt::format("the data of tensor \"{}\" at a multiple of {}", shown(tensor.name), alignment),
                  std::to_string(tensor.offset_bytes));
    if (tensor.offset_bytes > data_bytes || tensor.num_bytes > data_bytes - tensor.offset_bytes)
      cursor.fail(fmt::format("tensor \"{}\" inside the {} bytes of data", shown(tensor.name), data_bytes),
                  fmt::format("{} bytes at {}; the file is truncated or damaged: fetch it again",
                              tensor.num_bytes, tensor.offset_bytes));
    tensor.offset_bytes += data_start;
    by_offset.push_back(&tensor);
  }
  std::sort(by_offset.begin(), by_offset.end(),
            [](const TensorEntry* a, const TensorEntry* b) { return a->offset_bytes < b->offset_bytes; });
  for (size_t i = 1; i < by_offset.size(); ++i)
    if (by_offset[i - 1]->offset_bytes + by_offset[i - 1]->num_bytes > by_offset[i]->offset_bytes)
      cursor.fail(fmt::format("tensor \"{}\" with data of its own", shown(by_offset[i]->name)),
                  fmt::format("bytes that overlap those of \"{}\"", shown(by_offset[i - 1]->name)));
}

}  // namespace

bool is_gguf(std::string_view file) {
  return file.starts_with(kMagic);
}

GgufFile parse_gguf(std::string_view file, const std::string& source) {
  constexpr uint64_t kLeastValue = 8 + 1 + 4 + 1, kLeastTensor = 8 + 1 + 4 + 8 + 4 + 8;
  Cursor cursor(file, source);
  read_version(cursor);
  const uint64_t num_tensors = cursor.count(kLeastTensor, "tensors");
  const uint64_t num_values = cursor.count(kLeastValue, "values");
  GgufFile result{Metadata(source), {}};
  for (uint64_t i = 0; i < num_values; ++i) {
    const std::string key = cursor.name("a key");
    if (!result.metadata.add(key, read_value(cursor, file, key)))
      cursor.fail("each key once", fmt::format("\"{}\" twice", shown(key)));
  }
  std::set<std::string_view> names;
  result.tensors.reserve(num_tensors);
  for (uint64_t i = 0; i < num_tensors; ++i) {
    result.tensors.push_back(read_tensor(cursor));
    if (!names.insert(result.tensors.back().name).second)
      cursor.fail("each tensor once", fmt::format("\"{}\" twice", shown(result.tensors.back().name)));
  }
  place_tensors(cursor, file.size(), read_alignment(result.metadata), result.tensors);
  return result;
}

}  // namespace longlora::gguf
