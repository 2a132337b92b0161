// Merges an adapter into its base model, tensor by tensor.
#pragma once

#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "longlora/checkpoint/peft_adapter.h"
#include "longlora/checkpoint/tensor_writer.h"
#include "longlora/model/adapter_plan.h"
#include "longlora/model/config.h"
#include "longlora/model/stored_model.h"

namespace longlora::model {

/// What an adapter is added to.
enum class MergeInto {
  kFullPrecision,  // the base's own weights
  kDequantized,    // those weights after a round trip through four bits, which a QLoRA run was trained on
};

struct MergeOptions {
  /// The dtype of the result: float32, bfloat16 or float16; Undefined: that of the base.
  at::ScalarType dtype = at::ScalarType::Undefined;
  MergeInto into = MergeInto::kFullPrecision;
  /// How a base in full precision is put into four bits for kDequantized. Where this is not set, a
  /// config.json beside the adapter has to say it.
  std::optional<ops::Nf4Options> quantize = {};
  /// The device on which products run.
  at::Device device = at::kCPU;
};

/// The tensors of a base with the changes of an adapter that plan_adapter says. A tensor is loaded when it is
/// asked for, so that writing all of them takes the memory of one. Tensors in the base's files that its
/// family does not know are copied.
class MergedModel {
 public:
  /// Opens the base, checks that every pair and parameter of the adapter fits it, and takes rope_scaling from
  /// a config.json beside the adapter. `adapter` must outlive this object. Throws InputError for a module or
  /// shape that does not fit, a bias for a layer without one, and a base in four bits that is to be merged in
  /// full precision; UsageError where nothing says how to put the base into four bits.
  MergedModel(const std::filesystem::path& base, const checkpoint::PeftAdapter& adapter,
              const MergeOptions& options = {});

  /// The configuration of the merged model. It may be changed until write(): the verb `merge` sets
  /// rope_scaling.
  ModelConfig& config() { return config_; }
  const ModelConfig& config() const { return config_; }
  at::ScalarType dtype() const { return dtype_; }

  /// The tensors of the merged model. Those that follow from config.json or are tied to others are not among
  /// them.
  const std::vector<checkpoint::TensorSpec>& specs() const { return specs_; }
  /// Returns a merged tensor in the spec's dtype. The update (see checkpoint::LoraConfig) is computed in
  /// float32. New rows of embedding and head that the adapter does not have are the mean of the base's.
  at::Tensor load(const checkpoint::TensorSpec& spec) const;

  /// Writes config.json and the weights into an existing folder.
  void write(const std::filesystem::path& directory, const checkpoint::ModelFileOptions& options) const;

 private:
  MergedModel(StoredModel stored, const std::filesystem::path& base, const checkpoint::PeftAdapter& adapter,
              const MergeOptions& options);
  std::string base_name(const std::string& model_name) const;
  void find_linears(const Decoder& shape, const MergeOptions& options);
  bool is_stored_quantized_linear(const std::string& name) const;
  std::vector<int64_t> shape_of(const std::string& name) const;
  void load_base_into(const std::string& name, const at::Tensor& out) const;
  void plan_changes(const Decoder& shape);
  void list_tensors();
  /// Puts the value that the changes start from into `out`, in its dtype. `out` may have more rows than the
  /// base.
  void load_start_into(const checkpoint::TensorSpec& spec, const at::Tensor& out) const;
  TensorChange change_of(const std::string& name) const;

  std::filesystem::path base_path_;
  const checkpoint::PeftAdapter& adapter_;
  checkpoint::TensorStore base_;
  ModelConfig config_;
  at::ScalarType dtype_;
  at::Device device_;
  std::optional<ops::Nf4Options> quantize_;              // how a base in full precision is put into four bits
  std::map<std::string, std::vector<int64_t>> linears_;  // shapes of the weights that may be in four bits
  std::string embedding_, head_;                         // as the base's files name them
  std::string head_source_;  // where the head is read from: its own tensor, or the embedding
  std::map<std::string, TensorChange> changes_;  // by the names that the base's files use
  std::vector<checkpoint::TensorSpec> specs_;
};

}  // namespace longlora::model
