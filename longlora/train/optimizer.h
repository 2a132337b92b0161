// AdamW over float32 masters, and the gradient norm.
#pragma once

#include <ATen/ATen.h>

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "longlora/model/decoder.h"
#include "longlora/ops/adamw_step.h"
#include "longlora/train/trained_parameters.h"

namespace longlora::train {

struct AdamWOptions {
  double beta1 = 0.9;
  double beta2 = 0.999;
  double epsilon = 1e-8;
  double weight_decay = 0.0;  // not applied to vectors (norms, biases)
  /// Learning rate of the B of low-rank pairs as a multiple of that of the rest (arXiv 2402.12354).
  double loraplus_lr_ratio = 1.0;
  /// Keep the moments of large parameters in 8 bits (Dettmers et al. 2021, arXiv 2110.02861).
  bool moments_in_8_bits = false;
};

/// Names of --optim as Hugging Face's Trainer has them: "adamw_torch" and "adamw_8bit" first, then others for
/// the same two.
const std::vector<std::string>& optimizer_names();
/// The first name of these options' optimizer.
const char* optimizer_name(const AdamWOptions& options);
/// Throws UsageError for a name that is none of them.
bool moments_in_8_bits_from_name(const std::string& name);

/// Whether a parameter's moments can be in 8 bits: it has at least 4096 elements and is not the embedding, as
/// bitsandbytes and the Trainer have it.
bool takes_8_bit_moments(const model::Parameter& parameter, model::ParameterRole role);
/// Bytes of both moments of so many elements.
int64_t moment_bytes(int64_t elements, bool in_8_bits);

/// torch.optim.AdamW's update (arXiv 1711.05101) on the parameters that
/// train. Moments are float32, or where asked for 8 bits, in blocks of 256 elements that are
/// quantised again after every update, as bitsandbytes' AdamW8bit has them. The parameters must outlive it.
/// Rows of an embedding that no batch has held yet are left alone: their moments
/// are zero and, without weight decay, so is their update. The result is that of
/// the whole update to the bit. State that is on a disk (state_place.h) is gone through a piece at
/// a time, with the same result.
class AdamW {
 public:
  AdamW(TrainedParameters& parameters, const AdamWOptions& options);

  void zero_grad();
  /// L2 norm over all gradients, in double.
  double grad_norm() const;
  /// One update with gradients scaled by grad_scale; then values are refreshed from masters.
  void step(double learning_rate, double grad_scale);

  int64_t num_steps() const { return num_steps_; }

  /// A parameter that trains and its moments, which have its shape: float32, or codes (uint8) of a
  /// ops::DynamicMap with a scale for each block (float32).
  struct Slot {
    TrainedParameter* trained;
    at::Tensor exp_avg;
    at::Tensor exp_avg_sq;
    at::Tensor exp_avg_scales = {};
    at::Tensor exp_avg_sq_scales = {};
    /// With trained->grad_rows: the rows whose moments can differ from zero; after set_num_steps() found
    /// when first needed.
    std::optional<RowSet> active_rows = {};

    /// All that resuming needs, by the names it is saved under: "master/…", "exp_avg/…".
    std::vector<std::pair<std::string, at::Tensor>> state() const;
  };
  std::vector<Slot>& slots() { return slots_; }
  /// For who has replaced moments and masters by those of an earlier run: refreshes the values too.
  void set_num_steps(int64_t steps);

 private:
  void update_rows(Slot& slot, const ops::AdamWStep& step);
  static void update_all(Slot& slot, const ops::AdamWStep& step);
  static void update_quantized(Slot& slot, const ops::AdamWStep& step);

  AdamWOptions options_;
  std::vector<Slot> slots_;
  int64_t num_steps_ = 0;
  bool starts_from_zero_ = true;
};

}  // namespace longlora::train
