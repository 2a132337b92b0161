// LoRA adapters as PEFT stores them, with the other parameters that were trained beside the pairs.
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

/// The rows of a module's weight that are trained by themselves, by their numbers.
struct TokenRows {
  std::string module;  // the end of the module's name; empty: the embedding
  std::vector<int64_t> ids;
};

/// The part of PEFT's LoraConfig that this program can compute:
/// W' = W + scaling · B · A on every linear layer whose name ends in one of target_modules; with use_dora
/// W' = magnitude / ‖W + scaling · B · A‖ · (W + scaling · B · A), row by row (arXiv 2402.09353), in an
/// embedding column by column.
struct LoraConfig {
  int64_t rank = 8;
  double alpha = 16.0;
  double dropout = 0.0;  // of the input of A, in training only
  std::vector<std::string> target_modules = {"q_proj", "k_proj", "v_proj", "o_proj"};
  std::string base_model;   // directory or name the adapter was trained on; may be empty
  bool use_rslora = false;  // rank-stabilised: scaling = alpha / sqrt(rank) (arXiv 2312.03732)
  bool use_dora = false;    // every pair has a magnitude, too
  /// The ranks and alphas of single modules, in place of the above (PEFT's rank_pattern and alpha_pattern).
  /// The first that matches_module() counts.
  std::vector<std::pair<std::string, int64_t>> rank_pattern;
  std::vector<std::pair<std::string, double>> alpha_pattern;
  /// The modules that are trained whole beside the pairs, and whose weights are in the adapter file: all
  /// whose names end like this. "norm" means every "input_layernorm", too.
  std::vector<std::string> modules_to_save;
  /// Which biases of the base are trained: "none", "all", or "lora_only" for those of layers with a pair.
  std::string bias = "none";
  bool lora_bias = false;  // every B has a bias, which is scaled as B is
  /// A target_modules that is one text instead of a list: a regular expression for whole names, or
  /// "all-linear" (matches_target()).
  std::string target_pattern;
  /// Modules that are no targets although target_modules means them: names as there, or a regular expression
  /// for whole names.
  std::vector<std::string> exclude_modules;
  std::string exclude_pattern;
  /// Where this is not empty, only modules in the layers of these numbers are targets. The number of a layer
  /// stands behind one of layers_pattern (regular expressions), or is the first number in the name. It counts
  /// only where the targets are given by the ends of their names.
  std::vector<int64_t> layers_to_transform;
  std::vector<std::string> layers_pattern;
  std::vector<TokenRows> trainable_token_indices;
  /// Whether a head that is tied to the embedding trains as the embedding does. The file then has both, and
  /// they are equal.
  bool ensure_weight_tying = false;

  int64_t rank_of(const std::string& module) const;
  /// alpha / rank, or alpha / sqrt(rank), with the module's own alpha and rank.
  double scaling_of(const std::string& module) const;
  /// The factor of a module that has no pattern of its own.
  double scaling() const { return scaling_of(""); }
  /// Whether the module "model.layers.0.self_attn.q_proj" is to have an adapter. PEFT's rule for a list is
  /// that its name is equal to a target or ends in "." + target.
  bool targets(const std::string& module) const;
  /// Whether modules_to_save means the module of the parameter "model.norm.weight", or one around that
  /// module.
  bool saves_module_of(const std::string& parameter) const;
  /// Whether a parameter is trained whole, either by modules_to_save or as a bias.
  bool trains_whole(const std::string& parameter) const;
};

/// Reads adapter_config.json of an adapter directory. Throws InputError that names the file and the setting
/// for anything but LoRA as above: another peft_type, initialisations that change the base weights, patterns
/// that are no regular expressions, …
LoraConfig read_lora_config(const std::filesystem::path& directory);

/// Does the same with the text of the file; `source` names it in errors.
LoraConfig parse_lora_config(const std::string& text, const std::string& source);

/// Writes adapter_config.json with PEFT's fields in PEFT's order.
void write_lora_config(const std::filesystem::path& directory, const LoraConfig& config);

/// A read-only adapter directory: adapter_config.json, adapter_model.safetensors and, where further
/// parameters were trained, trainable_params.safetensors. In place of the safetensors it may have the .bin
/// files of the same names, which older PEFT wrote and LongLoRA released. Where both are there, the
/// safetensors are read.
class PeftAdapter {
 public:
  /// Opens an adapter and checks its parts against each other: both halves of every pair, their shapes and
  /// rank, target_modules, and that trainable_params holds what the adapter file says was trained. Throws
  /// InputError.
  static PeftAdapter open(const std::filesystem::path& directory);

  const LoraConfig& config() const { return config_; }
  const std::filesystem::path& directory() const { return directory_; }

  /// The modules that have a pair, sorted: "model.layers.0.self_attn.q_proj".
  const std::vector<std::string>& modules() const { return modules_; }
  /// A [R, in] or B [out, R] of a module, in the file's dtype. W' = W + scaling · B · A for the weight [out,
  /// in], or [V, C] of an embedding.
  at::Tensor load_a(const std::string& module) const;
  at::Tensor load_b(const std::string& module) const;
  /// The magnitude of a module: [out], or [C] for an embedding. With config().use_dora every module has one.
  at::Tensor load_magnitude(const std::string& module) const;
  /// The bias [out] of a module's B. With config().lora_bias every module has one.
  at::Tensor load_pair_bias(const std::string& module) const;
  /// The shapes of A and B, without loading them.
  std::vector<int64_t> shape_a(const std::string& module) const;
  std::vector<int64_t> shape_b(const std::string& module) const;
  /// Whether the module is an embedding, for which the pair is stored, and the magnitude meant, in another
  /// way.
  bool is_embedding(const std::string& module) const;

  /// The modules of whose weights single rows were trained, sorted, with the numbers of the rows. The values
  /// are [n, C].
  const std::map<std::string, std::vector<int64_t>>& token_rows() const { return token_rows_; }
  at::Tensor load_token_rows(const std::string& module) const;

  /// The names of the parameters that were trained whole, as in the model ("model.embed_tokens.weight"),
  /// sorted. A plain adapter has none.
  std::vector<std::string> parameters() const;
  bool has_parameter(const std::string& name) const { return parameters_.count(name) != 0; }
  /// Whether a parameter was trained as a copy of its module (modules_to_save). Other modules that share the
  /// module's weight did not follow that training.
  bool is_saved_copy(const std::string& name) const { return parameter_place(name).is_saved_copy; }
  /// Beside such a copy the file may have the weight that the base had when the copy was made, with a
  /// vocabulary that had grown. This is the name under which the functions below know that weight.
  static std::string original_of(const std::string& name);
  const TensorInfo& parameter_info(const std::string& name) const;
  bool are_equal_parameters(const std::string& a, const std::string& b) const;
  at::Tensor load_parameter(const std::string& name) const;
  /// Loads a parameter into a tensor of its shape, converted to the dtype of that tensor.
  void load_parameter_into(const std::string& name, const at::Tensor& target) const;

  /// Throws InputError that names the missing file where the directory has no trained parameters. Callers use
  /// it that know that LoRA+ was used.
  void require_parameters() const;

 private:
  struct Place {
    bool is_in_adapter_file;
    std::string stored_name;
    bool is_saved_copy = false;
  };
  void index_adapter_file();
  void index_tensor(const std::string& stored);
  void require_copy(const std::string& name, const std::string& stored, const std::string& again) const;
  void index_trainable_params();
  void index_token_rows();
  void check_pairs() const;
  void check_pair(const std::string& module) const;
  bool is_tied_to_embedding(const std::string& module) const;
  const TensorStore& store_of(const Place& place) const {
    return place.is_in_adapter_file ? adapter_ : *trainable_;
  }
  const Place& parameter_place(const std::string& name) const;
  const std::string& stored_name(const std::string& module, const char* part) const;
  const std::string& stored_a(const std::string& module) const;
  const std::string& stored_b(const std::string& module) const;

  std::filesystem::path directory_;
  std::filesystem::path adapter_file_;
  std::filesystem::path trainable_file_;  // empty where there is none
  LoraConfig config_;
  TensorStore adapter_;
  std::optional<TensorStore> trainable_;

  std::map<std::string, std::string> lora_names_;  // from AdapterName::name to the stored name
  std::map<std::string, Place> parameters_;
  std::vector<std::string> modules_;
  std::map<std::string, std::vector<int64_t>> token_rows_;
};

/// Writes an adapter directory that PEFT loads, into a folder that exists. `lora` holds pairs and magnitudes
/// under the names of AdapterName, and `parameters` has the names of the model. Those that the configuration
/// trains whole go into the adapter file under PEFT's names, and the others, if there are any, into
/// trainable_params.safetensors. Throws ResourceError.
void write_peft_adapter(const std::filesystem::path& directory, const LoraConfig& config,
                        const NamedTensors& lora, const NamedTensors& parameters);

}  // namespace longlora::checkpoint
