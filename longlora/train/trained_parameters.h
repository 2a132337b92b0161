// The parameters that a run trains, and what training keeps of each beside its value.
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

/// One parameter that trains.
struct TrainedParameter {
  std::string name;  // as model::visit_parameters has it
  model::ParameterRole role;
  model::Parameter* parameter;  // of the decoder
  at::Tensor master;            // float32; the same storage as the value in float32 runs
  at::Tensor grad;              // float32 accumulator
  /// Where set, only these rows get gradients, and grad [rows that there is room for, C] holds theirs in the
  /// set's order: whoever adds to grad notes its rows here, and zeroing, norm and update look at no others.
  std::optional<RowSet> grad_rows = {};

  /// Sets the gradient to zero.
  void zero_grad();
  /// Copies the master into the value (no-op when they are one).
  void refresh_value() { refresh_elements(0, master.numel()); }
  /// The same for these elements, in the order of memory.
  void refresh_elements(int64_t begin, int64_t end);
  /// The same for these rows of a matrix.
  void refresh_rows(const std::vector<int64_t>& rows);
};

struct TrainingStateOptions {
  StatePlace place = {};
  /// How many tokens all batches between two updates have together; 0: any number. An update can give
  /// gradients to at most so many rows of an embedding that is only looked up (not tied to the head), so on
  /// the CPU the gradient of such an embedding has room for that many rows instead of the whole vocabulary.
  int64_t update_tokens = 0;
};

/// The parameters of a decoder that were made trainable, chosen once. Optimizer, engine and run directory
/// read this list. Not thread-safe.
class TrainedParameters {
 public:
  /// Makes masters, from the values, and zero gradients. State that belongs on a disk is made there, with the
  /// value of an embedding that is looked up alone. The decoder must outlive it and stay where it is. Throws
  /// ResourceError when the disk has no room.
  explicit TrainedParameters(model::Decoder& decoder, const TrainingStateOptions& options = {});

  model::Decoder& decoder() const { return decoder_; }
  std::vector<TrainedParameter>& all() { return all_; }
  const std::vector<TrainedParameter>& all() const { return all_; }
  /// Null where the parameter is frozen.
  TrainedParameter* find(const model::Parameter& parameter);
  const TrainedParameter* find(const model::Parameter& parameter) const;

  /// The value of any parameter of the decoder at its best precision: its master where it trains.
  at::Tensor precise(const model::Parameter& parameter) const;
  /// Zeros of a parameter's shape for what the optimizer keeps of it, where its state belongs.
  at::Tensor zeros_for(const TrainedParameter& trained, at::ScalarType dtype) const;

  /// Sets the masters from the files of the base and, unless that is null, the adapter that the decoder was
  /// loaded from: in bfloat16 it has rounded what they hold more precisely. Parameters of another shape than
  /// the base's (a grown vocabulary) and new pairs keep their masters. Throws InputError for unreadable
  /// files.
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
