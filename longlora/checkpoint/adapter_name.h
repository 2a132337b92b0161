// The names of tensors in adapters and in models that PEFT, torch.compile, FSDP, … have wrapped.
#pragma once

#include <string>
#include <string_view>

namespace longlora::checkpoint {

/// The kind of a tensor, as its name tells it.
enum class AdapterPart {
  kPairA,      // "MODULE.lora_A.weight" [R, in], or of an embedding "MODULE.lora_embedding_B" [C, R]
  kPairB,      // "MODULE.lora_B.weight" [out, R], or of an embedding "MODULE.lora_embedding_A" [R, V]
  kPairBias,   // "MODULE.lora_B.bias" [out]
  kMagnitude,  // "MODULE.lora_magnitude_vector"
  kTokenRows,  // "MODULE.token_adapter.trainable_tokens_delta" [n, C]
  kParameter,  // a whole parameter of the model
  kOriginal,   // "MODULE.original_module.weight": the weight that a module had before it was trained whole
  kDerived,  // follows from config.json or from the base: rotary frequencies, the first values of token rows
  kOther,    // a tensor of another method than LoRA, a part of LoRA that is not known, or no parameter of a
             // model
};

struct AdapterName {
  AdapterPart part;
  /// The name by which this program knows the tensor, as above. It leaves out the prefix "base_model.model.",
  /// the names of wrappers ("module", "_orig_mod", …) wherever they stand, the adapter's own name, and PEFT's
  /// "base_layer" and "modules_to_save".
  std::string name;
  /// The name of the layer. For a whole parameter it is the name without ".weight" or ".bias".
  std::string module;
  /// Whether PEFT's "modules_to_save" stood in the name: the tensor is the copy of a module that is trained
  /// whole.
  bool is_saved_copy = false;
  /// Whether the tensor is half of a pair of an embedding.
  bool is_of_embedding = false;
};

AdapterName parse_adapter_name(std::string_view stored);

}  // namespace longlora::checkpoint
