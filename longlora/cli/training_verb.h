// What the verbs `fine-tune`, `sft` and `plan` share: flags, and the way from them to a run.
#pragma once

#include <CLI/App.hpp>

#include <filesystem>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "longlora/data/training_rows.h"
#include "longlora/model/config.h"
#include "longlora/ops/device.h"
#include "longlora/tokenizer/tokenizer.h"
#include "longlora/train/options.h"
#include "longlora/train/run_folder.h"
#include "longlora/train/setup.h"

namespace longlora::cli {

/// The options of a run, and the flags that state some of them in other words.
struct TrainingArguments {
  train::TrainOptions options;
  std::string verb;
  std::set<std::string> given;  // the names of the flags that the command line has
  bool bf16 = true;
  bool use_full_attn = false;
  std::string model_type;
  std::string group_size;
  std::vector<std::string> lora_target_modules;
  std::optional<double> warmup_steps;
  std::optional<double> warmup_ratio;
  bool group_by_length = false;
  std::string sampling;
  std::string save_strategy = "steps";
  std::string evaluation_strategy;
  ops::DeviceFlags device;
  bool use_cpu = false;
  std::string resume_from_checkpoint = "False";
  std::optional<double> memory_budget_gib;
  std::string label;
  std::filesystem::path json;
};

/// Each of the functions below declares the flags of one subject. This one declares those of the model that a
/// run trains.
void add_trained_model_flags(CLI::App& verb, TrainingArguments& arguments);
void add_context_flags(CLI::App& verb, TrainingArguments& arguments);
void add_adapter_flags(CLI::App& verb, TrainingArguments& arguments);
void add_step_flags(CLI::App& verb, TrainingArguments& arguments);
void add_output_flags(CLI::App& verb, TrainingArguments& arguments);
/// Declares the seeds, and the Trainer's flags for the order of rows, which --shuffle and --order state here.
void add_order_flags(CLI::App& verb, TrainingArguments& arguments);

/// Sets the targets that the words of --lora_target_modules mean, as PEFT reads target_modules: names ("a,b",
/// several words or both), or one text that cannot be a name and is taken for a regular expression. Throws
/// UsageError for several such texts, InputError for one that is no regular expression.
void set_target_modules(const std::vector<std::string>& words, checkpoint::LoraConfig& lora);

/// Sets the options that flags of the Trainer or of the released scripts state.
void apply_trainer_words(TrainingArguments& arguments);

/// Throws UsageError where --model_type contradicts the model.
void check_model_type(const std::string& asked, const model::ModelConfig& config);

/// Fills in the tokenizer where no --tokenizer is given. It is the adapter's, to which a run may have added
/// tokens, or else the model's.
void set_tokenizer_path(train::TrainOptions& options);

/// Turns the words of flags into options, checks all of them, and opens the device. Throws UsageError that
/// lists every problem.
void finish_arguments(TrainingArguments& arguments);

/// Claims the output folder and the file of --json before any work. The claim has to be kept until the run
/// ends. Throws UsageError and ResourceError where they cannot be written (RunFolder, prepare_output_files).
train::RunFolder claim_outputs(const TrainingArguments& arguments);

/// Sets up the run that the options ask for, without loading anything large. `planned` is the configuration
/// of a model that is not on disk, which takes the place of the options' model. Throws UsageError for flags
/// that contradict the model or the adapter, and the errors of train::set_up_run.
train::RunSetup set_up(const TrainingArguments& arguments,
                       const std::optional<model::ModelConfig>& planned = {});

/// Sets up, plans and loads the run. Throws ResourceError when it cannot fit in memory.
train::BuiltRun build(const TrainingArguments& arguments);

/// Returns the tokenizer of the run, or null where none is needed and none is found.
std::unique_ptr<tokenizer::Tokenizer> find_tokenizer(const train::TrainOptions& options, bool needed);

/// Trains until the end or a signal, and writes the log, checkpoints and result. `eval_data` may be null.
/// Throws StoppedBySignal when a signal ended the run before its last step, after its state was saved.
void run_training(const TrainingArguments& arguments, train::BuiltRun& run,
                  std::unique_ptr<const data::TrainingRows> data,
                  std::unique_ptr<const data::TrainingRows> eval_data);

}  // namespace longlora::cli
