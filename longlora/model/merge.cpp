#include "longlora/model/merge.h"

#include <c10/core/GradMode.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "longlora/core/error.h"
#include "longlora/model/load.h"
#include "longlora/model/quantized_weights.h"

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

/// Parts of a weight in four bits beside its codes.
bool is_nf4_part(const std::string& name) {
  return name.find(".weight.") != std::string::npos;
}

at::ScalarType dtype_of_base(const checkpoint::TensorStore& base) {
  for (const auto& [name, info] : base.tensors())
    if (has_vocabulary_rows(name) && (info.dtype == at::kFloat || info.dtype == at::kHalf)) return info.dtype;
  return at::kBFloat16;
}

}  // namespace

MergedModel::MergedModel(const fs::path& base, const checkpoint::PeftAdapter& adapter,
                         const MergeOptions& options)
    : base_path_(base),
      adapter_(adapter),
      base_(checkpoint::TensorStore::open_model_directory(base)),
      config_(read_model_config(base)),
      dtype_(options.dtype == at::ScalarType::Undefined ? dtype_of_base(base_) : options.dtype),
      device_(options.device) {
  refuse_low_rank_pairs(base_, base);
  find_linears(options);
  if (fs::exists(adapter.directory() / "config.json")) {
    const ModelConfig trained = read_model_config(adapter.directory());
    config_.rope_scaling = trained.rope_scaling;
    config_.max_position_embeddings = trained.max_position_embeddings;
  }
  match_modules();
  match_parameters();
  list_tensors();
}

/// The linear layers of the blocks, and how they come to be in four bits.
void MergedModel::find_linears(const MergeOptions& options) {
  const Decoder shape = shape_decoder(config_, dtype_);
  visit_linears(shape, [&](const std::string& module, const Linear& linear) {
    linears_[module + ".weight"] = linear.weight.value.sizes().vec();
  });
  const bool is_quantized = std::any_of(linears_.begin(), linears_.end(), [&](const auto& linear) {
    return base_.contains(linear.first) && is_stored_quantized(base_, linear.first);
  });
  const bool into_full = options.into == MergeInto::kFullPrecision;
  if (is_quantized && into_full)
    throw InputError(fmt::format(
        "[{}] expected a base in full precision, got weights in NF4; give the model that they were "
        "made from, or --merge_into dequantized",
        base_path_.string()));
  config_.quantization.reset();  // of the result
  if (is_quantized || into_full) return;
  quantize_ = options.quantize;
  const fs::path beside = adapter_.directory() / "config.json";
  if (!quantize_ && fs::exists(beside)) quantize_ = read_model_config(beside).quantization;
  if (!quantize_)
    throw UsageError(
        fmt::format("[--merge_into dequantized] expected to know how the base was put into four bits, but {} "
                    "does not say; add --quantize nf4 with the run's --quantize_block and --double_quant",
                    beside.string()));
}

bool MergedModel::is_stored_quantized_linear(const std::string& name) const {
  return linears_.count(name) != 0 && is_stored_quantized(base_, name);
}

std::vector<int64_t> MergedModel::shape_of(const std::string& name) const {
  return is_stored_quantized_linear(name) ? linears_.at(name) : base_.info(name).shape;
}

/// A tensor of the base as the adapter is added to it, in the dtype of `out`.
void MergedModel::load_base_into(const std::string& name, const at::Tensor& out) const {
  if (is_stored_quantized_linear(name))
    out.copy_(ops::dequantize_nf4(load_nf4(base_, name, shape_of(name)), out.scalar_type()));
  else if (quantize_ && linears_.count(name) != 0)
    out.copy_(
        ops::dequantize_nf4(quantize_stored(base_, name, shape_of(name), *quantize_), out.scalar_type()));
  else
    base_.load_into(name, out);
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
    const std::vector<int64_t> shape = shape_of(name);
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
    const std::vector<int64_t> shape = shape_of(name);
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
    if (is_derived(name) || is_tied_head || is_nf4_part(name)) continue;
    const bool is_number = at::isFloatingType(info.dtype) || is_stored_quantized_linear(name);
    TensorSpec spec = {name, is_number ? dtype_ : info.dtype, shape_of(name)};
    if (has_vocabulary_rows(name) && spec.shape.size() == 2)
      spec.shape[0] = std::max(spec.shape[0], config_.vocab_size);
    specs_.push_back(std::move(spec));
  }
}

at::Tensor MergedModel::load(const TensorSpec& spec) const {
  const c10::NoGradGuard no_grad;
  const auto parameter = parameters_.find(spec.name);
  const auto module = modules_.find(spec.name);
  const bool is_trained = parameter != parameters_.end(), has_pair = module != modules_.end();
  const std::vector<int64_t>& stored =
      is_trained ? adapter_.parameter_info(parameter->second).shape : shape_of(spec.name);
  const at::ScalarType dtype = has_pair ? at::kFloat : spec.dtype;
  at::Tensor weight = at::empty(spec.shape, at::TensorOptions(dtype));
  const at::Tensor rows = stored == spec.shape ? weight : weight.narrow(0, 0, stored[0]);
  if (is_trained)
    adapter_.load_parameter_into(parameter->second, rows);
  else
    load_base_into(spec.name, rows);
  if (stored != spec.shape) weight.narrow(0, stored[0], spec.shape[0] - stored[0]).copy_(mean_of_rows(rows));
  if (has_pair) {
    const at::Tensor b = adapter_.load_b(module->second).to(device_, at::kFloat);
    const at::Tensor a = adapter_.load_a(module->second).to(device_, at::kFloat);
    const at::Tensor part = weight.narrow(0, 0, b.size(0));
    part.copy_(part.to(device_).addmm_(b, a, /*beta=*/1, adapter_.config().scaling_of(module->second)));
  }
  if (has_pair && adapter_.config().use_dora) {
    const at::Tensor magnitude = adapter_.load_magnitude(module->second).to(at::kFloat);
    weight.mul_((magnitude / weight.norm(2, {1}, /*keepdim=*/false)).unsqueeze(1));
  }
  return weight.to(spec.dtype);
}

void MergedModel::write(const fs::path& directory, const checkpoint::ModelFileOptions& options) const {
  write_json(directory / "config.json", model_config_json(config_, dtype_name(dtype_)));
  checkpoint::write_model_files(
      directory, specs_, [this](const TensorSpec& spec) { return load(spec); }, options);
}

}  // namespace longlora::model
