// The model that a result belongs to.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace longlora::results {

/// How the result of an evaluation begins: the model and how it was run.
struct EvaluatedModel {
  std::optional<std::string> label = {};  // the name that people gave it; nullopt where a verb takes none
  std::string model = {};                 // directory of the base model
  std::optional<std::string> peft_model = {};  // directory of the adapter; nullopt: none
  int64_t context_size = -1;                   // in tokens; -1: not given
  std::string rope_scaling = {};               // in words: "linear rotary scaling by 8"
  std::string dtype = {};                      // the dtype in which it was computed
  std::string quantize = {};                   // "nf4" or "none"

  /// The label; without it the name of the adapter's directory, or else of the model's. Empty where the file
  /// states none of them.
  std::string name() const;

  template <typename Model, typename Fields>
  static void list_fields(Model& model, Fields& fields) {
    fields.optional("label", model.label);
    fields.optional("model", model.model);
    fields.optional("peft_model", model.peft_model);
    fields.optional("context_size", model.context_size);
    fields.optional("rope_scaling", model.rope_scaling);
    fields.optional("dtype", model.dtype);
    fields.optional("quantize", model.quantize);
  }
};

}  // namespace longlora::results
