#include "longlora/cli/foreign_flags.h"

namespace longlora::cli {
namespace {

constexpr FlagValues kOne = FlagValues::kOne, kMaybeOne = FlagValues::kMaybeOne,
                     kSeveral = FlagValues::kSeveral;
constexpr std::string_view kOff = "false|no|0|off", kUnset = "none||{}";

constexpr ForeignFlag works(std::string_view name, std::string_view word) {
  return {name, FlagFate::kWorks, kOne, "", word};
}
constexpr ForeignFlag same_as(std::string_view name, std::string_view other) {
  return {name, FlagFate::kSameAs, kOne, "", other};
}
constexpr ForeignFlag no_effect(std::string_view name, FlagValues values, std::string_view why) {
  return {name, FlagFate::kNoEffect, values, "", why};
}
constexpr ForeignFlag refused(std::string_view name, FlagValues values, std::string_view neutral,
                              std::string_view instead) {
  return {name, FlagFate::kRefused, values, neutral, instead};
}

constexpr std::string_view kOneProcess =
    "a run is one process; multiply --gradient_accumulation_steps by the number of processes to keep the "
    "rows "
    "of an update";
constexpr std::string_view kNoWorkers = "rows are read by the training process itself, in a fixed order";
constexpr std::string_view kNoUpload =
    "nothing is uploaded: upload --output_dir yourself when the run is done";
constexpr std::string_view kNoKernels = "it is about speed alone, and the program brings its own kernels";
constexpr std::string_view kNoHalf = "it chooses among ways to compute in float16, which is not computed in";
constexpr std::string_view kOwnColumns = "which fields of a sample are read is fixed: docs/sft.md";
constexpr std::string_view kMetrics =
    "an evaluation sums up loss and accuracy as it goes and keeps no predictions";

// The texts of flags that work say their default where Hugging Face's is another, and their limits.
std::vector<ForeignFlag> steps() {
  return {
      works("max_steps", "updates; -1 or 0: from --num_train_epochs"),
      works("num_train_epochs", "passes over the data (default here 1, there 3)"),
      works("per_device_train_batch_size", "rows computed at once (default here 1, there 8)"),
      works("per_device_eval_batch_size", "the same in evaluation (default here 1, there 8)"),
      same_as("per_gpu_train_batch_size", "per_device_train_batch_size"),
      same_as("per_gpu_eval_batch_size", "per_device_eval_batch_size"),
      works("gradient_accumulation_steps", "batches summed into one update"),
      works("learning_rate", "peak rate (default here 2e-5, there 5e-5)"),
      works("lr_scheduler_type",
            "constant, constant_with_warmup, linear, cosine, cosine_with_restarts (one cycle), polynomial, "
            "inverse_sqrt (default here constant_with_warmup, there linear)"),
      refused("lr_scheduler_kwargs", kOne, kUnset,
              "schedules have Hugging Face's own settings; leave it out"),
      works("warmup_steps", "updates of warm-up; below 1: a share of all (default here 20, there 0)"),
      works("warmup_ratio", "warm-up as a share of all updates; --warmup_steps above 0 goes before it"),
      works("optim",
            "adamw_torch, adamw_torch_fused (both AdamW in float32), adamw_8bit, adamw_bnb_8bit (both with "
            "moments in 8 bits)"),
      refused("optim_args", kOne, kUnset, "AdamW is told by --adam_beta1, --adam_beta2 and --adam_epsilon"),
      refused("optim_target_modules", kSeveral, kUnset,
              "it is for GaLore and APOLLO; choose an optimizer with --optim and layers with "
              "--lora_target_modules"),
      refused("adafactor", kMaybeOne, kOff, "the optimizer is AdamW: take --optim adamw_8bit to save memory"),
      works("weight_decay", "AdamW's decay; vectors (norms, biases) are exempt, as there"),
      works("adam_beta1", "first moment's decay"),
      works("adam_beta2", "second moment's decay"),
      works("adam_epsilon", "epsilon"),
      works("max_grad_norm", "clips the gradient to this norm; 0: never"),
      refused("label_smoothing_factor", kOne, "0|0.0|none", "the loss is plain cross-entropy; leave it out"),
      works("neftune_noise_alpha", "noise on the embeddings in training (NEFTune)"),
      no_effect("average_tokens_across_devices", kMaybeOne,
                "the loss of an update is the mean over all its tokens already"),
      works("seed", "decides the order of rows, new weights, dropout and noise"),
      works("data_seed", "decides the order of rows in place of --seed"),
      no_effect("full_determinism", kMaybeOne,
                "on a CPU a run is the same to the last bit already (docs/gpu.md says what holds on a GPU)"),
  };
}

std::vector<ForeignFlag> memory_and_speed() {
  return {
      works("bf16", "computes in bfloat16 with float32 masters (default here True, there False)"),
      refused("fp16", kMaybeOne, kOff,
              "float16 is not computed in; take --bf16 True, or --fp32 True for float32"),
      no_effect("bf16_full_eval", kMaybeOne, "evaluation computes in what training computes in"),
      refused("fp16_full_eval", kMaybeOne, kOff,
              "float16 is not computed in; evaluation computes in what training does: leave it out"),
      no_effect("fp16_opt_level", kOne, kNoHalf),
      no_effect("fp16_backend", kOne, kNoHalf),
      no_effect("half_precision_backend", kOne, kNoHalf),
      no_effect("tf32", kMaybeOne, "a CPU has no TF32, and products in float32 on a GPU do not use it"),
      works(
          "gradient_checkpointing",
          "true, false, or auto: as memory allows (default here auto, there False); the result is the same"),
      same_as("activation_checkpointing", "gradient_checkpointing"),
      no_effect("gradient_checkpointing_kwargs", kOne, "layers are computed again to the same bits"),
      no_effect("activation_checkpointing_kwargs", kOne, "layers are computed again to the same bits"),
      no_effect("torch_compile", kMaybeOne, kNoKernels),
      no_effect("torch_compile_backend", kOne, kNoKernels),
      no_effect("torch_compile_mode", kOne, kNoKernels),
      no_effect("torchdynamo", kOne, kNoKernels),
      no_effect("jit_mode_eval", kMaybeOne, kNoKernels),
      no_effect("use_ipex", kMaybeOne, kNoKernels),
      no_effect("use_liger_kernel", kMaybeOne, kNoKernels),
      no_effect("liger_kernel_config", kOne, kNoKernels),
      no_effect("use_cache", kMaybeOne, "training keeps no keys and values"),
      no_effect("torch_empty_cache_steps", kOne, "memory is planned before the run starts: --memory_budget"),
      no_effect("auto_find_batch_size", kMaybeOne,
                "whether the batch fits is planned before the run starts, not found by failing"),
      works("use_cpu", "the same as --device cpu"),
      same_as("no_cuda", "use_cpu"),
      refused("use_mps_device", kMaybeOne, kOff, "Apple's GPUs are not used; leave it out"),
      no_effect("tpu_num_cores", kOne, "there are no TPUs here"),
      no_effect("tpu_metrics_debug", kMaybeOne, "there are no TPUs here"),
      refused("past_index", kOne, "-1", "the models here carry no state from batch to batch; leave it out"),
      no_effect("mp_parameters", kOne, kOneProcess),
      no_effect("tp_size", kOne, kOneProcess),
      no_effect("local_rank", kOne, kOneProcess),
      no_effect("deepspeed", kOne, kOneProcess),
      no_effect("fsdp", kSeveral, kOneProcess),
      no_effect("fsdp_config", kOne, kOneProcess),
      no_effect("fsdp_min_num_params", kOne, kOneProcess),
      no_effect("fsdp_transformer_layer_cls_to_wrap", kOne, kOneProcess),
      no_effect("sharded_ddp", kSeveral, kOneProcess),
      no_effect("parallelism_config", kOne, kOneProcess),
      no_effect("accelerator_config", kOne, kOneProcess),
      no_effect("split_batches", kMaybeOne, kOneProcess),
      no_effect("dispatch_batches", kMaybeOne, kOneProcess),
      no_effect("ddp_find_unused_parameters", kMaybeOne, kOneProcess),
      no_effect("ddp_bucket_cap_mb", kOne, kOneProcess),
      no_effect("ddp_broadcast_buffers", kMaybeOne, kOneProcess),
      no_effect("ddp_static_graph", kMaybeOne, kOneProcess),
      no_effect("ddp_backend", kOne, kOneProcess),
      no_effect("ddp_timeout", kOne, kOneProcess),
      no_effect("xpu_backend", kOne, kOneProcess),
      no_effect("ray_scope", kOne, "hyperparameters are not searched for"),
      no_effect("debug", kSeveral, "a loss or gradient that is no number ends the run with its step"),
  };
}

std::vector<ForeignFlag> data() {
  return {
      works("train_sampling_strategy", "random, sequential, or group_by_length (sft)"),
      works("group_by_length", "sft: rows of like length in one batch, --order length"),
      no_effect("length_column_name", kOne, "lengths are counted, not read"),
      no_effect("remove_unused_columns", kMaybeOne, kOwnColumns),
      no_effect("label_names", kSeveral, kOwnColumns),
      no_effect("dataloader_num_workers", kOne, kNoWorkers),
      no_effect("dataloader_pin_memory", kMaybeOne, kNoWorkers),
      no_effect("dataloader_persistent_workers", kMaybeOne, kNoWorkers),
      no_effect("dataloader_prefetch_factor", kOne, kNoWorkers),
      no_effect("dataloader_multiprocessing_context", kOne, kNoWorkers),
      no_effect("dataloader_in_order", kMaybeOne, kNoWorkers),
      works("dataloader_drop_last", "leaves out the last rows of an epoch that fill no batch"),
  };
}

std::vector<ForeignFlag> logs_and_evaluation() {
  return {
      works("logging_steps", "updates between lines of the log (default here 1, there 500)"),
      no_effect("logging_strategy", kOne, "lines of the log come by updates: --logging_steps"),
      no_effect("logging_first_step", kMaybeOne,
                "with --logging_steps 1, the default, every update is logged"),
      no_effect("logging_dir", kOne, "TensorBoard files go to --output_dir, folder runs"),
      no_effect("logging_nan_inf_filter", kMaybeOne,
                "a loss or gradient that is no number ends the run with its step"),
      no_effect("log_on_each_node", kMaybeOne, kOneProcess),
      no_effect("log_level", kOne, "what the program has to say goes to standard error, all of it"),
      no_effect("log_level_replica", kOne, kOneProcess),
      no_effect("disable_tqdm", kMaybeOne, "bars of progress appear on a terminal alone"),
      no_effect("report_to", kSeveral, "TensorBoard files and train_log.jsonl are always written"),
      works("run_name", "name of the run in reports, --label"),
      no_effect("project", kOne, "TensorBoard files and train_log.jsonl are always written"),
      no_effect("trackio_space_id", kOne, kNoUpload),
      no_effect("trackio_bucket_id", kOne, kNoUpload),
      no_effect("trackio_static_space_id", kOne, kNoUpload),
      no_effect("include_num_input_tokens_seen", kMaybeOne, "the log always has the tokens so far"),
      no_effect("include_tokens_per_second", kMaybeOne, "the log always has tokens per second"),
      no_effect("skip_memory_metrics", kMaybeOne, "the log always has the peak of memory"),
      works("eval_strategy", "no, or steps; for epoch give --eval_steps the updates of an epoch"),
      works("evaluation_strategy", "the same, under its older name"),
      works("eval_steps", "updates between evaluations on --eval_data_path"),
      refused("eval_delay", kOne, "0|0.0|none", "evaluations come every --eval_steps updates from the start"),
      refused("eval_on_start", kMaybeOne, kOff, "longlora eval measures the model before training"),
      no_effect("eval_accumulation_steps", kOne, kMetrics),
      no_effect("eval_do_concat_batches", kMaybeOne, kMetrics),
      no_effect("eval_use_gather_object", kMaybeOne, kMetrics),
      no_effect("batch_eval_metrics", kMaybeOne, kMetrics),
      no_effect("prediction_loss_only", kMaybeOne, kMetrics),
      no_effect("use_legacy_prediction_loop", kMaybeOne, kMetrics),
      no_effect("include_for_metrics", kSeveral, kMetrics),
      no_effect("include_inputs_for_metrics", kMaybeOne, kMetrics),
      no_effect("metric_for_best_model", kOne, "no checkpoint is chosen by a metric"),
      no_effect("greater_is_better", kMaybeOne, "no checkpoint is chosen by a metric"),
      refused("load_best_model_at_end", kMaybeOne, kOff,
              "the last model is the result; checkpoints and train_log.jsonl show which was best"),
      no_effect("do_train", kMaybeOne, "this verb trains; longlora eval evaluates"),
      no_effect("do_eval", kMaybeOne, "--eval_data_path with --eval_strategy steps evaluates in a run"),
      no_effect("do_predict", kMaybeOne, "longlora inference and longlora answer write answers"),
  };
}

std::vector<ForeignFlag> output() {
  return {
      works("output_dir", "where checkpoints, logs and the result go"),
      works("overwrite_output_dir",
            "replaces an earlier run there once the new one is finished; other files stay"),
      works("resume_from_checkpoint",
            "True, or the newest checkpoint of --output_dir: goes on from it, --resume True"),
      no_effect("ignore_data_skip", kMaybeOne,
                "a run that is resumed goes on at the row where it was, at once"),
      no_effect("restore_callback_states_from_checkpoint", kMaybeOne,
                "checkpoints hold all that a run needs to go on to the same bits"),
      works("save_strategy", "steps, or no; for epoch give --save_steps the updates of an epoch"),
      works("save_steps", "updates between checkpoints"),
      works("save_total_limit", "checkpoints to keep; 0 or -1: all"),
      no_effect("save_only_model", kMaybeOne, "checkpoints always hold what --resume needs"),
      no_effect("save_safetensors", kMaybeOne,
                "weights are written as safetensors; longlora convert makes .bin files of them"),
      no_effect("save_on_each_node", kMaybeOne, kOneProcess),
      no_effect("enable_jit_checkpoint", kMaybeOne,
                "Ctrl-C, SIGTERM, SIGUSR1 and SIGHUP always end a run with a checkpoint"),
      refused("push_to_hub", kMaybeOne, kOff, kNoUpload),
      no_effect("push_to_hub_model_id", kOne, kNoUpload),
      no_effect("push_to_hub_organization", kOne, kNoUpload),
      no_effect("push_to_hub_token", kOne, kNoUpload),
      no_effect("hub_model_id", kOne, kNoUpload),
      no_effect("hub_token", kOne, kNoUpload),
      no_effect("hub_private_repo", kMaybeOne, kNoUpload),
      no_effect("hub_strategy", kOne, kNoUpload),
      no_effect("hub_always_push", kMaybeOne, kNoUpload),
      no_effect("hub_revision", kOne, kNoUpload),
  };
}

}  // namespace

const FlagGroup& trainer_flags() {
  static const FlagGroup group = [] {
    FlagGroup made = {"Hugging Face's TrainingArguments", {}, {"fine-tune", "sft", "plan"}, {}};
    for (const auto& part : {steps(), memory_and_speed(), data(), logs_and_evaluation(), output()})
      made.flags.insert(made.flags.end(), part.begin(), part.end());
    return made;
  }();
  return group;
}

}  // namespace longlora::cli
