// What an adapter changes in each tensor of a base model. Running and merging both follow this plan, so that
// they give the same model.
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "longlora/checkpoint/peft_adapter.h"
#include "longlora/model/decoder.h"

namespace longlora::model {

/// The changes of one weight or bias, which are made in this order. An empty name means that there is no such
/// change.
struct TensorChange {
  std::string parameter;   // the adapter's parameter that replaces the base's
  std::string token_rows;  // the module whose trained rows replace those of the weight
  std::string pair;        // the module whose low-rank update is added
  std::string pair_bias;   // the module whose B has a bias, which is scaled and added

  /// Whether values of the base are replaced, not only added to.
  bool replaces() const { return !parameter.empty() || !token_rows.empty(); }
};

struct AdapterPlan {
  /// The changes by the names of the decoder's parameters. The head has an entry of its own even where it is
  /// tied. Parameters that stay the same have none. A layer without a bias has an entry "….bias" where the
  /// adapter brings one.
  std::map<std::string, TensorChange> changes;
  /// Whether head and embedding are one weight in the model with the adapter.
  bool tied = false;
  /// How many rows embedding and head have. New rows that the adapter does not have are the mean of the
  /// base's.
  int64_t vocab_size = 0;
  int64_t added_rows = 0;  // how many of them the base does not have
  /// The layers that the adapter's target_modules names and for which it has no pair.
  std::vector<std::string> without_pair;

  /// Returns the change of a tensor, in which all names are empty where it stays the same.
  TensorChange change_of(const std::string& name) const;
};

/// Plans what an adapter changes in a base. Of `base` only the shapes count, so that it may be on the meta
/// device. Tied head and embedding become two weights where PEFT makes them two: where only one of them was
/// trained, as a copy or by a pair, or where both have trained rows that differ. What PEFT stores of a tied
/// weight itself holds for both. Throws InputError for modules, parameters and shapes that the base does not
/// have, and for fewer rows of the vocabulary than the base has, unless embedding and head both have so few.
AdapterPlan plan_adapter(const Decoder& base, const checkpoint::PeftAdapter& adapter);

/// Returns the names of the parameters whose values in the base's files are not those of the model with the
/// adapter: what the adapter replaces, and the head where it gets other rows or ceases to be the embedding.
std::set<std::string> replaced_parameters(const AdapterPlan& plan, const Decoder& base);

/// Logs a line where layers lack the pair that the adapter's configuration promises, and one where the
/// adapter brings rows for new tokens but no tokenizer.
void warn_about(const AdapterPlan& plan, const checkpoint::PeftAdapter& adapter);

/// Changes a float32 weight [rows, C]: puts in the trained rows, then adds the low-rank update with the
/// magnitude of DoRA. A pair with fewer rows than the weight changes the first rows alone. Products run on
/// the weight's device.
void change_weight(const checkpoint::PeftAdapter& adapter, const TensorChange& change,
                   const at::Tensor& weight);

/// Returns the bias [out] that `change` adds, scaled and in float32.
at::Tensor added_bias(const checkpoint::PeftAdapter& adapter, const TensorChange& change);

/// Throws UsageError where the adapter has parts that can be run and merged but not trained on: pairs of
/// embedding and head, single rows, biases of pairs. The message names them. `plan` is that of the adapter
/// for `base`.
void require_trainable(const AdapterPlan& plan, const Decoder& base, const checkpoint::PeftAdapter& adapter);

}  // namespace longlora::model
