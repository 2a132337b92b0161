#include "longlora/checkpoint/tensor_store.h"

#include <fmt/core.h>
#include <fmt/ranges.h>
#include <sys/mman.h>

#include <algorithm>
#include <cstring>
#include <numeric>
#include <set>
#include <span>

#include "longlora/checkpoint/safetensors_header.h"
#include "longlora/core/error.h"
#include "longlora/core/json.h"

namespace longlora::checkpoint {
namespace {

namespace fs = std::filesystem;

constexpr const char* kSingleFile = "model.safetensors";
constexpr const char* kIndexFile = "model.safetensors.index.json";

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
  const bool has_bin = fs::exists(directory / "pytorch_model.bin", ignored) ||
                       fs::exists(directory / "pytorch_model.bin.index.json", ignored);
  throw InputError(
      fmt::format("[{}] expected {} or {}, got neither{}", directory.string(), kSingleFile, kIndexFile,
                  has_bin ? "; its pytorch_model.bin has to be saved as safetensors first" : ""));
}

/// Gives pages that have been copied back to the system: a model would else be in memory twice while it
/// loads.
void forget_pages(std::span<const std::byte> bytes) {
  constexpr uintptr_t kPage = 4096;
  const auto first = (reinterpret_cast<uintptr_t>(bytes.data()) + kPage - 1) / kPage * kPage;
  const auto last = reinterpret_cast<uintptr_t>(bytes.data() + bytes.size()) / kPage * kPage;
  // A hint: where it fails nothing but the memory is lost.
  if (last > first) ::madvise(reinterpret_cast<void*>(first), last - first, MADV_DONTNEED);
}

}  // namespace

TensorStore TensorStore::open_file(const fs::path& path) {
  auto file = std::make_shared<const MappedFile>(path);
  SafetensorsHeader header = parse_safetensors_header(file->text(), path.string());
  TensorStore store;
  for (HeaderEntry& entry : header.entries) {
    TensorInfo info{entry.dtype, std::move(entry.shape), 0, entry.begin_bytes,
                    entry.end_bytes - entry.begin_bytes};
    store.tensors_.emplace(std::move(entry.name), std::move(info));
  }
  store.metadata_ = std::move(header.metadata);
  store.files_.push_back(std::move(file));
  return store;
}

TensorStore TensorStore::open_model_directory(const fs::path& directory) {
  std::error_code ignored;
  if (fs::exists(directory / kSingleFile, ignored)) return open_file(directory / kSingleFile);
  if (!fs::exists(directory / kIndexFile, ignored)) fail_without_weights(directory);

  const auto weight_map = read_weight_map(directory / kIndexFile);
  std::set<std::string> shards;
  for (const auto& [name, shard] : weight_map) shards.insert(shard);

  TensorStore store;
  for (const std::string& shard : shards) {
    if (!fs::exists(directory / shard, ignored))
      throw InputError(fmt::format("[{}] expected the shard {} that {} names, got nothing there; fetch it",
                                   directory.string(), shard, kIndexFile));
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
                                   (directory / shard).string(), name, kIndexFile));
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
  // Any byte but 0 and 1 in a bool is undefined behaviour: read those as bytes first.
  const bool is_bool = tensor.dtype == at::kBool;
  at::Tensor result = at::empty(tensor.shape, at::TensorOptions(is_bool ? at::kByte : tensor.dtype));
  if (tensor.num_bytes != 0) {
    const auto bytes = files_[tensor.file_index]->bytes().subspan(tensor.offset_bytes, tensor.num_bytes);
    std::memcpy(result.data_ptr(), bytes.data(), bytes.size());
    forget_pages(bytes);
  }
  return is_bool ? result.ne(0) : result;
}

at::Tensor TensorStore::load(const std::string& name, at::IntArrayRef shape, at::ScalarType dtype) const {
  const TensorInfo& tensor = info(name);
  if (shape != at::IntArrayRef(tensor.shape))
    throw InputError(
        fmt::format("[{}] tensor \"{}\": expected shape {}, got {}; do the weights belong to this config?",
                    file_of(name).string(), name, shape_text(shape), shape_text(tensor.shape)));
  return load(name).to(dtype);
}

}  // namespace longlora::checkpoint
