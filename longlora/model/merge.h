// A base model and an adapter as one model, made tensor by tensor.
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
  kDequantized,    // what four bits kept of them: the weights that a QLoRA run saw
};

struct MergeOptions {
  /// Of the result (float32, bfloat16 or float16); Undefined keeps the base's.
  at::ScalarType dtype = at::ScalarType::Undefined;
  MergeInto into = MergeInto::kFullPrecision;
  /// For kDequantized, how a base in full precision is put into four bits; where not set, as a config.json
  /// beside the adapter says.
  std::optional<ops::Nf4Options> quantize = {};
  /// Where products run.
  at::Device device = at::kCPU;
};

/// The tensors of the base with the adapter's low-rank updates added and its
/// trained parameters in place, as plan_adapter says. Nothing is loaded before it is asked for, so
/// writing them takes the memory of one tensor. The base is of a supported family; tensors of its files that
/// the family does not know are copied.
class MergedModel {
 public:
  /// Opens the base, checks that every pair and parameter of the adapter fits
  /// it, and takes rope_scaling from a config.json beside the adapter. Throws InputError:
  /// a module or shape that does not fit, a bias for a layer without one, a base in four
  /// bits that is to be merged in full precision; UsageError where nothing says how to quantise.
  MergedModel(const std::filesystem::path& base, const checkpoint::PeftAdapter& adapter,
              const MergeOptions& options = {});

  /// Changeable until written: merge sets rope_scaling. vocab_size and tie_word_embeddings are the merged
  /// ones.
  ModelConfig& config() { return config_; }
  at::ScalarType dtype() const { return dtype_; }

  /// Tensors that are derived or tied to others are left out.
  const std::vector<checkpoint::TensorSpec>& specs() const { return specs_; }
  /// W' of checkpoint::LoraConfig in float32, then in the spec's dtype; embedding and head
  /// rows beyond the base's are the mean of the others unless the adapter has them.
  at::Tensor load(const checkpoint::TensorSpec& spec) const;

  /// config.json and the weights into an existing folder.
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
  /// The value that the changes start from, in the dtype of `out`, which may have more rows.
  void load_start_into(const checkpoint::TensorSpec& spec, const at::Tensor& out) const;
  TensorChange change_of(const std::string& name) const;

  std::filesystem::path base_path_;
  const checkpoint::PeftAdapter& adapter_;
  checkpoint::TensorStore base_;
  ModelConfig config_;
  at::ScalarType dtype_;
  at::Device device_;
  std::optional<ops::Nf4Options> quantize_;              // of a base in full precision
  std::map<std::string, std::vector<int64_t>> linears_;  // weights that four bits may hold
  std::string embedding_, head_;                         // as the base's files name them
  std::string head_source_;                              // the head, or the embedding where they are one
  std::map<std::string, TensorChange> changes_;          // by the names in the base's files
  std::vector<checkpoint::TensorSpec> specs_;
};

}  // namespace longlora::model
