// Writes tensor files one tensor at a time, so that only the tensor being written is in memory.
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

/// Makes the tensor of a spec, with its dtype and shape. It is called once for each tensor, in the order of
/// the file.
using TensorSource = std::function<at::Tensor(const TensorSpec& spec)>;

enum class TensorFormat {
  kSafetensors,
  kTorch,  // a dict of tensors as torch.save writes it; torch.load(weights_only=True) reads it
};

/// Writes one file atomically. `metadata` is for safetensors. Throws InputError
/// for names that repeat, dtypes the format does not have and numbers that are not finite, ResourceError when
/// the disk is full or not writable, and what `source` throws; nothing is left of the file then.
void write_tensor_file(const std::filesystem::path& path, TensorFormat format,
                       const std::vector<TensorSpec>& specs, const TensorSource& source,
                       const std::map<std::string, std::string>& metadata = {{"format", "pt"}});

struct ModelFileOptions {
  TensorFormat format = TensorFormat::kSafetensors;
  uint64_t max_shard_bytes = 5'000'000'000;
};

/// Writes model.safetensors or pytorch_model.bin into a folder that exists, or shards of at most
/// max_shard_bytes (a larger tensor is a shard of its own) with their index, numbered as transformers numbers
/// them. The other of the two forms, if it is there, is removed.
void write_model_files(const std::filesystem::path& directory, const std::vector<TensorSpec>& specs,
                       const TensorSource& source, const ModelFileOptions& options = {});

/// The number of bytes that a text means: "5GB", "500MB", "200KB" (powers of ten, as transformers reads
/// them), "2GiB", "2MiB", or plain bytes. Throws UsageError that names `what`.
uint64_t parse_byte_size(const std::string& text, const std::string& what);

}  // namespace longlora::checkpoint
