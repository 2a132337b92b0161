// The parameters that a run trains, each with its float32 master and its gradient.
#pragma once

#include <ATen/ATen.h>

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "longlora/checkpoint/peft_adapter.h"
#include "longlora/model/decoder.h"
#include "longlora/train/row_set.h"
#include "longlora/train/state_place.h"

namespace longlora::train {

/// One trained parameter.
struct TrainedParameter {
  std::string name;  // the name that model::visit_parameters gives it
  model::ParameterRole role;
  model::Parameter* parameter;  // the parameter of the decoder
  at::Tensor master;  // float32; in runs that compute in float32 it shares its storage with the value
  at::Tensor grad;    // float32, to which gradients are added
  /// Where set, only the rows in this set have gradients, and the rows of `grad` are theirs, in the order of
  /// the set. `grad` [number of rows, C] has room for as many rows as an update can need. Whoever adds to
  /// `grad` adds the rows to the set. Zeroing, norm and update go through these rows alone.
  std::optional<RowSet> grad_rows = {};

  /// Sets the gradient to zero.
  void zero_grad();
  /// Copies the master's elements [begin, end), in the order of memory, into the value. Does nothing where
  /// the two share their storage.
  void refresh_elements(int64_t begin, int64_t end);
  /// As refresh_elements(), for some rows of a matrix.
  void refresh_rows(const std::vector<int64_t>& rows);
};

struct TrainingStateOptions {
  StatePlace place = {};
  /// How many tokens all batches between two updates have together; 0: not limited. At most so many rows of
  /// an embedding that is not also the head can get gradients in an update, so that on the CPU its gradient
  /// has room for these rows alone instead of the whole vocabulary.
  int64_t update_tokens = 0;
};

/// The parameters that were trainable when this object was made. Engine, optimizer and run directory work on
/// this list. Not thread-safe.
class TrainedParameters {
 public:
  /// Makes the masters from the values, and gradients of zero. State that belongs on a disk is made there,
  /// with the value of an embedding that is looked up alone. The decoder must outlive this object and must
  /// not be moved. Throws ResourceError when the disk has no room.
  explicit TrainedParameters(model::Decoder& decoder, const TrainingStateOptions& options = {});

  model::Decoder& decoder() const { return decoder_; }
  std::vector<TrainedParameter>& all() { return all_; }
  const std::vector<TrainedParameter>& all() const { return all_; }
  /// Returns the entry of a parameter, or null where the parameter is frozen.
  TrainedParameter* find(const model::Parameter& parameter);
  const TrainedParameter* find(const model::Parameter& parameter) const;

  /// Returns the most precise value of a parameter of the decoder: its master where it is trained, else its
  /// value.
  at::Tensor precise(const model::Parameter& parameter) const;
  /// Makes a tensor of zeros of a parameter's shape for the optimizer, in memory or on the disk as for the
  /// parameter's other state.
  at::Tensor zeros_for(const TrainedParameter& trained, at::ScalarType dtype) const;

  /// Reads the masters from the files of the base and of the adapter (null: none) that the decoder was loaded
  /// from, because a decoder in bfloat16 has rounded more precise values. Parameters that have another shape
  /// in the base, such as a larger vocabulary, and new pairs keep their masters. Throws InputError for files
  /// that cannot be read.
  void load_masters(const checkpoint::TensorStore& base, const checkpoint::PeftAdapter* adapter);

 private:
  void add(const std::string& name, model::ParameterRole role, model::Parameter& parameter,
           const TrainingStateOptions& options);
  at::Tensor make_grad(TrainedParameter& trained, const TrainingStateOptions& options) const;

  model::Decoder& decoder_;
  StatePlace place_;
  std::vector<TrainedParameter> all_;
};

}  // namespace longlora::train
