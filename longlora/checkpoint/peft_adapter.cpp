#include "longlora/checkpoint/peft_adapter.h"

#include <fmt/core.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <set>

#include "longlora/core/error.h"

namespace longlora::checkpoint {
namespace {

namespace fs = std::filesystem;

constexpr const char* kAdapterName = "adapter_model";
constexpr const char* kTrainableName = "trainable_params";
constexpr const char* kAdapterFile = "adapter_model.safetensors";
constexpr const char* kTrainableFile = "trainable_params.safetensors";
constexpr std::string_view kPeftPrefix = "base_model.model.";
constexpr const char* kHalfA = ".lora_A.weight";
constexpr const char* kHalfB = ".lora_B.weight";
constexpr const char* kMagnitude = ".lora_magnitude_vector";
// In the adapter file's metadata: how many parameters trainable_params.safetensors holds.
constexpr const char* kTrainableCountKey = "longlora.trainable_params";

fs::path require_adapter_file(const fs::path& directory) {
  if (const auto file = TensorStore::find_file(directory, kAdapterName)) return *file;
  throw InputError(
      fmt::format("[{}] expected {} or adapter_model.bin, got no such file; the adapter is incomplete",
                  directory.string(), kAdapterFile));
}

std::string without_suffix(const std::string& text, std::string_view suffix) {
  return text.substr(0, text.size() - suffix.size());
}

std::string shape_text(const std::vector<int64_t>& shape) {
  return fmt::format("[{}]", fmt::join(shape, ", "));
}

[[noreturn]] void fail_missing_parameters(const fs::path& directory, const std::string& expected) {
  throw InputError(fmt::format(
      "[{}] expected {} in {} or trainable_params.bin, got no such file; copy it from where the adapter was "
      "trained (get-trainable-weights writes it)",
      directory.string(), expected, kTrainableFile));
}

void remove_part(std::string& name, std::string_view part) {
  const size_t place = name.find(part);
  if (place != std::string::npos) name.erase(place, part.size() - 1);  // its last dot stays
}

// Frequencies of the rotary embedding that old checkpoints carry; they are computed here.
bool is_derived(const std::string& name) {
  return name.ends_with("rotary_emb.inv_freq");
}

}  // namespace

bool is_lora_half(std::string_view name) {
  return name.ends_with(kHalfA) || name.ends_with(kHalfB);
}

bool is_magnitude(std::string_view name) {
  return name.ends_with(kMagnitude);
}

std::string normalise_adapter_name(std::string_view name) {
  std::string result(name.starts_with(kPeftPrefix) ? name.substr(kPeftPrefix.size()) : name);
  for (const std::string_view part : {".modules_to_save.", ".base_layer.", ".default."})
    remove_part(result, part);
  // A wrapped model has the magnitude in a module of its own.
  constexpr std::string_view kWeight = ".weight";
  if (result.ends_with(kWeight) && is_magnitude(without_suffix(result, kWeight)))
    result = without_suffix(result, kWeight);
  return result;
}

PeftAdapter PeftAdapter::open(const fs::path& directory) {
  PeftAdapter adapter;
  adapter.directory_ = directory;
  adapter.config_ = read_lora_config(directory);
  adapter.adapter_file_ = require_adapter_file(directory);
  adapter.adapter_ = TensorStore::open_file(adapter.adapter_file_);
  adapter.index_adapter_file();
  adapter.index_trainable_params();
  adapter.check_pairs();
  return adapter;
}

// PEFT stores the modules named by modules_to_save, and whole embedding or head
// weights when their rows grew, in the same file; everything else that is not
// half of a pair is a kind of adapter that this program does not compute.
bool PeftAdapter::is_saved_module(const std::string& name) const {
  for (const char* rows : {"embed_tokens.weight", "lm_head.weight", "embed_in.weight", "embed_out.weight"})
    if (name.ends_with(rows)) return true;
  const std::string module = name.substr(0, name.rfind('.'));
  return std::any_of(
      config_.modules_to_save.begin(), config_.modules_to_save.end(),
      [&](const std::string& saved) { return module == saved || module.ends_with("." + saved); });
}

void PeftAdapter::index_adapter_file() {
  const std::string source = adapter_file_.string();
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
    } else if (is_magnitude(name) && config_.use_dora) {
      is_new = lora_names_.emplace(name, stored).second;
    } else if (is_saved_module(name)) {
      is_new = parameters_.emplace(name, Place{true, stored}).second;
    } else {
      throw InputError(fmt::format(
          "[{}] expected lora_A and lora_B weights, got \"{}\", which is not supported{}", source, stored,
          is_magnitude(name) ? " without \"use_dora\": true in adapter_config.json" : ""));
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
  const auto file = TensorStore::find_file(directory_, kTrainableName);
  if (!file) {
    if (promised != adapter_.metadata().end())
      fail_missing_parameters(directory_, promised->second + " trained parameters");
    return;
  }
  trainable_file_ = *file;
  trainable_ = TensorStore::open_file(trainable_file_);
  const std::string count = std::to_string(trainable_->tensors().size());
  if (promised != adapter_.metadata().end() && promised->second != count)
    throw InputError(
        fmt::format("[{}] expected the {} parameters that {} was trained with, got {}; the files are of "
                    "different runs",
                    trainable_file_.string(), promised->second, adapter_file_.filename().string(), count));
  for (const auto& [stored, info] : trainable_->tensors()) {
    const std::string name = normalise_adapter_name(stored);
    if (is_derived(name)) continue;
    if (!at::isFloatingType(info.dtype))
      throw InputError(fmt::format("[{}] tensor \"{}\": expected floating point, got {}",
                                   trainable_file_.string(), stored, c10::toString(info.dtype)));
    if (!parameters_.emplace(name, Place{false, stored}).second)
      throw InputError(fmt::format("[{}] expected \"{}\" once, got it twice (in {} and {})",
                                   directory_.string(), name, trainable_file_.filename().string(),
                                   adapter_file_.filename().string()));
  }
}

void PeftAdapter::check_pairs() const {
  const std::string source = adapter_file_.string();
  for (const std::string& module : modules_) {
    if (!config_.targets(module))
      throw InputError(fmt::format("[{}] expected layers named in target_modules ({}), got \"{}\"", source,
                                   config_.target_pattern.empty()
                                       ? fmt::format("{}", fmt::join(config_.target_modules, ", "))
                                       : config_.target_pattern,
                                   module));
    const auto& a = info_a(module).shape;
    const auto& b = info_b(module).shape;
    const int64_t rank = config_.rank_of(module);
    if (a.size() != 2 || b.size() != 2 || a[0] != rank || b[1] != rank)
      throw InputError(
          fmt::format("[{}] \"{}\": expected A [{}, in] and B [out, {}] for r = {}, got {} and {}", source,
                      module, rank, rank, rank, shape_text(a), shape_text(b)));
    if (!config_.use_dora) continue;
    const auto& magnitude = adapter_.info(stored_name(module, kMagnitude)).shape;
    if (magnitude.size() != 1 || magnitude[0] != b[0])
      throw InputError(fmt::format("[{}] \"{}{}\": expected shape [{}], got {}", source, module, kMagnitude,
                                   b[0], shape_text(magnitude)));
  }
}

const std::string& PeftAdapter::stored_name(const std::string& module, const char* half) const {
  const auto found = lora_names_.find(module + half);
  if (found != lora_names_.end()) return found->second;
  throw InputError(
      fmt::format("[{}] expected \"{}{}\", got no such tensor; the adapter does not fit this model",
                  adapter_file_.string(), module, half));
}

at::Tensor PeftAdapter::load_a(const std::string& module) const {
  return adapter_.load(stored_name(module, kHalfA));
}
at::Tensor PeftAdapter::load_b(const std::string& module) const {
  return adapter_.load(stored_name(module, kHalfB));
}
at::Tensor PeftAdapter::load_magnitude(const std::string& module) const {
  return adapter_.load(stored_name(module, kMagnitude));
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
  throw InputError(fmt::format("[{}] expected \"{}\", got no such tensor", trainable_file_.string(), name));
}

const TensorInfo& PeftAdapter::parameter_info(const std::string& name) const {
  const Place& place = parameter_place(name);
  return store_of(place).info(place.stored_name);
}

at::Tensor PeftAdapter::load_parameter(const std::string& name) const {
  const Place& place = parameter_place(name);
  return store_of(place).load(place.stored_name);
}

void PeftAdapter::load_parameter_into(const std::string& name, const at::Tensor& target) const {
  const Place& place = parameter_place(name);
  store_of(place).load_into(place.stored_name, target);
}

void PeftAdapter::require_parameters() const {
  if (parameters_.empty()) fail_missing_parameters(directory_, "the trained embeddings and norms");
}

void write_peft_adapter(const fs::path& directory, const LoraConfig& config, const NamedTensors& lora,
                        const NamedTensors& parameters) {
  NamedTensors stored;
  stored.reserve(lora.size());
  for (const auto& [name, tensor] : lora) {
    if (!is_lora_half(name) && !is_magnitude(name))
      throw InputError(fmt::format("[{}] expected names that end in {}, {} or {}, got \"{}\"", kAdapterFile,
                                   kHalfA, kHalfB, kMagnitude, name));
    stored.emplace_back(std::string(kPeftPrefix) + name, tensor);
  }
  std::map<std::string, std::string> metadata = {{"format", "pt"}};
  if (!parameters.empty()) {
    metadata[kTrainableCountKey] = std::to_string(parameters.size());
    write_safetensors(directory / kTrainableFile, parameters);
  } else {
    fs::remove(directory / kTrainableFile);  // of an earlier adapter: it does not belong to this one
    fs::remove(directory / (std::string(kTrainableName) + ".bin"));
  }
  write_safetensors(directory / kAdapterFile, stored, metadata);
  write_lora_config(directory, config);
}

}  // namespace longlora::checkpoint
