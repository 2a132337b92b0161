// The AdamW optimizer, which works on float32 masters, and the norm of the gradients.
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
  /// LoRA+ (arXiv 2402.12354): the learning rate of the B of low-rank pairs as a multiple of that of other
  /// parameters.
  double loraplus_lr_ratio = 1.0;
  /// Whether the moments of large parameters are in 8 bits (Dettmers et al. 2021, arXiv 2110.02861).
  bool moments_in_8_bits = false;
};

/// The names of --optim, which are those of Hugging Face's Trainer: "adamw_torch" and "adamw_8bit" first,
/// then other names of the same two optimizers.
const std::vector<std::string>& optimizer_names();
/// Returns the first name of the optimizer that the options describe.
const char* optimizer_name(const AdamWOptions& options);
/// Whether the optimizer with that name keeps moments in 8 bits. Throws UsageError for a name that is not
/// among optimizer_names().
bool moments_in_8_bits_from_name(const std::string& name);

/// Whether the moments of a parameter can be in 8 bits. As in bitsandbytes and the Trainer they can where it
/// has at least 4096 elements and is not the embedding.
bool takes_8_bit_moments(const model::Parameter& parameter, model::ParameterRole role);
/// Returns the bytes of both moments of so many elements.
int64_t moment_bytes(int64_t elements, bool in_8_bits);

/// Updates the trained parameters as torch.optim.AdamW does (arXiv 1711.05101). Moments are in float32. Where
/// the options say so, they are in 8 bits, in blocks of 256 elements that are quantised anew after every
/// update, as in bitsandbytes' AdamW8bit. The parameters must outlive this object. Rows of an embedding that
/// no batch has had yet are skipped where there is no weight decay: their moments are zero, so that an update
/// would not change them. State that lies on a disk (state_place.h) is updated piece by piece. The results
/// are the same to the bit either way.
class AdamW {
 public:
  AdamW(TrainedParameters& parameters, const AdamWOptions& options);

  void zero_grad();
  /// Returns the L2 norm of all gradients, computed in double.
  double grad_norm() const;
  /// Makes one update with the gradients times grad_scale, then copies the masters into the values.
  void step(double learning_rate, double grad_scale);

  int64_t num_steps() const { return num_steps_; }

  /// A trained parameter and its moments, which have its shape. They are float32, or codes (uint8) of an
  /// ops::DynamicMap with a float32 scale for each block.
  struct Slot {
    TrainedParameter* trained;
    at::Tensor exp_avg;
    at::Tensor exp_avg_sq;
    at::Tensor exp_avg_scales = {};
    at::Tensor exp_avg_sq_scales = {};
    /// For a parameter with grad_rows: the rows whose moments may differ from zero. After set_num_steps()
    /// they are found when they are first needed.
    std::optional<RowSet> active_rows = {};

    /// Returns everything that a resumed run needs, by the names under which it is saved: "master/…",
    /// "exp_avg/…".
    std::vector<std::pair<std::string, at::Tensor>> state() const;
  };
  std::vector<Slot>& slots() { return slots_; }
  /// Sets the number of updates after moments and masters were replaced by those of an earlier run, and
  /// copies the masters into the values.
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
