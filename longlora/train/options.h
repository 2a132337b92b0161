// Everything a training run can be told.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "longlora/checkpoint/peft_adapter.h"
#include "longlora/core/json.h"
#include "longlora/data/instruction_tokens.h"
#include "longlora/model/config.h"
#include "longlora/train/memory_plan.h"
#include "longlora/train/optimizer.h"
#include "longlora/train/schedule.h"

namespace longlora::train {

enum class AttentionKind { kFull, kShiftedSparse };

/// Options of `fine-tune` and `sft`; names are the command line's.
struct TrainOptions {
  // Model.
  std::filesystem::path model_name_or_path;  // Hugging Face directory; empty with init_random
  bool init_random = false;                  // start from random weights of `config_file`
  model::AttentionInit attention_init = model::AttentionInit::kNormal;
  std::filesystem::path config_file;
  std::filesystem::path tokenizer_path;  // default: the model's directory
  std::filesystem::path peft_model;      // go on from this adapter
  bool fp32 = false;                     // compute in float32 rather than bfloat16
  /// Linear layers are put into 4-bit NormalFloat when they are read (QLoRA).
  std::optional<ops::Nf4Options> quantize;

  // Context.
  int64_t model_max_length = 0;                             // T, tokens of a row
  model::RopeType rope_scaling = model::RopeType::kLinear;  // that of the run, or what would be used
  AttentionKind attention = AttentionKind::kShiftedSparse;
  double group_size_ratio = 0.25;
  int64_t group_size = 0;             // tokens; 0: from the ratio
  bool reference_sft_groups = false;  // groups by the rule of the released supervised fine-tuning
  int64_t full_attention_steps = 0;   // last steps that use full attention

  // What trains.
  bool low_rank_training = true;
  std::vector<std::string> trainable_params = {"embed", "norm"};
  checkpoint::LoraConfig lora;

  // Data.
  std::vector<std::filesystem::path> data_path;
  std::vector<std::filesystem::path> eval_data_path;
  std::string text_field = "text";
  std::string bin_dtype = "auto";  // how a .bin stores ids: see data::id_type_choices()
  bool shuffle = true;
  bool group_by_length = false;  // rows of like length in one batch
  uint64_t seed = 42;
  std::optional<uint64_t> data_seed;  // decides the order of rows in place of `seed`

  // Questions and answers (sft).
  bool supervised = false;
  tokenizer::PromptForm prompt = tokenizer::PromptForm::kLlama2;
  data::Truncation truncation = data::Truncation::kMiddle;
  bool packing = true;
  bool skip_bad_samples = false;     // leave broken samples out instead of stopping
  bool cache_tokens = true;          // keep tokens beside each file of samples
  double neftune_noise_alpha = 0.0;  // 0: no noise

  // Steps.
  int64_t max_steps = 0;  // 0: from num_train_epochs
  double num_train_epochs = 1.0;
  int64_t per_device_train_batch_size = 1;
  int64_t per_device_eval_batch_size = 1;
  int64_t gradient_accumulation_steps = 1;
  bool dataloader_drop_last = false;  // leave out the batch that the last rows of an epoch do not fill
  double learning_rate = 2e-5;
  int64_t warmup_steps = 20;
  double warmup_ratio = 0.0;  // above 0: the warm-up as a share of all updates
  ScheduleType schedule = ScheduleType::kConstantWithWarmup;
  AdamWOptions adamw;
  double max_grad_norm = 1.0;  // 0: no clipping
  Recompute recompute = Recompute::kAuto;
  int64_t memory_budget_bytes = 0;         // 0: what the machine has available
  at::Device device = at::kCPU;            // where the model is and computes
  std::string attention_backend = "auto";  // of a GPU
  std::filesystem::path scratch_dir;       // for what does not fit memory; empty: output_dir

  /// Nothing is read or written: the run needs neither a model's directory nor data or an output folder.
  bool only_planned = false;

  // Output.
  std::filesystem::path output_dir;
  bool resume = false;
  bool overwrite_output_dir = false;
  int64_t save_steps = 500;      // 0: only at the end and on signals
  int64_t save_total_limit = 0;  // 0: keep all
  int64_t eval_steps = 0;        // 0: no evaluation
  int64_t logging_steps = 1;

  /// All contradictions and out-of-range values, one per line; empty when fine.
  std::vector<std::string> problems() const;
  /// The effective options, for run.json.
  Json to_json() const;
  /// The part of to_json() that must not change when a run is resumed. The contents of what it reads must
  /// not, either (input_fingerprints.h); where that lies may. The number of steps is RunDirectory::restore's
  /// matter.
  Json identity() const;
  /// G of a document of this length: 0 for full attention.
  int64_t group_for(int64_t document_tokens) const;
  /// G of a whole row.
  int64_t group_tokens() const { return group_for(model_max_length); }
  /// Tokens of all micro-batches of an update, at most.
  int64_t window_tokens() const {
    return per_device_train_batch_size * gradient_accumulation_steps * model_max_length;
  }
  /// Updates of warm-up in a run of so many.
  int64_t warmup_updates(int64_t num_updates) const;
  /// The folder for what does not fit memory.
  const std::filesystem::path& scratch_folder() const {
    return scratch_dir.empty() ? output_dir : scratch_dir;
  }
  /// What the memory plan has to know of this run, without a budget.
  PlanRequest plan_request() const;

 private:
  /// Notes a problem where something that must hold does not.
  using Require = std::function<void(bool holds, std::string problem)>;
  void require_model(const Require& require) const;
  void require_adapter(const Require& require) const;
  void require_steps(const Require& require) const;
};

/// Throws UsageError that lists every problem.
void validate(const TrainOptions& options);

}  // namespace longlora::train
