#include "longlora/checkpoint/safetensors_header.h"

#include <fmt/core.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cstring>
#include <limits>
#include <optional>
#include <set>

#include "longlora/checkpoint/bytes.h"
#include "longlora/core/error.h"
#include "longlora/core/json.h"
#include "longlora/tensors/dtypes.h"

namespace longlora::checkpoint {
namespace {

constexpr uint64_t kLengthBytes = 8;
constexpr uint64_t kMaxHeaderBytes = 100'000'000;  // the limit of the format's own library
constexpr size_t kMaxRank = 64;                    // as many as ATen's iterators take

// What the header says of one tensor, before any of it is checked.
struct RawEntry {
  std::string name;
  std::optional<std::string> dtype;
  std::optional<std::vector<uint64_t>> shape;
  std::optional<std::vector<uint64_t>> offsets;
};

// Takes JSON events of exactly the structure that the format has and refuses all others, so that neither
// depth nor types can surprise it.
class HeaderReader : public nlohmann::json_sax<Json> {
 public:
  explicit HeaderReader(const std::string& source) : source_(source) {}

  std::vector<RawEntry> entries;
  std::map<std::string, std::string> metadata;

  bool null() override { return refuse("null"); }
  bool boolean(bool) override { return refuse("a boolean"); }
  bool number_integer(number_integer_t) override { return refuse("a negative number"); }
  bool number_float(number_float_t, const string_t& text) override {
    return refuse("the number " + shown_text(text) + " (not an unsigned 64-bit integer)");
  }
  bool binary(binary_t&) override { return refuse("binary data"); }

  bool number_unsigned(number_unsigned_t value) override {
    if (state_ != State::kNumbers) return refuse("a number");
    if (numbers_.size() >= kMaxRank) return refuse(fmt::format("more than {} numbers in a list", kMaxRank));
    numbers_.push_back(value);
    return true;
  }

  bool string(string_t& value) override {
    if (state_ == State::kMetadata)
      metadata[key_] = value;
    else if (state_ == State::kTensor && field_ == "dtype")
      entries.back().dtype = value;
    else
      return refuse("a string");
    return true;
  }

  bool start_object(std::size_t) override {
    switch (state_) {
      case State::kStart:
        state_ = State::kTop;
        return true;
      case State::kTop:
        fields_.clear();
        state_ = key_ == "__metadata__" ? State::kMetadata : State::kTensor;
        if (state_ == State::kTensor) entries.push_back({key_, {}, {}, {}});
        return true;
      default:
        return refuse("an object");
    }
  }

  bool end_object() override {
    state_ = state_ == State::kTop ? State::kEnd : State::kTop;
    return true;
  }

  bool start_array(std::size_t) override {
    if (state_ != State::kTensor || (field_ != "shape" && field_ != "data_offsets")) return refuse("a list");
    numbers_.clear();
    state_ = State::kNumbers;
    return true;
  }

  bool end_array() override {
    (field_ == "shape" ? entries.back().shape : entries.back().offsets) = numbers_;
    state_ = State::kTensor;
    return true;
  }

  bool key(string_t& name) override {
    bool is_new = true;
    if (state_ == State::kTop) {
      is_new = names_.insert(name).second;
      key_ = name;
    } else {
      is_new = fields_.insert(name).second;
      (state_ == State::kMetadata ? key_ : field_) = name;
      if (state_ == State::kTensor && name != "dtype" && name != "shape" && name != "data_offsets")
        return refuse("the unknown field \"" + shown_text(name) + "\"");
    }
    if (!is_new) return refuse("the key \"" + shown_text(name) + "\" twice");
    return true;
  }

  bool parse_error(std::size_t position, const std::string&, const nlohmann::detail::exception&) override {
    throw InputError(
        fmt::format("[{}] expected a JSON header, got a syntax error at byte {} of it; the file is "
                    "damaged: fetch or write it again",
                    source_, position));
  }

 private:
  enum class State { kStart, kTop, kTensor, kMetadata, kNumbers, kEnd };

  bool refuse(const std::string& what) {
    throw InputError(
        fmt::format("[{}] expected a safetensors header, got {}{}", source_, what,
                    state_ == State::kStart || key_.empty() ? "" : " at \"" + shown_text(key_) + "\""));
  }

  const std::string& source_;
  State state_ = State::kStart;
  std::string key_;    // the name of the tensor, or a key of the metadata
  std::string field_;  // dtype, shape or data_offsets
  std::set<std::string> names_;
  std::set<std::string> fields_;
  std::vector<uint64_t> numbers_;
};

[[noreturn]] void fail(const std::string& source, const std::string& name, const std::string& expected,
                       const std::string& got) {
  throw InputError(
      fmt::format("[{}] tensor \"{}\": expected {}, got {}", source, shown_text(name), expected, got));
}

at::ScalarType parse_dtype(const std::string& text, const std::string& source, const std::string& name) {
  if (const tensors::DtypeNames* known = tensors::dtype_of_safetensors(text)) return known->dtype;
  fail(source, name, "a known dtype (F32, F16, BF16, I64 …)", "\"" + shown_text(text) + "\"");
}

// The number of bytes of a dense tensor, or nullopt when it does not fit. Sizes of zero are left out of the
// product that is checked for overflow, because strides use the other sizes.
std::optional<uint64_t> dense_bytes(const std::vector<uint64_t>& shape, uint64_t element_bytes) {
  constexpr uint64_t kMax = std::numeric_limits<int64_t>::max();
  uint64_t product = element_bytes;
  bool is_empty = false;
  for (uint64_t size : shape) {
    is_empty = is_empty || size == 0;
    const uint64_t factor = std::max<uint64_t>(size, 1);
    if (factor > kMax / product) return std::nullopt;
    product *= factor;
  }
  return is_empty ? 0 : product;
}

HeaderEntry check_entry(const RawEntry& raw, uint64_t data_start, uint64_t data_bytes,
                        const std::string& source) {
  if (!raw.dtype || !raw.shape || !raw.offsets)
    fail(source, raw.name, "dtype, shape and data_offsets", "an entry that lacks one of them");
  if (raw.offsets->size() != 2)
    fail(source, raw.name, "two data_offsets", std::to_string(raw.offsets->size()));
  const uint64_t begin = (*raw.offsets)[0];
  const uint64_t end = (*raw.offsets)[1];
  if (begin > end || end > data_bytes)
    fail(source, raw.name, fmt::format("bytes inside the {} bytes of data", data_bytes),
         fmt::format("data_offsets [{}, {}]; the file is truncated or damaged", begin, end));

  const at::ScalarType dtype = parse_dtype(*raw.dtype, source, raw.name);
  const auto needed = dense_bytes(*raw.shape, tensors::element_bytes(dtype));
  if (!needed)
    fail(source, raw.name, "a shape that fits in memory", fmt::format("[{}]", fmt::join(*raw.shape, ", ")));
  if (*needed != end - begin)
    fail(source, raw.name,
         fmt::format("{} bytes for shape [{}] of {}", *needed, fmt::join(*raw.shape, ", "), *raw.dtype),
         fmt::format("{} bytes", end - begin));
  std::vector<int64_t> shape(raw.shape->begin(), raw.shape->end());
  return {raw.name, dtype, std::move(shape), data_start + begin, data_start + end};
}

void check_coverage(const std::vector<HeaderEntry>& entries, uint64_t data_start, uint64_t file_bytes,
                    const std::string& source) {
  uint64_t position = data_start;
  std::string before;
  for (const HeaderEntry& entry : entries) {
    const std::string neighbour =
        before.empty() ? "the start of the data" : fmt::format("\"{}\"", shown_text(before));
    if (entry.begin_bytes < position)
      fail(source, entry.name, "data of its own", "bytes that overlap those of " + neighbour);
    if (entry.begin_bytes > position)
      fail(source, entry.name, "data that begins where the data before it ends",
           fmt::format("{} unused bytes between {} and it", entry.begin_bytes - position, neighbour));
    position = entry.end_bytes;
    if (entry.begin_bytes != entry.end_bytes || before.empty()) before = entry.name;
  }
  if (position != file_bytes)
    throw InputError(fmt::format("[{}] expected the data to end with the last tensor, got {} further bytes",
                                 source, file_bytes - position));
}

uint64_t header_length(std::string_view file, const std::string& source) {
  if (file.size() < kLengthBytes)
    throw InputError(fmt::format("[{}] expected a safetensors file, got {} bytes; fetch or write it again",
                                 source, file.size()));
  uint64_t length = 0;
  std::memcpy(&length, file.data(), kLengthBytes);
  if (length > kMaxHeaderBytes)
    throw InputError(
        fmt::format("[{}] expected a header of at most {} bytes, got {}; not a safetensors file?", source,
                    kMaxHeaderBytes, length));
  if (length > file.size() - kLengthBytes)
    throw InputError(
        fmt::format("[{}] expected a header of {} bytes, got a file of {}; it is truncated: fetch or "
                    "write it again",
                    source, length, file.size()));
  return length;
}

}  // namespace

SafetensorsHeader parse_safetensors_header(std::string_view file, const std::string& source) {
  const uint64_t length = header_length(file, source);
  const std::string_view text = file.substr(kLengthBytes, length);
  if (text.empty() || text.front() != '{')
    throw InputError(
        fmt::format("[{}] expected a header that starts with '{{', got something else; not a "
                    "safetensors file?",
                    source));
  HeaderReader reader(source);
  Json::sax_parse(text.begin(), text.end(), &reader);

  const uint64_t data_start = kLengthBytes + length;
  SafetensorsHeader header;
  header.metadata = std::move(reader.metadata);
  header.entries.reserve(reader.entries.size());
  for (const RawEntry& raw : reader.entries)
    header.entries.push_back(check_entry(raw, data_start, file.size() - data_start, source));
  std::sort(header.entries.begin(), header.entries.end(), [](const HeaderEntry& a, const HeaderEntry& b) {
    return std::tie(a.begin_bytes, a.end_bytes) < std::tie(b.begin_bytes, b.end_bytes);
  });
  check_coverage(header.entries, data_start, file.size(), source);
  return header;
}

std::string safetensors_dtype_name(at::ScalarType dtype) {
  if (const tensors::DtypeNames* known = tensors::dtype_names(dtype);
      known != nullptr && known->safetensors != nullptr)
    return known->safetensors;
  throw InputError(
      fmt::format("[safetensors] expected a dtype the format knows, got {}", c10::toString(dtype)));
}

}  // namespace longlora::checkpoint
