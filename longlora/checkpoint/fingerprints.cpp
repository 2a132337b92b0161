#include "longlora/checkpoint/fingerprints.h"

#include <algorithm>
#include <vector>

#include "longlora/checkpoint/tensor_store.h"
#include "longlora/core/sha256.h"

namespace longlora::checkpoint {

namespace fs = std::filesystem;

std::string files_fingerprint(const std::set<fs::path>& files) {
  std::vector<std::string> contents;
  for (const fs::path& file : files)
    if (fs::is_regular_file(file)) contents.push_back(file_fingerprint(file));
  std::sort(contents.begin(), contents.end());  // so that names and their order do not count
  Sha256 hash;
  for (const std::string& content : contents) hash.add(content.data(), content.size());
  return hash.hex();
}

std::string model_fingerprint(const fs::path& directory) {
  const auto store = TensorStore::open_model_directory(directory);
  std::set<fs::path> files = {directory / "config.json", directory / "params.json"};
  for (const fs::path& file : store.files()) files.insert(file);
  return files_fingerprint(files);
}

std::string adapter_fingerprint(const fs::path& directory) {
  std::set<fs::path> files = {directory / "adapter_config.json", directory / "config.json"};
  for (const char* name : {"adapter_model", "trainable_params"})
    if (const auto file = TensorStore::find_file(directory, name)) files.insert(*file);
  return files_fingerprint(files);
}

}  // namespace longlora::checkpoint
