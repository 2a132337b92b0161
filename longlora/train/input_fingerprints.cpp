#include "longlora/train/input_fingerprints.h"

#include <algorithm>
#include <set>
#include <string>
#include <vector>

#include "longlora/checkpoint/tensor_store.h"
#include "longlora/core/file.h"
#include "longlora/core/sha256.h"

namespace longlora::train {
namespace {

namespace fs = std::filesystem;

// Returns the fingerprint of the contents of files. Those of single files are sorted, so that names and their
// order do not count.
std::string fingerprint_of(const std::set<fs::path>& files) {
  std::vector<std::string> contents;
  for (const fs::path& file : files)
    if (fs::is_regular_file(file)) contents.push_back(file_fingerprint(file));
  std::sort(contents.begin(), contents.end());
  Sha256 hash;
  for (const std::string& content : contents) hash.add(content.data(), content.size());
  return hash.hex();
}

std::string of_model(const fs::path& folder) {
  const auto store = checkpoint::TensorStore::open_model_directory(folder);
  std::set<fs::path> files = {folder / "config.json", folder / "params.json"};
  for (const fs::path& file : store.files()) files.insert(file);
  return fingerprint_of(files);
}

std::string of_adapter(const fs::path& folder) {
  std::set<fs::path> files = {folder / "adapter_config.json", folder / "config.json"};
  for (const char* name : {"adapter_model", "trainable_params"})
    if (const auto file = checkpoint::TensorStore::find_file(folder, name)) files.insert(*file);
  return fingerprint_of(files);
}

}  // namespace

Json input_fingerprints(const TrainOptions& options) {
  Json found = Json::object();
  if (!options.model_name_or_path.empty() && !options.init_random)
    found["--model_name_or_path"] = of_model(options.model_name_or_path);
  if (!options.peft_model.empty()) found["--peft_model"] = of_adapter(options.peft_model);
  if (!options.config_file.empty()) found["--config"] = fingerprint_of({options.config_file});
  return found;
}

}  // namespace longlora::train
