// What an adapter makes of each tensor of a base model: one reading of it for running and for merging.
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "longlora/checkpoint/peft_adapter.h"
#include "longlora/model/decoder.h"

namespace longlora::model {

/// What becomes of one weight or bias, in this order; empty names stand for nothing.
struct TensorChange {
  std::string parameter;   // of the adapter, in place of the base's value
  std::string token_rows;  // module whose trained rows take the place of the weight's
  std::string pair;        // module whose low-rank update is added
  std::string pair_bias;   // module the bias of whose B, scaled, is added

  /// Whether anything but a low-rank update is asked for.
  bool replaces() const { return !parameter.empty() || !token_rows.empty(); }
};

struct AdapterPlan {
  /// By the names that the decoder's parameters have, the head's included; only what changes. "….bias" of a
  /// layer without one is there where the adapter brings it.
  std::map<std::string, TensorChange> changes;
  /// Whether the head is still the embedding.
  bool tied = false;
  /// Rows of embedding and head. Those beyond the base's that the adapter does not have are the mean of the
  /// others.
  int64_t vocab_size = 0;
  int64_t added_rows = 0;  // of them, beyond the base's
  /// Layers that target_modules names and for which the adapter has no pair.
  std::vector<std::string> without_pair;

  /// The change of a tensor, or one of nothing.
  TensorChange change_of(const std::string& name) const;
};

/// Reads an adapter for a base whose shapes (values may be on the meta device) `base` has. A tie between head
/// and embedding is cut where PEFT cuts it: a copy of one alone was trained, or a pair of one alone, or rows
/// of both that differ. What PEFT stores of a tied weight as it is goes to both. Throws InputError: modules,
/// parameters and shapes that the base does not have, fewer rows of the vocabulary than the base has unless
/// both ends have them.
AdapterPlan plan_adapter(const Decoder& base, const checkpoint::PeftAdapter& adapter);

/// Names of the parameters of `base` that the model with the adapter does not have as the base's files do:
/// what the adapter replaces, and the head where it gets other rows or becomes one of its own.
std::set<std::string> replaced_parameters(const AdapterPlan& plan, const Decoder& base);

/// Logs a line where layers are without the pair that the adapter's configuration promises, and where it
/// brings rows for tokens and no tokenizer.
void warn_about(const AdapterPlan& plan, const checkpoint::PeftAdapter& adapter);

/// Puts the rows of `change`, then its low-rank update with the magnitude of DoRA, into a float32 weight
/// [rows, C]; a pair of fewer rows changes the first. Products run where the weight is.
void change_weight(const checkpoint::PeftAdapter& adapter, const TensorChange& change,
                   const at::Tensor& weight);

/// The bias [out] that `change` adds, scaled, in float32.
at::Tensor added_bias(const checkpoint::PeftAdapter& adapter, const TensorChange& change);

/// Throws UsageError that names the parts of an adapter, planned for its base, that only take part in running
/// and merging: pairs of embedding and head, single rows, biases of pairs.
void require_trainable(const AdapterPlan& plan, const Decoder& base, const checkpoint::PeftAdapter& adapter);

}  // namespace longlora::model
