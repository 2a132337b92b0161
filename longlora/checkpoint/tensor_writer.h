// Writing tensor files one tensor at a time: no more than the tensor being written is in memory.
#pragma once

#include <ATen/ATen.h>

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <string>
#include <vector>

namespace longlora::checkpoint {

/// What is known of a tensor before it is made.
struct TensorSpec {
  std::string name;
  at::ScalarType dtype;
  std::vector<int64_t> shape;
};

/// Makes the tensor of a spec, of its dtype and shape. Called once for each, in the order of the file.
using TensorSource = std::function<at::Tensor(const TensorSpec& spec)>;

enum class TensorFormat {
  kSafetensors,
  kTorch,  // a dict of tensors as torch.save writes it; torch.load(weights_only=True) reads it
};

/// Writes one file atomically. `metadata` is for safetensors. Throws InputError
/// for names that repeat and dtypes the format does not have, ResourceError when
/// the disk is full or not writable, and what `source` throws.
void write_tensor_file(const std::filesystem::path& path, TensorFormat format,
                       const std::vector<TensorSpec>& specs, const TensorSource& source,
                       const std::map<std::string, std::string>& metadata = {{"format", "pt"}});

struct ModelFileOptions {
  TensorFormat format = TensorFormat::kSafetensors;
  uint64_t max_shard_bytes = 5'000'000'000;
};

/// Writes model.safetensors or pytorch_model.bin, or shards of at most
/// max_shard_bytes (a larger tensor is a shard of its own) numbered as
/// transformers numbers them with their index, into an existing folder. The other
/// form, if it is there, is removed.
void write_model_files(const std::filesystem::path& directory, const std::vector<TensorSpec>& specs,
                       const TensorSource& source, const ModelFileOptions& options = {});

/// "5GB", "500MB", "200KB" (powers of ten, as transformers reads them), "2GiB", "2MiB", or plain bytes.
/// Throws UsageError that names `what`.
uint64_t parse_byte_size(const std::string& text, const std::string& what);

}  // namespace longlora::checkpoint
