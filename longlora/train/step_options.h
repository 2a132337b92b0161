// How many updates a run makes, and how it makes them: batches, learning rate, optimizer, device and memory.
#pragma once

#include <ATen/ATen.h>

#include <cmath>
#include <cstdint>
#include <filesystem>
#include <string>

#include "longlora/train/memory_plan.h"
#include "longlora/train/optimizer.h"
#include "longlora/train/option_fields.h"
#include "longlora/train/schedule.h"

namespace longlora::train {

struct StepOptions {
  int64_t max_steps = 0;  // 0: it follows from num_train_epochs
  double num_train_epochs = 1.0;
  int64_t per_device_train_batch_size = 1;
  int64_t per_device_eval_batch_size = 1;
  int64_t gradient_accumulation_steps = 1;
  /// Whether a batch is left out that the last rows of an epoch do not fill.
  bool dataloader_drop_last = false;
  double learning_rate = 2e-5;
  int64_t warmup_steps = 20;
  double warmup_ratio = 0.0;  // where above 0, the warm-up as a share of all updates
  ScheduleType schedule = ScheduleType::kConstantWithWarmup;
  AdamWOptions adamw;
  double max_grad_norm = 1.0;  // 0: gradients are not clipped

  /// Returns how many of a run's updates are warm-up.
  int64_t warmup_updates(int64_t num_updates) const;

  template <typename Options, typename Fields>
  static void list_fields(Options& options, Fields& fields) {
    list_updates(options, fields);
    list_rates(options, fields);
  }

 private:
  template <typename Options, typename Fields>
  static void list_updates(Options& options, Fields& fields) {
    const FieldRule recorded = {.kept = Kept::kInRecord};
    fields.add("--max_steps", options.max_steps, "Updates to make (default, or -1: from --num_train_epochs)",
               {.kept = Kept::kInRecord, .shows_default = false});
    fields.check(options.max_steps >= 0, "--max_steps must be positive, or -1 for --num_train_epochs, got {}",
                 options.max_steps);
    fields.add("--num_train_epochs", options.num_train_epochs, "Passes over the data", recorded);
    fields.check(
        options.max_steps > 0 || (options.num_train_epochs > 0.0 && std::isfinite(options.num_train_epochs)),
        "--num_train_epochs must be positive, got {}", options.num_train_epochs);
    fields.add("--per_device_train_batch_size", options.per_device_train_batch_size, "Rows computed at once");
    fields.add("--per_device_eval_batch_size", options.per_device_eval_batch_size, "The same in evaluation",
               recorded);
    fields.add("--gradient_accumulation_steps", options.gradient_accumulation_steps,
               "Batches summed into one update");
    fields.check(
        options.per_device_train_batch_size > 0 && options.per_device_eval_batch_size > 0 &&
            options.gradient_accumulation_steps > 0,
        "--per_device_train_batch_size, --per_device_eval_batch_size and --gradient_accumulation_steps must "
        "be positive");
    constexpr double kMostTokens = 1e15;
    fields.check(
        static_cast<double>(options.per_device_train_batch_size) *
                static_cast<double>(options.gradient_accumulation_steps) *
                static_cast<double>(options.model_max_length) <
            kMostTokens,
        "--model_max_length, --per_device_train_batch_size and --gradient_accumulation_steps give an "
        "update more than 10^15 tokens");
    fields.add("--dataloader_drop_last", options.dataloader_drop_last,
               "Leave out the last rows of an epoch that fill no batch");
  }

  template <typename Options, typename Fields>
  static void list_rates(Options& options, Fields& fields) {
    auto& adamw = options.adamw;
    fields.add("--learning_rate", options.learning_rate, "Peak learning rate");
    fields.check(options.learning_rate >= 0.0 && std::isfinite(options.learning_rate),
                 "--learning_rate must be a number and not negative, got {}", options.learning_rate);
    fields.choice("--lr_scheduler_type", options.schedule, choices_of(schedule_names(), schedule_from_name),
                  "How the rate goes after warm-up, as in Trainer");
    fields.check(options.schedule != ScheduleType::kPolynomial || options.learning_rate > 1e-7,
                 "--lr_scheduler_type polynomial ends at a rate of 1e-7: it needs a higher --learning_rate");
    fields.record("warmup_steps", options.warmup_steps, Kept::kInIdentity);
    fields.check(options.warmup_steps >= 0, "--warmup_steps must not be negative, got {}",
                 options.warmup_steps);
    if (options.warmup_ratio > 0.0) fields.record("warmup_ratio", options.warmup_ratio, Kept::kInIdentity);
    fields.check(options.warmup_ratio >= 0.0 && options.warmup_ratio <= 1.0,
                 "--warmup_ratio must be in [0, 1], got {}", options.warmup_ratio);
    fields.choice(
        "--optim", adamw.moments_in_8_bits, choices_of(optimizer_names(), moments_in_8_bits_from_name),
        "adamw_torch, or adamw_8bit: moments of parameters of 4096 elements and more in 8 bits, but for "
        "the embedding's");
    fields.add("--weight_decay", adamw.weight_decay, "AdamW's decay (vectors are exempt)");
    fields.add("--adam_beta1", adamw.beta1, "AdamW's first moment decay");
    fields.add("--adam_beta2", adamw.beta2, "AdamW's second moment decay");
    fields.check(adamw.beta1 >= 0.0 && adamw.beta1 < 1.0 && adamw.beta2 >= 0.0 && adamw.beta2 < 1.0,
                 "--adam_beta1 and --adam_beta2 must be in [0, 1)");
    fields.add("--adam_epsilon", adamw.epsilon, "AdamW's epsilon");
    fields.check(adamw.epsilon > 0.0 && adamw.weight_decay >= 0.0 && std::isfinite(adamw.weight_decay),
                 "--adam_epsilon must be positive and --weight_decay not negative");
    fields.add("--max_grad_norm", options.max_grad_norm, "Clip the gradient to this norm; 0: never");
    fields.check(options.max_grad_norm >= 0.0, "--max_grad_norm must not be negative, got {}",
                 options.max_grad_norm);
  }
};

/// The device on which a run computes, and the memory that it may take.
struct MemoryOptions {
  Recompute recompute = Recompute::kAuto;
  at::Device device = at::kCPU;            // the device of the model
  std::string attention_backend = "auto";  // which kernels a GPU takes
  int64_t memory_budget_bytes = 0;         // 0: as memory_budget() decides
  std::filesystem::path scratch_dir;       // for what does not fit in memory; empty: output_dir

  template <typename Options, typename Fields>
  static void list_fields(Options& options, Fields& fields) {
    fields.choice("--gradient_checkpointing", options.recompute,
                  Choices<Recompute>{
                      {"auto", Recompute::kAuto}, {"true", Recompute::kAlways}, {"false", Recompute::kNever}},
                  "Recompute layers in backward: true, false, or auto as memory allows (default: auto)",
                  {.kept = Kept::kInRecord, .shows_default = false, .alone = "true"});
    fields.record("device", options.device.str(), Kept::kInRecord);
    fields.record("attention_backend", options.attention_backend, Kept::kInRecord);
    fields.record("memory_budget_bytes", options.memory_budget_bytes, Kept::kInRecord);
    fields.add(
        "--scratch_dir", options.scratch_dir,
        "Folder on a disk for layer inputs and the optimizer's state when the budget does not hold them "
        "(default: --output_dir)",
        {.kept = Kept::kNowhere, .type_name = "DIR"});
    fields.record("scratch_dir", options.scratch_folder().string(), Kept::kInRecord);
  }
};

}  // namespace longlora::train
