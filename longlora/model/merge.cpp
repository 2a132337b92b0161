#include "longlora/model/merge.h"

#include <c10/core/GradMode.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "longlora/core/error.h"
#include "longlora/model/load.h"

namespace longlora::model {
namespace {

namespace fs = std::filesystem;
using checkpoint::TensorInfo;
using checkpoint::TensorSpec;

/// Embeddings and heads, whose rows are the vocabulary.
bool has_vocabulary_rows(const std::string& name) {
  for (const char* end :
       {"embed_tokens.weight", "lm_head.weight", "embed_in.weight", "embed_out.weight", "wte.weight"})
    if (name.ends_with(end)) return true;
  return false;
}

bool is_head(const std::string& name) {
  return name.ends_with("lm_head.weight") || name.ends_with("embed_out.weight");
}

/// Frequencies that old checkpoints carry; they follow from config.json.
bool is_derived(const std::string& name) {
  return name.ends_with("rotary_emb.inv_freq");
}

at::ScalarType dtype_of_base(const checkpoint::TensorStore& base) {
  for (const auto& [name, info] : base.tensors())
    if (has_vocabulary_rows(name) && (info.dtype == at::kFloat || info.dtype == at::kHalf)) return info.dtype;
  return at::kBFloat16;
}

}  // namespace

MergedModel::MergedModel(const fs::path& base, const checkpoint::PeftAdapter& adapter, at::ScalarType dtype)
    : base_path_(base),
      adapter_(adapter),
      base_(checkpoint::TensorStore::open_model_directory(base)),
      config_(read_model_config(base)),
      dtype_(dtype == at::ScalarType::Undefined ? dtype_of_base(base_) : dtype) {
  if (fs::exists(adapter.directory() / "config.json")) {
    const ModelConfig trained = read_model_config(adapter.directory());
    config_.rope_scaling = trained.rope_scaling;
    config_.max_position_embeddings = trained.max_position_embeddings;
  }
  match_modules();
  match_parameters();
  list_tensors();
}

/// The tensor of the base that an adapter means; a base saved without its head
/// has no first part ("model.") in its names.
std::string MergedModel::base_name(const std::string& adapter_name) const {
  if (base_.contains(adapter_name)) return adapter_name;
  const std::string shorter = adapter_name.substr(adapter_name.find('.') + 1);
  if (base_.contains(shorter)) return shorter;
  throw InputError(fmt::format("[{}] expected modules of the base model, got {} which {} does not have",
                               adapter_.directory().string(), adapter_name, base_path_.string()));
}

void MergedModel::match_modules() {
  for (const std::string& module : adapter_.modules()) {
    const std::string name = base_name(module + ".weight");
    const std::vector<int64_t>& shape = base_.info(name).shape;
    const auto &a = adapter_.info_a(module).shape, &b = adapter_.info_b(module).shape;
    if (shape.size() != 2 || a[1] != shape[1] || b[0] != shape[0])
      throw InputError(
          fmt::format("[{}] expected {} to fit a weight of [{}], got A with {} columns and B with {} rows; "
                      "is this the base "
                      "model the adapter was made for?",
                      adapter_.directory().string(), module, fmt::join(shape, ", "), a[1], b[0]));
    modules_.emplace(name, module);
  }
}

void MergedModel::match_parameters() {
  const int64_t base_rows = config_.vocab_size;
  for (const std::string& parameter : adapter_.parameters()) {
    const std::string name = base_name(parameter);
    const std::vector<int64_t>& shape = base_.info(name).shape;
    const std::vector<int64_t>& own = adapter_.parameter_info(parameter).shape;
    const bool may_grow = has_vocabulary_rows(name) && shape.size() == 2 && own.size() == 2 &&
                          shape[1] == own[1] && shape[0] == base_rows && own[0] >= shape[0];
    if (own != shape && !may_grow)
      throw InputError(fmt::format(
          "[{}] expected {} of shape [{}]{}, got [{}]; was the adapter made for another base model?",
          adapter_.directory().string(), parameter, fmt::join(shape, ", "),
          has_vocabulary_rows(name) ? " or with more rows" : "", fmt::join(own, ", ")));
    if (may_grow) config_.vocab_size = std::max(config_.vocab_size, own[0]);
    parameters_.emplace(name, parameter);
  }
}

void MergedModel::list_tensors() {
  for (const auto& [name, info] : base_.tensors()) {
    const bool is_tied_head = config_.tie_word_embeddings && is_head(name) && parameters_.count(name) == 0;
    if (is_derived(name) || is_tied_head) continue;
    TensorSpec spec = {name, at::isFloatingType(info.dtype) ? dtype_ : info.dtype, info.shape};
    if (has_vocabulary_rows(name) && spec.shape.size() == 2)
      spec.shape[0] = std::max(spec.shape[0], config_.vocab_size);
    specs_.push_back(std::move(spec));
  }
}

at::Tensor MergedModel::with_rows(const at::Tensor& weight, int64_t rows) const {
  if (weight.dim() != 2 || weight.size(0) == rows) return weight;
  const at::Tensor mean = weight.mean({0}, /*keepdim=*/true, at::kFloat).to(weight.scalar_type());
  return at::cat({weight, mean.expand({rows - weight.size(0), weight.size(1)})});
}

at::Tensor MergedModel::load(const TensorSpec& spec) const {
  const c10::NoGradGuard no_grad;
  const auto parameter = parameters_.find(spec.name);
  const auto module = modules_.find(spec.name);
  at::Tensor weight;
  if (parameter != parameters_.end()) {
    // Rows that are still to be added are the mean before rounding.
    const TensorInfo& info = adapter_.parameter_info(parameter->second);
    const bool is_final = module == modules_.end() && info.shape == spec.shape;
    weight = adapter_.load_parameter(parameter->second, is_final ? spec.dtype : info.dtype);
  } else {
    const TensorInfo& info = base_.info(spec.name);
    weight = base_.load(spec.name, info.shape, module == modules_.end() ? spec.dtype : at::kFloat);
  }
  if (spec.shape.size() == 2) weight = with_rows(weight, spec.shape[0]);
  if (module != modules_.end()) {
    weight = weight.to(at::kFloat)
                 .addmm_(adapter_.load_b(module->second).to(at::kFloat),
                         adapter_.load_a(module->second).to(at::kFloat), /*beta=*/1,
                         adapter_.config().scaling_of(module->second));
    if (adapter_.config().use_dora) {
      const at::Tensor magnitude = adapter_.load_magnitude(module->second).to(at::kFloat);
      weight.mul_((magnitude / weight.norm(2, {1}, /*keepdim=*/false)).unsqueeze(1));
    }
  }
  return weight.to(spec.dtype);
}

void MergedModel::write(const fs::path& directory, const checkpoint::ModelFileOptions& options) const {
  write_json(directory / "config.json", model_config_json(config_, dtype_name(dtype_)));
  checkpoint::write_model_files(
      directory, specs_, [this](const TensorSpec& spec) { return load(spec); }, options);
}

}  // namespace longlora::model
