#include <fmt/core.h>

#include <algorithm>
#include <numeric>
#include <set>

#include "longlora/checkpoint/safetensors_header.h"
#include "longlora/checkpoint/tensor_store.h"
#include "longlora/core/error.h"
#include "longlora/core/json.h"

namespace longlora::checkpoint {
namespace {

namespace fs = std::filesystem;

constexpr size_t kAlignment = 8;

uint64_t tensor_bytes(const at::Tensor& tensor) {
  return static_cast<uint64_t>(tensor.numel()) * tensor.element_size();
}

void check_writable(const fs::path& path, const NamedTensors& tensors) {
  std::set<std::string> names;
  for (const auto& [name, tensor] : tensors) {
    if (!tensor.defined())
      throw InputError(fmt::format("[{}] expected a tensor for \"{}\", got none", path.string(), name));
    if (name == "__metadata__" || !names.insert(name).second)
      throw InputError(fmt::format("[{}] expected unique tensor names, got \"{}\" {}", path.string(), name,
                                   name == "__metadata__" ? "(reserved)" : "twice"));
  }
}

// The order of the data: as given, wider dtypes first, so that every tensor
// starts at a multiple of its element size (the format allows no gaps).
std::vector<size_t> data_order(const NamedTensors& tensors) {
  std::vector<size_t> order(tensors.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) {
    return tensors[a].second.element_size() > tensors[b].second.element_size();
  });
  return order;
}

std::string build_header(const NamedTensors& tensors, const std::vector<size_t>& order,
                         const std::map<std::string, std::string>& metadata) {
  Json header = Json::object();
  if (!metadata.empty()) header["__metadata__"] = metadata;
  uint64_t offset = 0;
  std::string text = header.dump();
  text.pop_back();
  for (size_t index : order) {
    const auto& [name, tensor] = tensors[index];
    const uint64_t end = offset + tensor_bytes(tensor);
    Json entry = Json::object();
    entry["dtype"] = safetensors_dtype_name(tensor.scalar_type());
    entry["shape"] = tensor.sizes().vec();
    entry["data_offsets"] = {offset, end};
    if (text.size() > 1) text += ',';
    text += Json(name).dump() + ":" + entry.dump();
    offset = end;
  }
  text += '}';
  text.append((kAlignment - text.size() % kAlignment) % kAlignment, ' ');
  return text;
}

// Cuts the tensors, in order, into runs of at most `max_bytes` (a larger tensor is a run of its own).
std::vector<NamedTensors> cut_into_shards(const NamedTensors& tensors, uint64_t max_bytes) {
  std::vector<NamedTensors> shards(1);
  uint64_t shard_bytes = 0;
  for (const auto& entry : tensors) {
    const uint64_t num_bytes = tensor_bytes(entry.second);
    if (!shards.back().empty() && shard_bytes + num_bytes > max_bytes) {
      shards.emplace_back();
      shard_bytes = 0;
    }
    shards.back().push_back(entry);
    shard_bytes += num_bytes;
  }
  return shards;
}

void write_shards(const fs::path& directory, const std::vector<NamedTensors>& shards) {
  std::map<std::string, std::string> weight_map;
  uint64_t total_bytes = 0;
  int64_t total_parameters = 0;
  for (size_t i = 0; i < shards.size(); ++i) {
    const std::string file = fmt::format("model-{:05}-of-{:05}.safetensors", i + 1, shards.size());
    write_safetensors(directory / file, shards[i]);
    for (const auto& [name, tensor] : shards[i]) {
      weight_map[name] = file;
      total_bytes += tensor_bytes(tensor);
      total_parameters += tensor.numel();
    }
  }
  Json index;
  index["metadata"] = {{"total_parameters", total_parameters}, {"total_size", total_bytes}};
  index["weight_map"] = weight_map;
  write_json(directory / "model.safetensors.index.json", index);
}

}  // namespace

void write_safetensors(const fs::path& path, const NamedTensors& tensors,
                       const std::map<std::string, std::string>& metadata) {
  check_writable(path, tensors);
  const std::vector<size_t> order = data_order(tensors);
  const std::string header = build_header(tensors, order, metadata);
  const uint64_t header_bytes = header.size();

  AtomicFileWriter writer(path);
  writer.write(&header_bytes, sizeof header_bytes);
  writer.write(header.data(), header.size());
  for (size_t index : order) {
    const at::Tensor tensor = tensors[index].second.detach().to(at::kCPU).contiguous();
    if (tensor.numel() != 0) writer.write(tensor.data_ptr(), tensor_bytes(tensor));
  }
  writer.commit();
}

void write_model_tensors(const fs::path& directory, const NamedTensors& tensors, uint64_t max_shard_bytes) {
  check_writable(directory, tensors);
  const std::vector<NamedTensors> shards = cut_into_shards(tensors, max_shard_bytes);
  // The other form must not stay behind: a reader would find two models.
  if (shards.size() == 1) {
    write_safetensors(directory / "model.safetensors", tensors);
    fs::remove(directory / "model.safetensors.index.json");
  } else {
    write_shards(directory, shards);
    fs::remove(directory / "model.safetensors");
  }
}

}  // namespace longlora::checkpoint
