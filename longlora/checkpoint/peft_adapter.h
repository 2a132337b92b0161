// LoRA adapters as PEFT stores them, and beside them the other parameters that were trained.
#pragma once

#include <ATen/ATen.h>

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "longlora/checkpoint/tensor_store.h"

namespace longlora::checkpoint {

/// The part of PEFT's LoraConfig that this program can compute:
/// W' = W + scaling · B · A on every linear layer whose name ends in one of target_modules; with use_dora
/// W' = magnitude / ‖W + scaling · B · A‖ · (W + scaling · B · A), row by row (arXiv 2402.09353).
struct LoraConfig {
  int64_t rank = 8;
  double alpha = 16.0;
  double dropout = 0.0;  // on the input of A, in training only
  std::vector<std::string> target_modules = {"q_proj", "k_proj", "v_proj", "o_proj"};
  std::string base_model;   // directory or name the adapter was trained on; may be empty
  bool use_rslora = false;  // rank-stabilised: scaling = alpha / sqrt(rank) (arXiv 2312.03732)
  bool use_dora = false;    // every pair has a magnitude too
  /// Ranks and alphas of single modules in place of the above (PEFT's rank_pattern and
  /// alpha_pattern); the first that matches_module() counts.
  std::vector<std::pair<std::string, int64_t>> rank_pattern;
  std::vector<std::pair<std::string, double>> alpha_pattern;
  /// Modules trained whole beside the pairs ("lm_head"), whose weights are in the adapter file.
  std::vector<std::string> modules_to_save;
  /// target_modules where it is one text in place of the list: a regular expression for whole names, or
  /// "all-linear" (matches_target()).
  std::string target_pattern;

  int64_t rank_of(const std::string& module) const;
  /// alpha / rank, or alpha / sqrt(rank), with the module's own alpha and rank.
  double scaling_of(const std::string& module) const;
  /// Of a module without a pattern.
  double scaling() const { return scaling_of(""); }
  /// Whether the module "model.layers.0.self_attn.q_proj" is to have an adapter (PEFT's rule for a list:
  /// equal to a target or ending in "." + target).
  bool targets(const std::string& module) const;
};

/// Reads adapter_config.json of an adapter directory. Throws InputError that
/// names the file and the setting when it is not LoRA as above: another
/// peft_type, trained biases, initialisations that change the base weights,
/// patterns that are no regular expressions, …
LoraConfig read_lora_config(const std::filesystem::path& directory);

/// As read_lora_config, from the text of the file; `source` names it in errors.
LoraConfig parse_lora_config(const std::string& text, const std::string& source);

/// Writes adapter_config.json with the fields and order PEFT writes.
void write_lora_config(const std::filesystem::path& directory, const LoraConfig& config);

/// The name under which this program knows a tensor of an adapter, or of a model
/// that PEFT has wrapped: without "base_model.model." in front, the adapter's
/// name "default" and PEFT's own "modules_to_save" and "base_layer", so
/// "model.layers.0.self_attn.q_proj.lora_A.weight" or "….q_proj.lora_magnitude_vector". Other names are
/// unchanged.
std::string normalise_adapter_name(std::string_view name);

/// Whether a normalised name is half of a pair: it ends in ".lora_A.weight" or ".lora_B.weight".
bool is_lora_half(std::string_view name);
/// Whether it is a magnitude of DoRA: it ends in ".lora_magnitude_vector".
bool is_magnitude(std::string_view name);

/// A read-only adapter directory: adapter_config.json, adapter_model.safetensors
/// and, where further parameters were trained, trainable_params.safetensors; or
/// the .bin files of those names, which LongLoRA released (older PEFT wrote). The
/// safetensors are read where both are there.
class PeftAdapter {
 public:
  /// Checks all parts against each other: both halves of every pair, their
  /// shapes and rank, target_modules, and that trainable_params holds what the
  /// adapter file says was trained. Throws InputError.
  static PeftAdapter open(const std::filesystem::path& directory);

  const LoraConfig& config() const { return config_; }
  const std::filesystem::path& directory() const { return directory_; }

  /// Layers with a pair, sorted: "model.layers.0.self_attn.q_proj".
  const std::vector<std::string>& modules() const { return modules_; }
  /// A [R, in] or B [out, R] of a module, in the file's dtype.
  at::Tensor load_a(const std::string& module) const;
  at::Tensor load_b(const std::string& module) const;
  /// Magnitude [out] of a module; with config().use_dora every one has it.
  at::Tensor load_magnitude(const std::string& module) const;
  /// Shapes without loading.
  const TensorInfo& info_a(const std::string& module) const;
  const TensorInfo& info_b(const std::string& module) const;

  /// Fully trained parameters by model name ("model.embed_tokens.weight"), sorted; empty for a plain adapter.
  std::vector<std::string> parameters() const;
  bool has_parameter(const std::string& name) const { return parameters_.count(name) != 0; }
  const TensorInfo& parameter_info(const std::string& name) const;
  at::Tensor load_parameter(const std::string& name) const;
  /// The same into a tensor of its shape, in the dtype that this one has.
  void load_parameter_into(const std::string& name, const at::Tensor& target) const;

  /// Throws InputError that names the missing file unless the directory has
  /// trained parameters: for callers that know that LoRA+ was used.
  void require_parameters() const;

 private:
  struct Place {
    bool is_in_adapter_file;
    std::string stored_name;
  };
  void index_adapter_file();
  void index_trainable_params();
  void check_pairs() const;
  const TensorStore& store_of(const Place& place) const {
    return place.is_in_adapter_file ? adapter_ : *trainable_;
  }
  const Place& parameter_place(const std::string& name) const;
  const std::string& stored_name(const std::string& module, const char* half) const;

  std::filesystem::path directory_;
  std::filesystem::path adapter_file_;
  std::filesystem::path trainable_file_;  // where it is there
  LoraConfig config_;
  TensorStore adapter_;
  std::optional<TensorStore> trainable_;
  bool is_saved_module(const std::string& name) const;

  std::map<std::string, std::string> lora_names_;  // normalised -> stored
  std::map<std::string, Place> parameters_;
  std::vector<std::string> modules_;
};

/// Writes an adapter directory that PEFT loads, into an existing folder.
/// `lora`, pairs and magnitudes, is named as in normalise_adapter_name; `parameters` as in the model
/// (none: no trainable_params.safetensors). Throws ResourceError.
void write_peft_adapter(const std::filesystem::path& directory, const LoraConfig& config,
                        const NamedTensors& lora, const NamedTensors& parameters);

}  // namespace longlora::checkpoint
