// Opens folders of weights: finds which files hold them, and says what a folder without any is.
#include <fmt/core.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <set>

#include "longlora/checkpoint/gguf_checkpoint.h"
#include "longlora/checkpoint/meta_checkpoint.h"
#include "longlora/checkpoint/tensor_store.h"
#include "longlora/checkpoint/wrapped_names.h"
#include "longlora/core/error.h"
#include "longlora/core/json.h"
#include "longlora/core/log.h"

namespace longlora::checkpoint {
namespace {

namespace fs = std::filesystem;

constexpr const char* kSingleFile = "model.safetensors";
constexpr const char* kIndexFile = "model.safetensors.index.json";
constexpr const char* kTorchFile = "pytorch_model.bin";
constexpr const char* kTorchIndexFile = "pytorch_model.bin.index.json";

// Whether a shard's name leads to a file below the folder of its index.
bool is_below_the_folder(const std::string& shard) {
  const fs::path path(shard);
  return path.is_relative() && path.has_filename() && shard.find('\0') == std::string::npos &&
         std::none_of(path.begin(), path.end(),
                      [](const fs::path& part) { return part == "." || part == ".."; });
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
    if (!is_below_the_folder(file))
      throw InputError(
          fmt::format("[{}] tensor \"{}\": expected the name of a file in the same folder, got {}",
                      index_path.string(), name, shard.dump()));
    if (!weight_map.emplace(name, file).second)
      throw InputError(
          fmt::format("[{}] expected each tensor once, got \"{}\" twice", index_path.string(), name));
  }
  return weight_map;
}

// Says what a folder is that holds no weights under the names looked for, and the way out. Empty for a folder
// that is not known.
std::string describe_other_folder(const fs::path& directory) {
  bool has_gguf = false, has_shards = false, has_distributed = false, has_deepspeed = false,
       has_checkpoints = false;
  for (const fs::path& entry : list_directory(directory)) {
    const std::string name = entry.filename().string();
    has_gguf = has_gguf || name.ends_with(".gguf");
    has_shards = has_shards || (name.find("-of-") != std::string::npos &&
                                (name.ends_with(".safetensors") || name.ends_with(".bin")));
    has_distributed = has_distributed || name.ends_with(".distcp") || name.starts_with("pytorch_model_fsdp");
    has_deepspeed = has_deepspeed || name == "zero_to_fp32.py" || name.starts_with("global_step");
    has_checkpoints = has_checkpoints || name.starts_with("checkpoint-");
  }
  const auto has = [&](const char* name) {
    std::error_code ignored;
    return fs::exists(directory / name, ignored);
  };
  if (has("adapter_config.json"))
    return "an adapter; give it with --peft_model, and the model that it was made for with --base_model";
  if (has_shards) return "shards without the index that names them; fetch the .index.json too";
  if (has_deepspeed)
    return "a checkpoint of DeepSpeed; put its weights together with: python zero_to_fp32.py . "
           "pytorch_model.bin";
  if (has_distributed)
    return "a distributed checkpoint of PyTorch; put it together with: accelerate merge-weights FOLDER "
           "OUTPUT";
  if (has_gguf) return "GGUF files of llama.cpp beside a config.json; name the file itself";
  if (has("tf_model.h5") || has("flax_model.msgpack"))
    return "weights of TensorFlow or Flax; use the checkpoint in safetensors or PyTorch's format";
  if (has("snapshots")) return "a folder of the download cache; name the folder below its snapshots";
  if (has_checkpoints) return "the folder of a training run; name one of its checkpoint-N";
  return "";
}

[[noreturn]] void fail_without_weights(const fs::path& directory) {
  std::error_code ignored;
  if (!fs::is_directory(directory, ignored))
    throw InputError(fmt::format("[{}] expected a Hugging Face model directory, got {}", directory.string(),
                                 fs::exists(directory, ignored) ? "a file" : "nothing there"));
  if (const std::string other = describe_other_folder(directory); !other.empty())
    throw InputError(fmt::format("[{}] expected the weights of a model ({}, {} or their shards), got {}",
                                 directory.string(), kSingleFile, kTorchFile, other));
  throw InputError(
      fmt::format("[{}] expected {}, {}, either's .index.json, Meta's consolidated.00.pth or a GGUF file, "
                  "got none of them",
                  directory.string(), kSingleFile, kTorchFile));
}

}  // namespace

bool TensorStore::has_model_files(const fs::path& directory) {
  std::error_code ignored;
  for (const char* name : {kSingleFile, kIndexFile, kTorchFile, kTorchIndexFile})
    if (fs::exists(directory / name, ignored)) return true;
  return false;
}

TensorStore TensorStore::open_checkpoint(const fs::path& path) {
  return open_file(path).under_model_names(path.string());
}

TensorStore TensorStore::open_model_directory(const fs::path& directory) {
  std::error_code ignored;
  for (const char* single : {kSingleFile, kTorchFile}) {
    // Newer versions of DeepSpeed's zero_to_fp32.py make a folder of the file's name, with shards in it.
    if (fs::exists(directory / single, ignored))
      return open_file(directory / single).under_model_names((directory / single).string());
    const char* index = single == kSingleFile ? kIndexFile : kTorchIndexFile;
    if (fs::exists(directory / index, ignored))
      return open_shards(directory / index).under_model_names(directory.string());
  }
  if (MetaCheckpoint::is_in(directory)) return MetaCheckpoint::open(directory).weights();
  if (gguf::find_model(directory)) return GgufCheckpoint::open(directory).weights();
  fail_without_weights(directory);
}

TensorStore TensorStore::under_model_names(const std::string& source) && {
  std::vector<std::string> names;
  for (const auto& [name, info] : tensors_) names.push_back(name);
  const std::map<std::string, std::string> clean = unwrapped_names(names, source);
  if (clean.size() == tensors_.size() &&
      std::all_of(clean.begin(), clean.end(), [](const auto& pair) { return pair.first == pair.second; }))
    return std::move(*this);
  std::map<std::string, TensorInfo> tensors;
  for (const auto& [name, stored] : clean) tensors.emplace(name, std::move(tensors_.at(stored)));
  if (tensors.size() < tensors_.size())
    log_info(fmt::format("{}: {} tensors of a model; the {} beside it (an optimizer's?) are passed over",
                         source, tensors.size(), tensors_.size() - tensors.size()));
  tensors_ = std::move(tensors);
  return std::move(*this);
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
    TensorStore part = open_one_file(directory / shard);
    for (auto& [name, info] : part.tensors_) {
      if (store.contains(name)) {
        if (!weight_map.contains(name))
          throw InputError(fmt::format("[{}] expected tensor \"{}\" in one shard, got it in two",
                                       directory.string(), name));
        if (!are_equal(store, name, part, name))
          log_warning(fmt::format(
              "{}: tensor \"{}\" has other values in {} than in {} (a file of an older save?); the last in "
              "the "
              "order of names is taken, as transformers takes it, though {} names {}",
              directory.string(), name, shard, fs::relative(store.file_of(name), directory).string(),
              index_name, weight_map.at(name)));
      }
      info.file_index = store.files_.size();
      store.tensors_.insert_or_assign(name, std::move(info));
    }
    for (const auto& [name, listed] : weight_map)
      if (listed == shard && !part.contains(name))
        throw InputError(fmt::format("[{}] expected tensor \"{}\", which {} promises, got a shard without it",
                                     (directory / shard).string(), name, index_name));
    if (store.files_.empty()) store.metadata_ = std::move(part.metadata_);
    store.files_.push_back(std::move(part.files_.front()));
  }
  return store;
}

}  // namespace longlora::checkpoint
