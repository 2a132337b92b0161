#include "longlora/checkpoint/tensor_store.h"

#include <ATen/Parallel.h>
#include <fmt/core.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cstring>
#include <functional>
#include <set>

#include "longlora/checkpoint/bytes.h"
#include "longlora/checkpoint/quantised_tensors.h"
#include "longlora/checkpoint/safetensors_header.h"
#include "longlora/checkpoint/torch_file.h"
#include "longlora/core/error.h"
#include "longlora/core/foreign_content.h"
#include "longlora/core/text.h"
#include "longlora/tensors/dtypes.h"

namespace longlora::checkpoint {
namespace {

namespace fs = std::filesystem;

constexpr uint64_t kBytesAtOnce = uint64_t{16} << 20;  // how much of a file is read at once

std::string shape_text(at::IntArrayRef shape) {
  return fmt::format("[{}]", fmt::join(shape.begin(), shape.end(), ", "));
}

// The stored name that is most like the one asked for. Names of absurd length are not compared.
std::string nearest_name(const std::string& wanted, const std::map<std::string, TensorInfo>& tensors) {
  constexpr size_t kMaxCompared = 256;
  std::string best;
  size_t best_distance = std::string::npos;
  for (const auto& [name, info] : tensors) {
    if (name.size() > kMaxCompared || wanted.size() > kMaxCompared) continue;
    const size_t distance = text_distance(wanted, name);
    if (distance < best_distance) {
      best_distance = distance;
      best = name;
    }
  }
  return best;
}

// Whether a file is in the safetensors format: it begins with the length of a header (little-endian, far
// below 2^32) and '{', or its name says so.
bool is_safetensors(const fs::path& path, std::string_view file) {
  return path.extension() == ".safetensors" || (file.size() > 8 && file[8] == '{');
}

// What a file holds in place of weights, JSON among it.
std::string foreign_weights(std::string_view file) {
  const std::string other = foreign_content(file);
  if (!other.empty() || file.front() != '{') return other;
  return fmt::format("JSON ({}); is it a message of a server? fetch the weights again",
                     shown_text(file.substr(0, 60)));
}

bool is_contiguous(const StoredTensor& tensor) {
  int64_t expected = 1;
  for (size_t i = tensor.shape.size(); i-- > 0;) {
    if (tensor.shape[i] != 1 && tensor.strides[i] != expected) return false;
    expected *= tensor.shape[i];
  }
  return true;
}

uint64_t count_elements(const std::vector<int64_t>& shape) {
  return std::accumulate(shape.begin(), shape.end(), uint64_t{1}, std::multiplies<>());
}

TensorInfo torch_info(StoredTensor tensor) {
  const uint64_t num_bytes = count_elements(tensor.shape) * tensors::element_bytes(tensor.dtype);
  TensorInfo info{tensor.dtype, std::move(tensor.shape), 0, tensor.offset_bytes, num_bytes};
  tensor.shape = info.shape;
  if (num_bytes != 0 && !is_contiguous(tensor)) info.strides = std::move(tensor.strides);
  return info;
}

// The number of bytes from the first to the last element of a tensor that is not empty.
uint64_t span_bytes(const TensorInfo& tensor) {
  if (tensor.blocks)
    return count_elements(tensor.shape) / static_cast<uint64_t>(gguf::block_elements(*tensor.blocks)) *
           gguf::block_bytes(*tensor.blocks);
  if (tensor.strides.empty()) return tensor.num_bytes;
  int64_t last = 0;
  for (size_t i = 0; i < tensor.shape.size(); ++i) last += (tensor.shape[i] - 1) * tensor.strides[i];
  return (static_cast<uint64_t>(last) + 1) * tensors::element_bytes(tensor.dtype);
}

// The tensor over bytes that outlive it. A bool with a byte other than 0 and 1 is undefined behaviour, so
// that bools are seen as bytes.
at::Tensor view_of(const TensorInfo& tensor, const void* bytes) {
  const at::TensorOptions options(tensor.dtype == at::kBool ? at::kByte : tensor.dtype);
  void* data = const_cast<void*>(bytes);  // nobody writes through it
  if (tensor.strides.empty()) return at::from_blob(data, tensor.shape, options);
  return at::from_blob(data, tensor.shape, tensor.strides, options);
}

}  // namespace

TensorStore TensorStore::open_file(const fs::path& path) {
  std::error_code ignored;
  return fs::is_directory(path, ignored) ? open_model_directory(path) : open_one_file(path);
}

TensorStore TensorStore::open_one_file(const fs::path& path) {
  auto file = std::make_shared<const MappedFile>(path);
  TensorStore store;
  if (!is_safetensors(path, file->text()) && is_torch_file(file->text())) {
    for (StoredTensor& tensor : read_torch_file(file->text(), path.string())) {
      std::string name = std::move(tensor.name);
      store.tensors_.emplace(std::move(name), torch_info(std::move(tensor)));
    }
  } else {
    if (const std::string other = foreign_weights(file->text()); !other.empty())
      throw InputError(
          fmt::format("[{}] expected weights (safetensors or torch.save), got {}", path.string(), other));
    SafetensorsHeader header = parse_safetensors_header(file->text(), path.string());
    for (HeaderEntry& entry : header.entries) {
      TensorInfo info{entry.dtype, std::move(entry.shape), 0, entry.begin_bytes,
                      entry.end_bytes - entry.begin_bytes};
      store.tensors_.emplace(std::move(entry.name), std::move(info));
    }
    store.metadata_ = std::move(header.metadata);
  }
  store.files_.push_back(std::move(file));
  return store;
}

const TensorInfo& TensorStore::info(const std::string& name) const {
  const auto found = tensors_.find(name);
  if (found != tensors_.end()) return found->second;
  const std::string source = files_.empty()       ? "tensors"
                             : files_.size() == 1 ? files_.front()->path().string()
                                                  : files_.front()->path().parent_path().string();
  if (const std::string kind = quantised_kind(tensors_); !kind.empty())
    throw InputError(
        fmt::format("[{}] expected tensor \"{}\", got none of that name: the weights are quantised by {}; "
                    "use the full-precision checkpoint that they were made from",
                    source, name, kind));
  const std::string nearest = nearest_name(name, tensors_);
  throw InputError(fmt::format("[{}] expected tensor \"{}\", got none of that name{}", source, name,
                               nearest.empty() ? "" : "; the nearest is \"" + nearest + "\""));
}

const fs::path& TensorStore::file_of(const std::string& name) const {
  return files_[info(name).file_index]->path();
}

std::vector<fs::path> TensorStore::files() const {
  std::vector<fs::path> paths;
  for (const auto& file : files_) paths.push_back(file->path());
  return paths;
}

at::Tensor TensorStore::load(const std::string& name) const {
  at::Tensor result = at::empty(info(name).shape, at::TensorOptions(info(name).dtype));
  fill(name, result);
  return result;
}

// Copies a stored tensor into one of the same shape, converted on the way.
void TensorStore::read_into(const TensorInfo& stored, const at::Tensor& target) const {
  if (stored.num_bytes == 0) return;
  if (stored.blocks) return read_blocks(stored, target);
  const MappedFile& file = *files_[stored.file_index];
  const std::byte* start = file.bytes().data() + stored.offset_bytes;
  const uint64_t num_bytes = span_bytes(stored);
  // Older files put tensors at any byte, but the operators want them aligned.
  std::vector<std::byte> aligned;
  const bool is_plain_copy = stored.strides.empty() && stored.dtype == target.scalar_type() &&
                             target.is_contiguous() && stored.dtype != at::kBool;
  if (!is_plain_copy && stored.offset_bytes % tensors::element_bytes(stored.dtype) != 0)
    aligned.assign(start, start + num_bytes);
  const at::Tensor source = view_of(stored, aligned.empty() ? start : aligned.data());

  if (is_plain_copy) {
    // The file is read in parts, so that it is not in memory twice.
    for (uint64_t at = 0; at < num_bytes; at += kBytesAtOnce) {
      const uint64_t count = std::min(kBytesAtOnce, num_bytes - at);
      std::memcpy(static_cast<std::byte*>(target.data_ptr()) + at, start + at, count);
      file.release(stored.offset_bytes + at, count);
    }
    return;
  }
  target.copy_(stored.dtype == at::kBool ? source.ne(0) : source);
  file.release(stored.offset_bytes, num_bytes);
}

// In parts of whole rows, lest all of it be in memory twice.
void TensorStore::read_blocks(const TensorInfo& stored, const at::Tensor& target) const {
  constexpr int64_t kElementsAtOnce = int64_t{1} << 22, kBlocksAtOnce = 1024;
  const MappedFile& file = *files_[stored.file_index];
  const gguf::BlockType type = *stored.blocks;
  const int64_t rows = stored.shape.front(), row_elements = target.numel() / rows;
  const int64_t elements = gguf::block_elements(type);
  const auto bytes = static_cast<int64_t>(gguf::block_bytes(type));
  // A list of numbers is one row.
  const int64_t rows_at_once =
      row_elements % elements != 0 ? rows : std::max<int64_t>(1, kElementsAtOnce / row_elements);
  for (int64_t row = 0; row < rows; row += rows_at_once) {
    const int64_t count = std::min(rows_at_once, rows - row);
    const at::Tensor part = target.narrow(0, row, count);
    const bool is_direct = part.is_contiguous() && part.scalar_type() == at::kFloat;
    const at::Tensor values = is_direct ? part : at::empty(part.sizes(), at::kFloat);
    const int64_t first = row * row_elements / elements, blocks = count * row_elements / elements;
    const std::byte* start = file.bytes().data() + stored.offset_bytes + first * bytes;
    auto* to = values.data_ptr<float>();
    at::parallel_for(0, blocks, kBlocksAtOnce, [&](int64_t begin, int64_t end) {
      gguf::dequantise(type, start + begin * bytes, end - begin, to + begin * elements);
    });
    if (!is_direct) part.copy_(values);
    file.release(stored.offset_bytes + static_cast<uint64_t>(first * bytes),
                 static_cast<uint64_t>(blocks * bytes));
  }
}

void TensorStore::check_copy(const Piece& first, const Piece& copy) const {
  const auto read = [this](const Piece& piece) {
    at::Tensor tensor = at::empty(piece.stored.shape, at::TensorOptions(piece.stored.dtype));
    read_into(piece.stored, tensor);
    return tensor;
  };
  const at::Tensor a = read(first), b = read(copy);
  // Bits are compared, because a NaN differs from itself.
  if (std::memcmp(a.const_data_ptr(), b.const_data_ptr(), a.nbytes()) == 0) return;
  throw InputError(
      fmt::format("[{}] tensor \"{}\": expected a copy of the one in {}, got other values; are the files of "
                  "one model?",
                  files_[copy.stored.file_index]->path().string(), copy.name,
                  files_[first.stored.file_index]->path().filename().string()));
}

void TensorStore::fill(const std::string& name, const at::Tensor& result) const {
  const auto joined = pieces_.find(name);
  if (joined == pieces_.end()) return read_into(info(name), result);
  const Piece* first = nullptr;
  for (const Piece& piece : joined->second) {
    if (piece.is_copy) {
      check_copy(*first, piece);
      continue;
    }
    first = &piece;
    at::Tensor target = result.narrow(piece.dim, piece.start, piece.size);
    if (piece.is_swapped) {
      std::vector<int64_t> shape = piece.stored.shape;
      std::swap(shape[1], shape[2]);
      target = target.view(shape).transpose(1, 2);
    }
    read_into(piece.stored, target);
  }
}

TensorStore TensorStore::of_files(std::vector<std::shared_ptr<const MappedFile>> files,
                                  std::map<std::string, TensorInfo> tensors) {
  TensorStore store;
  store.files_ = std::move(files);
  store.tensors_ = std::move(tensors);
  return store;
}

const TensorInfo& TensorStore::info_with_shape(const std::string& name, at::IntArrayRef shape) const {
  const TensorInfo& tensor = info(name);
  if (shape != at::IntArrayRef(tensor.shape))
    throw InputError(
        fmt::format("[{}] tensor \"{}\": expected shape {}, got {}; do the weights belong to this config?",
                    file_of(name).string(), name, shape_text(shape), shape_text(tensor.shape)));
  return tensor;
}

void TensorStore::check(const std::string& name, at::IntArrayRef shape, at::ScalarType dtype) const {
  const TensorInfo& tensor = info_with_shape(name, shape);
  if (!at::isFloatingType(dtype)) return;
  // Numbers of eight bits count as they are where no scales stand beside them.
  const bool is_number = at::isFloatingType(tensor.dtype);
  const std::string kind =
      !is_number || c10::isFloat8Type(tensor.dtype) ? quantised_kind(tensors_) : std::string();
  if (is_number && kind.empty()) return;
  throw InputError(
      fmt::format("[{}] tensor \"{}\": expected floating point, got {}; {}", file_of(name).string(), name,
                  c10::toString(tensor.dtype),
                  at::isComplexType(tensor.dtype) ? "weights of complex numbers are not supported"
                  : kind.empty()                  ? "a quantized checkpoint has to be converted first"
                                 : fmt::format("the weights are quantised by {}: use the full-precision "
                                               "checkpoint that they were made from",
                                               kind)));
}

at::Tensor TensorStore::load(const std::string& name, at::IntArrayRef shape, at::ScalarType dtype) const {
  at::Tensor result = at::empty(shape, at::TensorOptions(dtype));
  load_into(name, result);
  return result;
}

void TensorStore::load_into(const std::string& name, const at::Tensor& target) const {
  check(name, target.sizes(), target.scalar_type());
  fill(name, target);
}

bool TensorStore::can_view(const std::string& name, at::ScalarType dtype) const {
  const TensorInfo& tensor = info(name);
  return pieces_.count(name) == 0 && tensor.dtype == dtype && dtype != at::kBool && tensor.strides.empty() &&
         !tensor.blocks && tensor.num_bytes > 0 &&
         tensor.offset_bytes % tensors::element_bytes(tensor.dtype) == 0;
}

at::Tensor TensorStore::view(const std::string& name, at::IntArrayRef shape) const {
  const TensorInfo& tensor = info_with_shape(name, shape);
  if (!can_view(name, tensor.dtype))
    throw Error(fmt::format("[{}] tensor \"{}\": expected one that lies whole and aligned in the file",
                            file_of(name).string(), name));
  return view_of(tensor, files_[tensor.file_index]->bytes().data() + tensor.offset_bytes);
}

bool TensorStore::are_equal(const TensorStore& a, const std::string& name_a, const TensorStore& b,
                            const std::string& name_b) {
  constexpr int64_t kElementsAtOnce = int64_t{1} << 22;
  const TensorInfo &info_a = a.info(name_a), &info_b = b.info(name_b);
  if (info_a.shape != info_b.shape) return false;
  const bool whole = a.pieces_.count(name_a) == 0 && b.pieces_.count(name_b) == 0;
  if (whole && a.files_[info_a.file_index] == b.files_[info_b.file_index] && info_a.dtype == info_b.dtype &&
      info_a.offset_bytes == info_b.offset_bytes && info_a.strides == info_b.strides)
    return true;
  const auto elements = [](const TensorStore& store, const std::string& name, const TensorInfo& info) {
    return (store.can_view(name, info.dtype) ? store.view(name, info.shape) : store.load(name)).view({-1});
  };
  const at::Tensor all_a = elements(a, name_a, info_a), all_b = elements(b, name_b, info_b);
  const at::ScalarType wide = at::promote_types(info_a.dtype, info_b.dtype);
  for (int64_t begin = 0; begin < all_a.numel(); begin += kElementsAtOnce) {
    const int64_t end = std::min(all_a.numel(), begin + kElementsAtOnce);
    if (!at::equal(all_a.slice(0, begin, end).to(wide), all_b.slice(0, begin, end).to(wide))) return false;
    a.release(name_a);
    b.release(name_b);
  }
  return true;
}

void TensorStore::add_alias(const std::string& alias, const std::string& name) {
  tensors_.emplace(alias, info(name));
  if (const auto joined = pieces_.find(name); joined != pieces_.end()) pieces_.emplace(alias, joined->second);
}

std::vector<TensorInfo> TensorStore::stored_parts(const std::string& name) const {
  const auto joined = pieces_.find(name);
  if (joined == pieces_.end()) return {info(name)};
  std::vector<TensorInfo> parts;
  parts.reserve(joined->second.size());
  for (const Piece& piece : joined->second) parts.push_back(piece.stored);
  return parts;
}

void TensorStore::release(const std::string& name) const {
  for (const TensorInfo& part : stored_parts(name))
    if (part.num_bytes > 0) files_[part.file_index]->release(part.offset_bytes, span_bytes(part));
}

void TensorStore::will_need(const std::string& name) const {
  for (const TensorInfo& part : stored_parts(name))
    if (part.num_bytes > 0) files_[part.file_index]->will_need(part.offset_bytes, span_bytes(part));
}

}  // namespace longlora::checkpoint
