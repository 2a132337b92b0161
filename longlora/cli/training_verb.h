// What the verbs that train have in common: flags, model, reports, the run.
#pragma once

#include <CLI/App.hpp>

#include <filesystem>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "longlora/data/training_rows.h"
#include "longlora/forward/layer_source.h"
#include "longlora/model/decoder.h"
#include "longlora/ops/device.h"
#include "longlora/tokenizer/tokenizer.h"
#include "longlora/train/memory_plan.h"
#include "longlora/train/options.h"
#include "longlora/train/run_folder.h"

namespace longlora::cli {

/// The options, and flags whose form on the command line differs from the option's.
struct TrainingArguments {
  train::TrainOptions options;
  std::string verb;
  std::set<std::string> given;  // names of the flags that the command line has
  std::string init = "pretrained";
  std::string attention_init = "normal";
  bool bf16 = true;
  std::string attention = "s2";
  bool use_full_attn = false;
  std::string model_type;
  std::string group_size;
  std::string rope_scaling;
  std::vector<std::string> lora_target_modules;
  std::optional<double> lora_dropout;
  std::string optim = "adamw_torch";
  std::string schedule = "constant_with_warmup";
  std::optional<double> warmup_steps;
  std::optional<double> warmup_ratio;
  std::optional<uint64_t> data_seed;
  bool group_by_length = false;
  std::string sampling;
  std::string gradient_checkpointing = "auto";
  std::string save_strategy = "steps";
  std::string evaluation_strategy;
  ops::DeviceFlags device;
  bool use_cpu = false;
  std::string resume_from_checkpoint = "False";
  std::optional<double> memory_budget_gib;
  std::string label;
  std::filesystem::path json;
  /// A model that is nowhere on disk, in place of one that is; `plan` alone has it.
  std::optional<model::ModelConfig> shape = {};
};

/// Each declares the flags of one subject.
void add_model_flags(CLI::App& verb, TrainingArguments& arguments);
void add_context_flags(CLI::App& verb, TrainingArguments& arguments);
void add_adapter_flags(CLI::App& verb, TrainingArguments& arguments);
void add_step_flags(CLI::App& verb, TrainingArguments& arguments);
void add_output_flags(CLI::App& verb, TrainingArguments& arguments);
/// The seeds, and in the Trainer's words the order of rows that --shuffle and --order say here.
void add_order_flags(CLI::App& verb, TrainingArguments& arguments);

/// The flags of low-rank pairs that decide their shape, which `plan` has too.
void add_pair_flags(CLI::App& verb, checkpoint::LoraConfig& lora, std::vector<std::string>& target_modules);
void add_optimizer_flag(CLI::App& verb, std::string& optim);

/// Words of --lora_target_modules as PEFT takes target_modules: names ("a,b", several words or both), or one
/// text that no name could be, a regular expression. Throws UsageError for several of those, InputError for a
/// wrong one.
void set_target_modules(const std::vector<std::string>& words, checkpoint::LoraConfig& lora);

/// Sets the options that are told in the Trainer's or the released scripts' words.
void apply_trainer_words(TrainingArguments& arguments);

/// Throws UsageError where --model_type contradicts the model.
void check_model_type(const std::string& asked, const model::ModelConfig& config);

/// Where no --tokenizer is given: the adapter's, whose run may have added tokens, or else the model's.
void set_tokenizer_path(train::TrainOptions& options);

/// Turns words into options and checks them all, then opens the device. Throws UsageError that lists every
/// problem.
void finish_arguments(TrainingArguments& arguments);

/// The claim on the output folder, and on the file of --json, before any work. Throws UsageError and
/// ResourceError where they cannot be written (RunFolder, prepare_output_file). To be held while the run goes
/// on.
train::RunFolder claim_outputs(const TrainingArguments& arguments);

/// A run as its memory plan sees it, before anything large is loaded.
struct ShapedRun {
  train::TrainOptions options;  // with what the model and the adapter decide filled in
  model::Decoder decoder;       // its trainable parameters in place, without values
  train::FrozenWeights frozen_weights = train::FrozenWeights::kInMemory;
  int64_t program_bytes = 0;  // resident before it was shaped
};
ShapedRun shape_run(const TrainingArguments& arguments);

/// The memory plan of the run. Throws ResourceError when it cannot fit.
train::MemoryPlan plan_before_loading(const TrainingArguments& arguments);

/// The model of a run and who brings the weights of its layers.
struct PreparedModel {
  model::Decoder decoder;
  std::shared_ptr<const forward::LayerSource> source = forward::resident();
};

/// The decoder with its scaling, adapter and trainable parameters in place; fills in the options that they
/// decide. Frozen weights and training state are where the plan says.
PreparedModel prepare_decoder(TrainingArguments& arguments, const train::MemoryPlan& plan);

/// The tokenizer of the run, or null where none is needed and none is found.
std::unique_ptr<tokenizer::Tokenizer> find_tokenizer(const train::TrainOptions& options, bool needed);

/// Trains to the end or until a signal, and writes all that a run leaves. `eval_data` may be null. Throws
/// StoppedBySignal when a signal ended the run before its last step; its state is saved then.
void run_training(TrainingArguments& arguments, PreparedModel& prepared,
                  std::unique_ptr<const data::TrainingRows> data,
                  std::unique_ptr<const data::TrainingRows> eval_data, const train::MemoryPlan& plan);

}  // namespace longlora::cli
