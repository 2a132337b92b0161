#include "longlora/model/merge.h"

#include <c10/core/GradMode.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "longlora/checkpoint/nf4_files.h"
#include "longlora/core/error.h"
#include "longlora/model/adapter.h"
#include "longlora/model/load.h"
#include "longlora/tensors/dtypes.h"

namespace longlora::model {
namespace {

namespace fs = std::filesystem;
using checkpoint::TensorInfo;
using checkpoint::TensorSpec;

// Whether a tensor holds the rotary frequencies, which old checkpoints have and which follow from
// config.json.
bool is_derived(const std::string& name) {
  return name.ends_with("rotary_emb.inv_freq");
}

// Whether a tensor is a part of a weight in four bits, but not its codes.
bool is_nf4_part(const std::string& name) {
  return name.find(".weight.") != std::string::npos;
}

// Returns the dtype of the result where the user asks for none, given that of the base's embedding.
at::ScalarType stored_dtype(at::ScalarType embedding) {
  return embedding == at::kFloat || embedding == at::kHalf ? embedding : at::kBFloat16;
}

}  // namespace

MergedModel::MergedModel(const fs::path& base, const checkpoint::PeftAdapter& adapter,
                         const MergeOptions& options)
    : MergedModel(open_stored_model(base), base, adapter, options) {}

MergedModel::MergedModel(StoredModel stored, const fs::path& base, const checkpoint::PeftAdapter& adapter,
                         const MergeOptions& options)
    : base_path_(base),
      adapter_(adapter),
      base_(std::move(stored.weights)),
      config_(std::move(stored.config)),
      dtype_(options.dtype),
      device_(options.device) {
  warn_about_own_head(config_, base);
  embedding_ = base_name(embedding_name(config_));
  head_ = head_name(config_);
  if (dtype_ == at::ScalarType::Undefined) dtype_ = stored_dtype(base_.info(embedding_).dtype);
  const Decoder shape = shape_decoder(config_, dtype_);
  find_linears(shape, options);
  take_window(adapter.directory(), config_);
  plan_changes(shape);
  list_tensors();
}

// Finds the linear layers of the blocks, and decides how a base in full precision is put into four bits.
void MergedModel::find_linears(const Decoder& shape, const MergeOptions& options) {
  visit_linears(shape, [&](const std::string& module, const Linear& linear) {
    linears_[module + ".weight"] = linear.weight.value.sizes().vec();
  });
  const bool is_quantized = std::any_of(linears_.begin(), linears_.end(), [&](const auto& linear) {
    return base_.contains(linear.first) && checkpoint::is_stored_quantized(base_, linear.first);
  });
  const bool into_full = options.into == MergeInto::kFullPrecision;
  if (is_quantized && into_full)
    throw InputError(fmt::format(
        "[{}] expected a base in full precision, got weights in NF4; give the model that they were "
        "made from, or --merge_into dequantized",
        base_path_.string()));
  config_.quantization.reset();  // the result is in full precision
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
  return linears_.count(name) != 0 && checkpoint::is_stored_quantized(base_, name);
}

std::vector<int64_t> MergedModel::shape_of(const std::string& name) const {
  return is_stored_quantized_linear(name) ? linears_.at(name) : base_.info(name).shape;
}

// Puts the tensor of the base to which the adapter is added into `out`, in its dtype.
void MergedModel::load_base_into(const std::string& name, const at::Tensor& out) const {
  if (is_stored_quantized_linear(name))
    out.copy_(ops::dequantize_nf4(checkpoint::load_nf4(base_, name, shape_of(name)), out.scalar_type()));
  else if (quantize_ && linears_.count(name) != 0)
    out.copy_(ops::dequantize_nf4(checkpoint::quantize_stored(base_, name, shape_of(name), *quantize_),
                                  out.scalar_type()));
  else
    base_.load_into(name, out);
}

// Returns the name of a parameter in the base's files. A base that was saved without its head lacks the first
// part ("model.") of the names.
std::string MergedModel::base_name(const std::string& model_name) const {
  if (base_.contains(model_name)) return model_name;
  const std::string shorter = model_name.substr(model_name.find('.') + 1);
  if (base_.contains(shorter)) return shorter;
  throw InputError(fmt::format("[{}] expected {} in the model's files, got no such tensor",
                               base_path_.string(), model_name));
}

void MergedModel::plan_changes(const Decoder& shape) {
  const AdapterPlan plan = plan_adapter(shape, adapter_);
  warn_about(plan, adapter_);
  config_.vocab_size = plan.vocab_size;
  config_.tie_word_embeddings = plan.tied;
  const bool was_tied = !shape.lm_head.value.defined();
  head_source_ = was_tied && !base_.contains(head_) ? embedding_ : head_;
  for (const auto& [name, change] : plan.changes) {
    if (!change.pair_bias.empty() && !base_.contains(name))
      throw InputError(
          fmt::format("[{}] expected a base whose layers have biases for an adapter with lora_bias, got {} "
                      "without one; it can "
                      "be run beside the base (--peft_model), but not merged",
                      adapter_.directory().string(), change.pair_bias));
    changes_.emplace(name == head_ && head_source_ != head_ ? name : base_name(name), change);
  }
}

void MergedModel::list_tensors() {
  const auto add = [&](const std::string& name, const std::string& source) {
    const at::ScalarType stored = base_.info(source).dtype;
    const bool is_number = at::isFloatingType(stored) || is_stored_quantized_linear(source);
    TensorSpec spec = {name, is_number ? dtype_ : stored, shape_of(source)};
    if ((name == embedding_ || name == head_) && spec.shape.size() == 2) spec.shape[0] = config_.vocab_size;
    specs_.push_back(std::move(spec));
  };
  for (const auto& [name, info] : base_.tensors())
    if (!is_derived(name) && !is_nf4_part(name) && name != head_) add(name, name);
  if (!config_.tie_word_embeddings && base_.contains(head_source_)) add(head_, head_source_);
  std::sort(specs_.begin(), specs_.end(), [](const auto& a, const auto& b) { return a.name < b.name; });
}

TensorChange MergedModel::change_of(const std::string& name) const {
  const auto found = changes_.find(name);
  return found == changes_.end() ? TensorChange() : found->second;
}

void MergedModel::load_start_into(const TensorSpec& spec, const at::Tensor& out) const {
  const std::string parameter = change_of(spec.name).parameter;
  const std::string& source = spec.name == head_ ? head_source_ : spec.name;
  const std::vector<int64_t> stored =
      parameter.empty() ? shape_of(source) : adapter_.parameter_info(parameter).shape;
  const bool grows = stored != spec.shape;
  const at::Tensor rows = grows ? out.narrow(0, 0, stored[0]) : out;
  if (parameter.empty())
    load_base_into(source, rows);
  else
    adapter_.load_parameter_into(parameter, rows);
  if (grows) out.narrow(0, stored[0], spec.shape[0] - stored[0]).copy_(mean_of_rows(rows));
}

at::Tensor MergedModel::load(const TensorSpec& spec) const {
  const c10::NoGradGuard no_grad;
  const TensorChange change = change_of(spec.name);
  const bool computes = !change.pair.empty() || !change.token_rows.empty() || !change.pair_bias.empty();
  at::Tensor value = at::empty(spec.shape, at::TensorOptions(computes ? at::kFloat : spec.dtype));
  load_start_into(spec, value);
  if (!computes) return value;
  value = value.to(device_);
  change_weight(adapter_, change, value);
  if (!change.pair_bias.empty()) value.add_(added_bias(adapter_, change).to(device_));
  return value.to(at::kCPU, spec.dtype);
}

void MergedModel::write(const fs::path& directory, const checkpoint::ModelFileOptions& options) const {
  write_json(directory / "config.json", model_config_json(config_, tensors::dtype_name(dtype_)));
  checkpoint::write_model_files(
      directory, specs_, [this](const TensorSpec& spec) { return load(spec); }, options);
}

}  // namespace longlora::model
