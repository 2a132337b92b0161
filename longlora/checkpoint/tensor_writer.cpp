#include "longlora/checkpoint/tensor_writer.h"

#include <fmt/core.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <numeric>
#include <set>

#include "longlora/checkpoint/safetensors_header.h"
#include "longlora/checkpoint/tensor_store.h"
#include "longlora/checkpoint/torch_writer.h"
#include "longlora/core/error.h"
#include "longlora/core/json.h"
#include "longlora/tensors/disk_tensor.h"
#include "longlora/tensors/dtypes.h"

namespace longlora::checkpoint {
namespace {

namespace fs = std::filesystem;

constexpr size_t kAlignment = 8;

uint64_t num_elements(const TensorSpec& spec) {
  return std::accumulate(spec.shape.begin(), spec.shape.end(), uint64_t{1}, std::multiplies<>());
}

uint64_t tensor_bytes(const TensorSpec& spec) {
  return num_elements(spec) * tensors::element_bytes(spec.dtype);
}

void check_writable(const fs::path& path, TensorFormat format, const std::vector<TensorSpec>& specs) {
  std::set<std::string> names;
  for (const TensorSpec& spec : specs) {
    if (tensors::dtype_names(spec.dtype) == nullptr)
      throw InputError(fmt::format("[{}] tensor \"{}\": expected a dtype that files have, got {}",
                                   path.string(), spec.name, c10::toString(spec.dtype)));
    if (format == TensorFormat::kSafetensors) safetensors_dtype_name(spec.dtype);
    const bool is_reserved = format == TensorFormat::kSafetensors && spec.name == "__metadata__";
    if (is_reserved || !names.insert(spec.name).second)
      throw InputError(fmt::format("[{}] expected unique tensor names, got \"{}\" {}", path.string(),
                                   spec.name, is_reserved ? "(reserved)" : "twice"));
  }
}

// The specs in the order of the data: as given, but wider dtypes first, so that every tensor starts at a
// multiple of its element size (the format allows no gaps).
std::vector<TensorSpec> in_data_order(std::vector<TensorSpec> specs) {
  std::stable_sort(specs.begin(), specs.end(), [](const TensorSpec& a, const TensorSpec& b) {
    return tensors::element_bytes(a.dtype) > tensors::element_bytes(b.dtype);
  });
  return specs;
}

std::string build_header(const std::vector<TensorSpec>& specs,
                         const std::map<std::string, std::string>& metadata) {
  Json header = Json::object();
  if (!metadata.empty()) header["__metadata__"] = metadata;
  uint64_t offset = 0;
  std::string text = header.dump();
  text.pop_back();
  for (const TensorSpec& spec : specs) {
    const uint64_t end = offset + tensor_bytes(spec);
    Json entry = Json::object();
    entry["dtype"] = safetensors_dtype_name(spec.dtype);
    entry["shape"] = spec.shape;
    entry["data_offsets"] = {offset, end};
    if (text.size() > 1) text += ',';
    text += Json(spec.name).dump() + ":" + entry.dump();
    offset = end;
  }
  text += '}';
  text.append((kAlignment - text.size() % kAlignment) % kAlignment, ' ');
  return text;
}

// Of a contiguous tensor, whose numbers have to be finite; one on disk becomes resident a piece at a time.
void write_elements(AtomicFileWriter& writer, const TensorSpec& spec, const at::Tensor& tensor) {
  const auto* bytes = static_cast<const char*>(tensor.const_data_ptr());
  const auto size = static_cast<int64_t>(tensor.element_size());
  const auto write = [&](int64_t begin, int64_t end) {
    internal::check_finite(spec, tensor, begin, end);
    writer.write(bytes + begin * size, static_cast<size_t>((end - begin) * size));
    tensors::release_elements(tensor, begin, end);
  };
  if (tensor.numel() == 0) return;
  if (tensors::is_on_disk(tensor))
    tensors::for_each_disk_piece(tensor.numel(), write);
  else
    write(0, tensor.numel());
}

void write_safetensors_file(const fs::path& path, const std::vector<TensorSpec>& specs,
                            const TensorSource& source, const std::map<std::string, std::string>& metadata) {
  const std::vector<TensorSpec> ordered = in_data_order(specs);
  const std::string header = build_header(ordered, metadata);
  const uint64_t header_bytes = header.size();

  AtomicFileWriter writer(path);
  writer.write(&header_bytes, sizeof header_bytes);
  writer.write(header.data(), header.size());
  for (const TensorSpec& spec : ordered) {
    const at::Tensor tensor = internal::make_tensor(spec, source);
    write_elements(writer, spec, tensor);
  }
  writer.commit();
}

// Cuts the tensors, in order, into runs of at most `max_bytes` (a larger tensor is a run of its own).
std::vector<std::vector<TensorSpec>> cut_into_shards(const std::vector<TensorSpec>& specs,
                                                     uint64_t max_bytes) {
  std::vector<std::vector<TensorSpec>> shards(1);
  uint64_t shard_bytes = 0;
  for (const TensorSpec& spec : specs) {
    const uint64_t num_bytes = tensor_bytes(spec);
    if (!shards.back().empty() && shard_bytes + num_bytes > max_bytes) {
      shards.emplace_back();
      shard_bytes = 0;
    }
    shards.back().push_back(spec);
    shard_bytes += num_bytes;
  }
  return shards;
}

struct FileNames {
  const char* stem;
  const char* extension;
  std::string single() const { return std::string(stem) + extension; }
  std::string index() const { return single() + ".index.json"; }
  std::string shard(size_t number, size_t count) const {
    return fmt::format("{}-{:05}-of-{:05}{}", stem, number, count, extension);
  }
};

FileNames names_of(TensorFormat format) {
  return format == TensorFormat::kTorch ? FileNames{"pytorch_model", ".bin"}
                                        : FileNames{"model", ".safetensors"};
}

void write_shards(const fs::path& directory, const std::vector<std::vector<TensorSpec>>& shards,
                  const TensorSource& source, TensorFormat format) {
  const FileNames names = names_of(format);
  std::map<std::string, std::string> weight_map;
  uint64_t total_bytes = 0, total_parameters = 0;
  for (size_t i = 0; i < shards.size(); ++i) {
    const std::string file = names.shard(i + 1, shards.size());
    write_tensor_file(directory / file, format, shards[i], source);
    for (const TensorSpec& spec : shards[i]) {
      weight_map[spec.name] = file;
      total_bytes += tensor_bytes(spec);
      total_parameters += num_elements(spec);
    }
  }
  Json index;
  index["metadata"] = {{"total_parameters", total_parameters}, {"total_size", total_bytes}};
  index["weight_map"] = weight_map;
  write_json(directory / names.index(), index);
}

std::vector<TensorSpec> specs_of(const fs::path& path, const NamedTensors& tensors) {
  std::vector<TensorSpec> specs;
  specs.reserve(tensors.size());
  for (const auto& [name, tensor] : tensors) {
    if (!tensor.defined())
      throw InputError(fmt::format("[{}] expected a tensor for \"{}\", got none", path.string(), name));
    specs.push_back({name, tensor.scalar_type(), tensor.sizes().vec()});
  }
  return specs;
}

TensorSource source_of(const NamedTensors& tensors) {
  std::map<std::string, at::Tensor> by_name(tensors.begin(), tensors.end());
  return [by_name = std::move(by_name)](const TensorSpec& spec) { return by_name.at(spec.name); };
}

}  // namespace

void write_tensor_file(const fs::path& path, TensorFormat format, const std::vector<TensorSpec>& specs,
                       const TensorSource& source, const std::map<std::string, std::string>& metadata) {
  check_writable(path, format, specs);
  if (format == TensorFormat::kTorch)
    internal::write_torch_file(path, specs, source);
  else
    write_safetensors_file(path, specs, source, metadata);
}

void write_model_files(const fs::path& directory, const std::vector<TensorSpec>& specs,
                       const TensorSource& source, const ModelFileOptions& options) {
  check_writable(directory, options.format, specs);
  const auto shards = cut_into_shards(specs, options.max_shard_bytes);
  const FileNames names = names_of(options.format);
  // The other form must not stay behind, because a reader would find two models.
  if (shards.size() == 1) {
    write_tensor_file(directory / names.single(), options.format, specs, source);
    fs::remove(directory / names.index());
  } else {
    write_shards(directory, shards, source, options.format);
    fs::remove(directory / names.single());
  }
}

void write_safetensors(const fs::path& path, const NamedTensors& tensors,
                       const std::map<std::string, std::string>& metadata) {
  write_tensor_file(path, TensorFormat::kSafetensors, specs_of(path, tensors), source_of(tensors), metadata);
}

void write_model_tensors(const fs::path& directory, const NamedTensors& tensors, uint64_t max_shard_bytes) {
  ModelFileOptions options;
  options.max_shard_bytes = max_shard_bytes;
  write_model_files(directory, specs_of(directory, tensors), source_of(tensors), options);
}

uint64_t parse_byte_size(const std::string& text, const std::string& what) {
  constexpr std::pair<const char*, double> kUnits[] = {
      {"", 1.0},    {"B", 1.0},      {"KB", 1e3},        {"MB", 1e6},          {"GB", 1e9},
      {"TB", 1e12}, {"KIB", 1024.0}, {"MIB", 1048576.0}, {"GIB", 1073741824.0}};
  double number = 0.0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  std::string unit(static_cast<const char*>(end), text.data() + text.size());
  std::transform(unit.begin(), unit.end(), unit.begin(), [](unsigned char c) { return std::toupper(c); });
  unit.erase(0, unit.find_first_not_of(' '));
  for (const auto& [name, factor] : kUnits)
    if (error == std::errc() && unit == name && number * factor >= 1.0 && number * factor < 1e18)
      return static_cast<uint64_t>(std::llround(number * factor));
  throw UsageError(fmt::format("[{}] expected a size such as 5GB, 500MB or 2GiB, got {}", what, text));
}

}  // namespace longlora::checkpoint
