#include "longlora/checkpoint/peft_adapter.h"

#include <fmt/core.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <set>

#include "longlora/checkpoint/adapter_name.h"
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
constexpr const char* kEmbeddingA = ".lora_embedding_A";
constexpr const char* kEmbeddingB = ".lora_embedding_B";
constexpr const char* kPairBias = ".lora_B.bias";
constexpr const char* kMagnitude = ".lora_magnitude_vector";
constexpr const char* kTokenRows = ".token_adapter.trainable_tokens_delta";
// A key in the adapter file's metadata, which says how many parameters trainable_params.safetensors holds.
constexpr const char* kTrainableCountKey = "longlora.trainable_params";

fs::path require_adapter_file(const fs::path& directory) {
  if (const auto file = TensorStore::find_file(directory, kAdapterName)) return *file;
  throw InputError(
      fmt::format("[{}] expected {} or adapter_model.bin, got no such file; the adapter is incomplete",
                  directory.string(), kAdapterFile));
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

// The name of a whole parameter in PEFT's file. There the bias of a layer with a pair lies in the layer that
// the pair wraps.
std::string peft_name(const LoraConfig& config, const std::string& parameter) {
  const size_t leaf = parameter.rfind('.');
  const std::string module = parameter.substr(0, leaf);
  const bool is_wrapped = !config.saves_module_of(parameter) && config.targets(module);
  return std::string(kPeftPrefix) + module + (is_wrapped ? ".base_layer" : "") + parameter.substr(leaf);
}

}  // namespace

PeftAdapter PeftAdapter::open(const fs::path& directory) {
  PeftAdapter adapter;
  adapter.directory_ = directory;
  adapter.config_ = read_lora_config(directory);
  adapter.adapter_file_ = require_adapter_file(directory);
  adapter.adapter_ = TensorStore::open_file(adapter.adapter_file_);
  adapter.index_adapter_file();
  adapter.index_trainable_params();
  adapter.index_token_rows();
  adapter.check_pairs();
  return adapter;
}

void PeftAdapter::index_adapter_file() {
  for (const auto& [stored, info] : adapter_.tensors()) index_tensor(stored);
  std::set<std::string> modules;
  for (const auto& [name, stored] : lora_names_)
    if (const AdapterPart part = parse_adapter_name(name).part;
        part == AdapterPart::kPairA || part == AdapterPart::kPairB)
      modules.insert(parse_adapter_name(name).module);
  if (modules.empty())
    throw InputError(
        fmt::format("[{}] expected lora_A and lora_B weights, got none", adapter_file_.string()));
  modules_.assign(modules.begin(), modules.end());
}

// Registers a stored tensor. PEFT loads whatever is in the adapter file beside pairs and their like wherever
// the model has a parameter of that name: modules of modules_to_save, embeddings whose rows grew, biases.
void PeftAdapter::index_tensor(const std::string& stored) {
  const std::string source = adapter_file_.string();
  const AdapterName name = parse_adapter_name(stored);
  if (name.part == AdapterPart::kDerived) return;
  if (const at::ScalarType dtype = adapter_.info(stored).dtype; !at::isFloatingType(dtype))
    throw InputError(fmt::format("[{}] tensor \"{}\": expected floating point, got {}", source, stored,
                                 c10::toString(dtype)));
  const std::vector<int64_t>& shape = adapter_.info(stored).shape;
  if (std::find(shape.begin(), shape.end(), 0) != shape.end())
    throw InputError(
        fmt::format("[{}] tensor \"{}\": expected values, got shape {}, which DeepSpeed's stage 3 saves in "
                    "place of weights "
                    "that are spread over processes; gather them (zero_to_fp32.py, or "
                    "stage3_gather_16bit_weights_on_model_save)",
                    source, stored, shape_text(shape)));
  const bool without_dora = name.part == AdapterPart::kMagnitude && !config_.use_dora;
  const bool without_bias = name.part == AdapterPart::kPairBias && !config_.lora_bias;
  if (name.part == AdapterPart::kOther || without_dora || without_bias)
    throw InputError(fmt::format(
        "[{}] expected lora_A and lora_B weights, got \"{}\", which is not supported{}", source, stored,
        without_dora   ? " without \"use_dora\": true in adapter_config.json"
        : without_bias ? " without \"lora_bias\": true in adapter_config.json"
                       : ""));
  if (name.part != AdapterPart::kParameter && name.part != AdapterPart::kOriginal) {
    const auto [found, is_new] = lora_names_.emplace(name.name, stored);
    if (!is_new) require_copy(name.name, found->second, stored);
    return;
  }
  const bool is_saved_copy = name.is_saved_copy || config_.saves_module_of(name.name);
  const auto [found, is_new] = parameters_.emplace(name.name, Place{true, stored, is_saved_copy});
  if (is_new) return;
  require_copy(name.name, found->second.stored_name, stored);
  found->second.is_saved_copy = found->second.is_saved_copy || is_saved_copy;
}

// Checks the copies that PEFT writes where the vocabulary grew: it then stores what it trained of embedding
// and head under two names.
void PeftAdapter::require_copy(const std::string& name, const std::string& stored,
                               const std::string& again) const {
  if (!TensorStore::are_equal(adapter_, stored, adapter_, again))
    throw InputError(fmt::format("[{}] expected \"{}\" once, got it under two names with different values",
                                 adapter_file_.string(), name));
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
    const AdapterName parsed = parse_adapter_name(stored);
    const std::string& name = parsed.name;
    if (parsed.part == AdapterPart::kDerived || parsed.part == AdapterPart::kOriginal) continue;
    if (parsed.part != AdapterPart::kParameter)
      throw InputError(
          fmt::format("[{}] expected parameters of the model, got \"{}\"", trainable_file_.string(), stored));
    if (!at::isFloatingType(info.dtype))
      throw InputError(fmt::format("[{}] tensor \"{}\": expected floating point, got {}",
                                   trainable_file_.string(), stored, c10::toString(info.dtype)));
    if (!parameters_.emplace(name, Place{false, stored}).second)
      throw InputError(fmt::format("[{}] expected \"{}\" once, got it twice (in {} and {})",
                                   directory_.string(), name, trainable_file_.filename().string(),
                                   adapter_file_.filename().string()));
  }
}

// Registers the trained rows. The file has their values; which rows they are is in adapter_config.json. A
// head that is tied to the embedding may come with a copy of its rows.
void PeftAdapter::index_token_rows() {
  const auto& asked = config_.trainable_token_indices;
  for (const auto& [name, stored] : lora_names_) {
    const AdapterName parsed = parse_adapter_name(name);
    if (parsed.part != AdapterPart::kTokenRows) continue;
    auto entry = std::find_if(asked.begin(), asked.end(), [&](const TokenRows& rows) {
      return !rows.module.empty() && parsed.module.ends_with(rows.module);
    });
    if (entry == asked.end() && !asked.empty()) entry = asked.begin();
    const auto& shape = adapter_.info(stored).shape;
    if (entry == asked.end() || shape.size() != 2 || shape[0] != static_cast<int64_t>(entry->ids.size()))
      throw InputError(fmt::format(
          "[{}] \"{}\": expected the rows of the {} tokens of trainable_token_indices, got {}",
          adapter_file_.string(), name, entry == asked.end() ? 0 : entry->ids.size(), shape_text(shape)));
    token_rows_[parsed.module] = entry->ids;
  }
  if (!asked.empty() && token_rows_.empty())
    throw InputError(
        fmt::format("[{}] expected the rows of trainable_token_indices, got no tensor that ends in "
                    "token_adapter.trainable_tokens_delta",
                    adapter_file_.string()));
}

void PeftAdapter::check_pairs() const {
  for (const std::string& module : modules_) {
    if (!config_.targets(module) && !is_tied_to_embedding(module))
      throw InputError(fmt::format(
          "[{}] expected layers named in target_modules ({}){}, got \"{}\"", adapter_file_.string(),
          config_.target_pattern.empty() ? fmt::format("{}", fmt::join(config_.target_modules, ", "))
                                         : config_.target_pattern,
          config_.layers_to_transform.empty() ? "" : " and layers_to_transform", module));
    if (token_rows_.count(module) != 0)
      throw InputError(fmt::format("[{}] expected a pair or rows of tokens for \"{}\", got both",
                                   adapter_file_.string(), module));
    check_pair(module);
  }
}

// Whether the pair of a head is that of the embedding. With ensure_weight_tying PEFT gives a head the
// embedding's pair and takes its name out of target_modules. When it loads, it gives the pair back only where
// the embedding is called "embed_tokens": for other embeddings it would leave the head's pair unread.
bool PeftAdapter::is_tied_to_embedding(const std::string& module) const {
  return config_.ensure_weight_tying &&
         std::any_of(modules_.begin(), modules_.end(), [&](const std::string& embedding) {
           return is_embedding(embedding) && embedding.ends_with("embed_tokens") &&
                  shape_b(embedding) == shape_b(module);
         });
}

void PeftAdapter::check_pair(const std::string& module) const {
  const std::string source = adapter_file_.string();
  const auto a = shape_a(module), b = shape_b(module);
  const int64_t rank = config_.rank_of(module);
  if (a.size() != 2 || b.size() != 2 || a[0] != rank || b[1] != rank)
    throw InputError(fmt::format("[{}] \"{}\": expected A [{}, in] and B [out, {}] for r = {}, got {} and {}",
                                 source, module, rank, rank, rank, shape_text(a), shape_text(b)));
  const auto check_vector = [&](const char* part, int64_t size) {
    const auto& shape = adapter_.info(stored_name(module, part)).shape;
    if (shape.size() != 1 || shape[0] != size)
      throw InputError(fmt::format("[{}] \"{}{}\": expected shape [{}], got {}", source, module, part, size,
                                   shape_text(shape)));
  };
  if (config_.use_dora) check_vector(kMagnitude, is_embedding(module) ? a[1] : b[0]);
  if (config_.lora_bias) check_vector(kPairBias, b[0]);
}

const std::string& PeftAdapter::stored_name(const std::string& module, const char* part) const {
  const auto found = lora_names_.find(module + part);
  if (found != lora_names_.end()) return found->second;
  throw InputError(
      fmt::format("[{}] expected \"{}{}\", got no such tensor; the adapter does not fit this model",
                  adapter_file_.string(), module, part));
}

bool PeftAdapter::is_embedding(const std::string& module) const {
  return lora_names_.count(module + kEmbeddingA) != 0 || lora_names_.count(module + kEmbeddingB) != 0;
}

// The stored name of A. PEFT computes the output of an embedding as that of a linear layer of one-hot rows,
// whose A is [R, V] and whose B is [C, R].
const std::string& PeftAdapter::stored_a(const std::string& module) const {
  return stored_name(module, is_embedding(module) ? kEmbeddingB : kHalfA);
}
const std::string& PeftAdapter::stored_b(const std::string& module) const {
  return stored_name(module, is_embedding(module) ? kEmbeddingA : kHalfB);
}

at::Tensor PeftAdapter::load_a(const std::string& module) const {
  const at::Tensor a = adapter_.load(stored_a(module));
  return is_embedding(module) ? a.t() : a;
}
at::Tensor PeftAdapter::load_b(const std::string& module) const {
  const at::Tensor b = adapter_.load(stored_b(module));
  return is_embedding(module) ? b.t() : b;
}
at::Tensor PeftAdapter::load_magnitude(const std::string& module) const {
  return adapter_.load(stored_name(module, kMagnitude));
}
at::Tensor PeftAdapter::load_pair_bias(const std::string& module) const {
  return adapter_.load(stored_name(module, kPairBias));
}
at::Tensor PeftAdapter::load_token_rows(const std::string& module) const {
  return adapter_.load(stored_name(module, kTokenRows));
}
std::vector<int64_t> PeftAdapter::shape_a(const std::string& module) const {
  std::vector<int64_t> shape = adapter_.info(stored_a(module)).shape;
  if (is_embedding(module)) std::reverse(shape.begin(), shape.end());
  return shape;
}
std::vector<int64_t> PeftAdapter::shape_b(const std::string& module) const {
  std::vector<int64_t> shape = adapter_.info(stored_b(module)).shape;
  if (is_embedding(module)) std::reverse(shape.begin(), shape.end());
  return shape;
}

std::string PeftAdapter::original_of(const std::string& name) {
  const size_t leaf = name.rfind('.');
  return name.substr(0, leaf) + ".original_module" + name.substr(leaf);
}

std::vector<std::string> PeftAdapter::parameters() const {
  std::vector<std::string> names;
  for (const auto& [name, place] : parameters_)
    if (parse_adapter_name(name).part == AdapterPart::kParameter) names.push_back(name);
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

bool PeftAdapter::are_equal_parameters(const std::string& a, const std::string& b) const {
  const Place &place_a = parameter_place(a), &place_b = parameter_place(b);
  return TensorStore::are_equal(store_of(place_a), place_a.stored_name, store_of(place_b),
                                place_b.stored_name);
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
  if (parameters().empty()) fail_missing_parameters(directory_, "the trained embeddings and norms");
}

void write_peft_adapter(const fs::path& directory, const LoraConfig& config, const NamedTensors& lora,
                        const NamedTensors& parameters) {
  NamedTensors stored, others;
  stored.reserve(lora.size());
  for (const auto& [name, tensor] : lora) {
    const AdapterPart part = parse_adapter_name(name).part;
    if (part != AdapterPart::kPairA && part != AdapterPart::kPairB && part != AdapterPart::kMagnitude)
      throw InputError(fmt::format("[{}] expected names that end in {}, {} or {}, got \"{}\"", kAdapterFile,
                                   kHalfA, kHalfB, kMagnitude, name));
    stored.emplace_back(std::string(kPeftPrefix) + name, tensor);
  }
  for (const auto& [name, tensor] : parameters)
    if (config.trains_whole(name))
      stored.emplace_back(peft_name(config, name), tensor);
    else
      others.emplace_back(name, tensor);
  std::map<std::string, std::string> metadata = {{"format", "pt"}};
  if (!others.empty()) {
    metadata[kTrainableCountKey] = std::to_string(others.size());
    write_safetensors(directory / kTrainableFile, others);
  } else {
    fs::remove(directory /
               kTrainableFile);  // the file would be an earlier adapter's, and does not belong to this one
    fs::remove(directory / (std::string(kTrainableName) + ".bin"));
  }
  write_safetensors(directory / kAdapterFile, stored, metadata);
  write_lora_config(directory, config);
}

}  // namespace longlora::checkpoint
