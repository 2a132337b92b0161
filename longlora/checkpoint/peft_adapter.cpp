#include "longlora/checkpoint/peft_adapter.h"

#include <fmt/core.h>
#include <fmt/ranges.h>

#include <set>

#include "longlora/core/error.h"

namespace longlora::checkpoint {
namespace {

namespace fs = std::filesystem;

constexpr const char* kAdapterFile = "adapter_model.safetensors";
constexpr const char* kTrainableFile = "trainable_params.safetensors";
constexpr std::string_view kPeftPrefix = "base_model.model.";
constexpr const char* kHalfA = ".lora_A.weight";
constexpr const char* kHalfB = ".lora_B.weight";
// In the adapter file's metadata: how many parameters trainable_params.safetensors holds.
constexpr const char* kTrainableCountKey = "longlora.trainable_params";

fs::path require_adapter_file(const fs::path& directory) {
  std::error_code ignored;
  if (fs::exists(directory / kAdapterFile, ignored)) return directory / kAdapterFile;
  const bool has_bin = fs::exists(directory / "adapter_model.bin", ignored);
  throw InputError(fmt::format("[{}] expected {}, got {}", directory.string(), kAdapterFile,
                               has_bin ? "adapter_model.bin; save it as safetensors with PEFT first"
                                       : "no such file; the adapter is incomplete"));
}

bool is_lora_half(const std::string& name) {
  return name.ends_with(kHalfA) || name.ends_with(kHalfB);
}

std::string without_suffix(const std::string& text, std::string_view suffix) {
  return text.substr(0, text.size() - suffix.size());
}

std::string shape_text(const std::vector<int64_t>& shape) {
  return fmt::format("[{}]", fmt::join(shape, ", "));
}

[[noreturn]] void fail_missing_parameters(const fs::path& directory, const std::string& expected) {
  std::error_code ignored;
  const bool has_bin = fs::exists(directory / "trainable_params.bin", ignored);
  throw InputError(fmt::format(
      "[{}] expected {} in {}, got {}", directory.string(), expected, kTrainableFile,
      has_bin
          ? "trainable_params.bin; save it as safetensors first"
          : "no such file; copy it from where the adapter was trained (get-trainable-weights writes it)"));
}

}  // namespace

std::string normalise_adapter_name(std::string_view name) {
  constexpr std::string_view kInfix = ".default.weight";
  if (name.starts_with(kPeftPrefix)) name.remove_prefix(kPeftPrefix.size());
  if (!name.ends_with(kInfix)) return std::string(name);
  name.remove_suffix(kInfix.size());
  return std::string(name) + ".weight";
}

PeftAdapter PeftAdapter::open(const fs::path& directory) {
  PeftAdapter adapter;
  adapter.directory_ = directory;
  adapter.config_ = read_lora_config(directory);
  adapter.adapter_ = TensorStore::open_file(require_adapter_file(directory));
  adapter.index_adapter_file();
  adapter.index_trainable_params();
  adapter.check_pairs();
  return adapter;
}

// PEFT stores whole embedding or head weights in the same file when their rows
// grew; everything else that is not half of a pair is a kind of adapter that
// this program does not compute.
void PeftAdapter::index_adapter_file() {
  const std::string source = (directory_ / kAdapterFile).string();
  std::set<std::string> modules;
  for (const auto& [stored, info] : adapter_.tensors()) {
    const std::string name = normalise_adapter_name(stored);
    if (!at::isFloatingType(info.dtype))
      throw InputError(fmt::format("[{}] tensor \"{}\": expected floating point, got {}", source, stored,
                                   c10::toString(info.dtype)));
    bool is_new = true;
    if (is_lora_half(name)) {
      is_new = lora_names_.emplace(name, stored).second;
      modules.insert(without_suffix(name, kHalfA));  // both suffixes are of one length
    } else if (name.ends_with("embed_tokens.weight") || name.ends_with("lm_head.weight")) {
      is_new = parameters_.emplace(name, Place{true, stored}).second;
    } else {
      throw InputError(fmt::format(
          "[{}] expected lora_A and lora_B weights, got \"{}\", which is not supported", source, stored));
    }
    if (!is_new)
      throw InputError(fmt::format("[{}] expected \"{}\" once, got it under two names", source, name));
  }
  if (modules.empty())
    throw InputError(fmt::format("[{}] expected lora_A and lora_B weights, got none", source));
  modules_.assign(modules.begin(), modules.end());
}

void PeftAdapter::index_trainable_params() {
  const auto promised = adapter_.metadata().find(kTrainableCountKey);
  std::error_code ignored;
  if (!fs::exists(directory_ / kTrainableFile, ignored)) {
    if (promised != adapter_.metadata().end())
      fail_missing_parameters(directory_, promised->second + " trained parameters");
    return;
  }
  trainable_ = TensorStore::open_file(directory_ / kTrainableFile);
  const std::string count = std::to_string(trainable_->tensors().size());
  if (promised != adapter_.metadata().end() && promised->second != count)
    throw InputError(
        fmt::format("[{}] expected the {} parameters that {} was trained with, got {}; the files are of "
                    "different runs",
                    (directory_ / kTrainableFile).string(), promised->second, kAdapterFile, count));
  for (const auto& [name, info] : trainable_->tensors()) {
    if (!at::isFloatingType(info.dtype))
      throw InputError(fmt::format("[{}] tensor \"{}\": expected floating point, got {}",
                                   (directory_ / kTrainableFile).string(), name, c10::toString(info.dtype)));
    if (!parameters_.emplace(name, Place{false, name}).second)
      throw InputError(fmt::format("[{}] expected \"{}\" in one file, got it in {} too", directory_.string(),
                                   name, kAdapterFile));
  }
}

void PeftAdapter::check_pairs() const {
  const std::string source = (directory_ / kAdapterFile).string();
  for (const std::string& module : modules_) {
    if (!config_.targets(module))
      throw InputError(fmt::format("[{}] expected layers named in target_modules ({}), got \"{}\"", source,
                                   fmt::join(config_.target_modules, ", "), module));
    const auto& a = info_a(module).shape;
    const auto& b = info_b(module).shape;
    if (a.size() != 2 || b.size() != 2 || a[0] != config_.rank || b[1] != config_.rank)
      throw InputError(
          fmt::format("[{}] \"{}\": expected A [{}, in] and B [out, {}] for r = {}, got {} and {}", source,
                      module, config_.rank, config_.rank, config_.rank, shape_text(a), shape_text(b)));
  }
}

const std::string& PeftAdapter::stored_name(const std::string& module, const char* half) const {
  const auto found = lora_names_.find(module + half);
  if (found != lora_names_.end()) return found->second;
  throw InputError(
      fmt::format("[{}] expected \"{}{}\", got no such tensor; the adapter does not fit this model",
                  (directory_ / kAdapterFile).string(), module, half));
}

at::Tensor PeftAdapter::load_a(const std::string& module) const {
  return adapter_.load(stored_name(module, kHalfA));
}
at::Tensor PeftAdapter::load_b(const std::string& module) const {
  return adapter_.load(stored_name(module, kHalfB));
}
const TensorInfo& PeftAdapter::info_a(const std::string& module) const {
  return adapter_.info(stored_name(module, kHalfA));
}
const TensorInfo& PeftAdapter::info_b(const std::string& module) const {
  return adapter_.info(stored_name(module, kHalfB));
}

std::vector<std::string> PeftAdapter::parameters() const {
  std::vector<std::string> names;
  for (const auto& [name, place] : parameters_) names.push_back(name);
  return names;
}

const PeftAdapter::Place& PeftAdapter::parameter_place(const std::string& name) const {
  const auto found = parameters_.find(name);
  if (found != parameters_.end()) return found->second;
  if (!trainable_) fail_missing_parameters(directory_, "\"" + name + "\"");
  throw InputError(
      fmt::format("[{}] expected \"{}\", got no such tensor", (directory_ / kTrainableFile).string(), name));
}

const TensorInfo& PeftAdapter::parameter_info(const std::string& name) const {
  const Place& place = parameter_place(name);
  return store_of(place).info(place.stored_name);
}

at::Tensor PeftAdapter::load_parameter(const std::string& name) const {
  const Place& place = parameter_place(name);
  return store_of(place).load(place.stored_name);
}

void PeftAdapter::require_parameters() const {
  if (parameters_.empty()) fail_missing_parameters(directory_, "the trained embeddings and norms");
}

void write_peft_adapter(const fs::path& directory, const LoraConfig& config, const NamedTensors& lora,
                        const NamedTensors& parameters) {
  NamedTensors stored;
  stored.reserve(lora.size());
  for (const auto& [name, tensor] : lora) {
    if (!is_lora_half(name))
      throw InputError(fmt::format("[{}] expected names that end in {} or {}, got \"{}\"", kAdapterFile,
                                   kHalfA, kHalfB, name));
    stored.emplace_back(std::string(kPeftPrefix) + name, tensor);
  }
  std::map<std::string, std::string> metadata = {{"format", "pt"}};
  if (!parameters.empty()) {
    metadata[kTrainableCountKey] = std::to_string(parameters.size());
    write_safetensors(directory / kTrainableFile, parameters);
  } else {
    fs::remove(directory / kTrainableFile);  // of an earlier adapter: it does not belong to this one
  }
  write_safetensors(directory / kAdapterFile, stored, metadata);
  write_lora_config(directory, config);
}

}  // namespace longlora::checkpoint
