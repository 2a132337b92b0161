#include "longlora/checkpoint/tensor_store.h"

#include <fmt/core.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cstring>
#include <functional>
#include <numeric>
#include <set>

#include "longlora/checkpoint/dtypes.h"
#include "longlora/checkpoint/safetensors_header.h"
#include "longlora/checkpoint/torch_file.h"
#include "longlora/core/error.h"
#include "longlora/core/json.h"

namespace longlora::checkpoint {
namespace {

namespace fs = std::filesystem;

constexpr const char* kSingleFile = "model.safetensors";
constexpr const char* kIndexFile = "model.safetensors.index.json";
constexpr const char* kTorchFile = "pytorch_model.bin";
constexpr const char* kTorchIndexFile = "pytorch_model.bin.index.json";
constexpr const char* kMetaFile = "consolidated.00.pth";

std::string shape_text(at::IntArrayRef shape) {
  return fmt::format("[{}]", fmt::join(shape.begin(), shape.end(), ", "));
}

size_t edit_distance(const std::string& a, const std::string& b) {
  std::vector<size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), 0);
  for (size_t i = 1; i <= a.size(); ++i) {
    size_t diagonal = row[0];
    row[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t above = row[j];
      row[j] = std::min({above + 1, row[j - 1] + 1, diagonal + (a[i - 1] == b[j - 1] ? 0 : 1)});
      diagonal = above;
    }
  }
  return row[b.size()];
}

// The stored name most like the one asked for; names of absurd length are not compared.
std::string nearest_name(const std::string& wanted, const std::map<std::string, TensorInfo>& tensors) {
  constexpr size_t kMaxCompared = 256;
  std::string best;
  size_t best_distance = std::string::npos;
  for (const auto& [name, info] : tensors) {
    if (name.size() > kMaxCompared || wanted.size() > kMaxCompared) continue;
    const size_t distance = edit_distance(wanted, name);
    if (distance < best_distance) {
      best_distance = distance;
      best = name;
    }
  }
  return best;
}

// tensor name -> shard file name, from the index; shard names may not leave the folder.
std::map<std::string, std::string> read_weight_map(const fs::path& index_path) {
  const Json index = read_json(index_path);
  if (!index.is_object() || !index.contains("weight_map") || !index["weight_map"].is_object() ||
      index["weight_map"].empty())
    throw InputError(fmt::format("[{}] expected an object \"weight_map\" from tensor to shard, got none",
                                 index_path.string()));
  std::map<std::string, std::string> weight_map;
  for (const auto& [name, shard] : index["weight_map"].items()) {
    const std::string file = shard.is_string() ? shard.get<std::string>() : "";
    if (file.empty() || file == "." || file == ".." || file.find('/') != std::string::npos ||
        file.find('\0') != std::string::npos)
      throw InputError(
          fmt::format("[{}] tensor \"{}\": expected the name of a file in the same folder, got {}",
                      index_path.string(), name, shard.dump()));
    if (!weight_map.emplace(name, file).second)
      throw InputError(
          fmt::format("[{}] expected each tensor once, got \"{}\" twice", index_path.string(), name));
  }
  return weight_map;
}

[[noreturn]] void fail_without_weights(const fs::path& directory) {
  std::error_code ignored;
  if (!fs::is_directory(directory, ignored))
    throw InputError(fmt::format("[{}] expected a Hugging Face model directory, got {}", directory.string(),
                                 fs::exists(directory, ignored) ? "a file" : "nothing there"));
  const bool is_meta = fs::exists(directory / kMetaFile, ignored);
  throw InputError(fmt::format(
      "[{}] expected {}, {}, or either's {}, got {}", directory.string(), kSingleFile, kTorchFile,
      ".index.json",
      is_meta ? "Meta's consolidated.00.pth; run longlora convert on the folder first" : "none of them"));
}

// A header's length (little-endian, far below 2^32) and '{', or the name says so.
bool is_safetensors(const fs::path& path, std::string_view file) {
  return path.extension() == ".safetensors" || (file.size() > 8 && file[8] == '{');
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
  const uint64_t num_bytes = count_elements(tensor.shape) * element_bytes(tensor.dtype);
  TensorInfo info{tensor.dtype, std::move(tensor.shape), 0, tensor.offset_bytes, num_bytes};
  tensor.shape = info.shape;
  if (num_bytes != 0 && !is_contiguous(tensor)) info.strides = std::move(tensor.strides);
  return info;
}

// Bytes from the first to the last element of a tensor that is not empty.
uint64_t span_bytes(const TensorInfo& tensor) {
  if (tensor.strides.empty()) return tensor.num_bytes;
  int64_t last = 0;
  for (size_t i = 0; i < tensor.shape.size(); ++i) last += (tensor.shape[i] - 1) * tensor.strides[i];
  return (static_cast<uint64_t>(last) + 1) * element_bytes(tensor.dtype);
}

// The tensor over bytes that outlive it. Any byte but 0 and 1 in a bool is
// undefined behaviour: those are seen as bytes.
at::Tensor view_of(const TensorInfo& tensor, const void* bytes) {
  const at::TensorOptions options(tensor.dtype == at::kBool ? at::kByte : tensor.dtype);
  void* data = const_cast<void*>(bytes);  // it is only read
  if (tensor.strides.empty()) return at::from_blob(data, tensor.shape, options);
  return at::from_blob(data, tensor.shape, tensor.strides, options);
}

}  // namespace

TensorStore TensorStore::open_file(const fs::path& path) {
  auto file = std::make_shared<const MappedFile>(path);
  TensorStore store;
  if (!is_safetensors(path, file->text()) && is_torch_file(file->text())) {
    for (StoredTensor& tensor : read_torch_file(file->text(), path.string())) {
      std::string name = std::move(tensor.name);
      store.tensors_.emplace(std::move(name), torch_info(std::move(tensor)));
    }
  } else {
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

TensorStore TensorStore::open_model_directory(const fs::path& directory) {
  std::error_code ignored;
  for (const char* single : {kSingleFile, kTorchFile}) {
    if (fs::exists(directory / single, ignored)) return open_file(directory / single);
    const char* index = single == kSingleFile ? kIndexFile : kTorchIndexFile;
    if (fs::exists(directory / index, ignored)) return open_shards(directory / index);
  }
  fail_without_weights(directory);
}

std::optional<fs::path> TensorStore::find_file(const fs::path& directory, const std::string& name) {
  std::error_code ignored;
  for (const char* extension : {".safetensors", ".bin"})
    if (fs::exists(directory / (name + extension), ignored)) return directory / (name + extension);
  return std::nullopt;
}

TensorStore TensorStore::open_shards(const fs::path& index_path) {
  const fs::path directory = index_path.parent_path();
  const std::string index_name = index_path.filename().string();
  const auto weight_map = read_weight_map(index_path);
  std::set<std::string> shards;
  for (const auto& [name, shard] : weight_map) shards.insert(shard);

  TensorStore store;
  std::error_code ignored;
  for (const std::string& shard : shards) {
    if (!fs::exists(directory / shard, ignored))
      throw InputError(fmt::format("[{}] expected the shard {} that {} names, got nothing there; fetch it",
                                   directory.string(), shard, index_name));
    TensorStore part = open_file(directory / shard);
    for (auto& [name, info] : part.tensors_) {
      const auto listed = weight_map.find(name);
      if (listed != weight_map.end() && listed->second != shard) continue;  // the index decides
      info.file_index = store.files_.size();
      if (!store.tensors_.emplace(name, std::move(info)).second)
        throw InputError(
            fmt::format("[{}] expected tensor \"{}\" in one shard, got it in two", directory.string(), name));
    }
    if (store.files_.empty()) store.metadata_ = std::move(part.metadata_);
    store.files_.push_back(std::move(part.files_.front()));
  }
  for (const auto& [name, shard] : weight_map)
    if (!store.contains(name))
      throw InputError(fmt::format("[{}] expected tensor \"{}\", which {} promises, got a shard without it",
                                   (directory / shard).string(), name, index_name));
  return store;
}

const TensorInfo& TensorStore::info(const std::string& name) const {
  const auto found = tensors_.find(name);
  if (found != tensors_.end()) return found->second;
  const std::string source = files_.empty()       ? "tensors"
                             : files_.size() == 1 ? files_.front()->path().string()
                                                  : files_.front()->path().parent_path().string();
  const std::string nearest = nearest_name(name, tensors_);
  throw InputError(fmt::format("[{}] expected tensor \"{}\", got none of that name{}", source, name,
                               nearest.empty() ? "" : "; the nearest is \"" + nearest + "\""));
}

const fs::path& TensorStore::file_of(const std::string& name) const {
  return files_[info(name).file_index]->path();
}

at::Tensor TensorStore::load(const std::string& name) const {
  const TensorInfo& tensor = info(name);
  return load_as(tensor, tensor.dtype);
}

at::Tensor TensorStore::load_as(const TensorInfo& tensor, at::ScalarType dtype) const {
  if (tensor.num_bytes == 0) return at::empty(tensor.shape, at::TensorOptions(dtype));
  const MappedFile& file = *files_[tensor.file_index];
  const std::byte* start = file.bytes().data() + tensor.offset_bytes;
  const uint64_t num_bytes = span_bytes(tensor);
  // Older files put tensors at any byte; the operators want them aligned.
  std::vector<std::byte> aligned;
  const bool is_plain_copy = tensor.strides.empty() && dtype == tensor.dtype;
  if (!is_plain_copy && tensor.offset_bytes % element_bytes(tensor.dtype) != 0)
    aligned.assign(start, start + num_bytes);
  const at::Tensor source = view_of(tensor, aligned.empty() ? start : aligned.data());

  at::Tensor result;
  if (tensor.dtype == at::kBool) {
    result = source.ne(0).contiguous().to(dtype);
  } else if (is_plain_copy) {
    result = at::empty(tensor.shape, at::TensorOptions(dtype));
    std::memcpy(result.data_ptr(), start, tensor.num_bytes);
  } else {
    result = at::empty(tensor.shape, at::TensorOptions(dtype));
    result.copy_(source);
  }
  file.release(tensor.offset_bytes, num_bytes);
  return result;
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
  if (at::isFloatingType(dtype) && !at::isFloatingType(tensor.dtype))
    throw InputError(
        fmt::format("[{}] tensor \"{}\": expected floating point, got {}; a quantized checkpoint has to be "
                    "converted first",
                    file_of(name).string(), name, c10::toString(tensor.dtype)));
}

at::Tensor TensorStore::load(const std::string& name, at::IntArrayRef shape, at::ScalarType dtype) const {
  check(name, shape, dtype);
  return load_as(info(name), dtype);
}

bool TensorStore::can_view(const std::string& name, at::ScalarType dtype) const {
  const TensorInfo& tensor = info(name);
  return tensor.dtype == dtype && dtype != at::kBool && tensor.strides.empty() && tensor.num_bytes > 0 &&
         tensor.offset_bytes % element_bytes(tensor.dtype) == 0;
}

at::Tensor TensorStore::view(const std::string& name, at::IntArrayRef shape) const {
  const TensorInfo& tensor = info_with_shape(name, shape);
  if (!can_view(name, tensor.dtype))
    throw Error(fmt::format("[{}] tensor \"{}\": expected one that lies whole and aligned in the file",
                            file_of(name).string(), name));
  return view_of(tensor, files_[tensor.file_index]->bytes().data() + tensor.offset_bytes);
}

void TensorStore::release(const std::string& name) const {
  const TensorInfo& tensor = info(name);
  if (tensor.num_bytes > 0) files_[tensor.file_index]->release(tensor.offset_bytes, span_bytes(tensor));
}

void TensorStore::will_need(const std::string& name) const {
  const TensorInfo& tensor = info(name);
  if (tensor.num_bytes > 0) files_[tensor.file_index]->will_need(tensor.offset_bytes, span_bytes(tensor));
}

}  // namespace longlora::checkpoint
