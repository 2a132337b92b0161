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
#include "longlora/model/config.h"
#include "longlora/ops/device.h"
#include "longlora/tokenizer/tokenizer.h"
#include "longlora/train/options.h"
#include "longlora/train/run_folder.h"
#include "longlora/train/setup.h"

namespace longlora::cli {

/// The options, and the flags that say some of them in other words.
struct TrainingArguments {
  train::TrainOptions options;
  std::string verb;
  std::set<std::string> given;  // names of the flags that the command line has
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

/// Each declares the flags of one subject; the first, of the model that a run trains.
void add_trained_model_flags(CLI::App& verb, TrainingArguments& arguments);
void add_context_flags(CLI::App& verb, TrainingArguments& arguments);
void add_adapter_flags(CLI::App& verb, TrainingArguments& arguments);
void add_step_flags(CLI::App& verb, TrainingArguments& arguments);
void add_output_flags(CLI::App& verb, TrainingArguments& arguments);
/// The seeds, and in the Trainer's words the order of rows that --shuffle and --order say here.
void add_order_flags(CLI::App& verb, TrainingArguments& arguments);

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
/// ResourceError where they cannot be written (RunFolder, prepare_output_files). To be held while the run
/// goes on.
train::RunFolder claim_outputs(const TrainingArguments& arguments);

/// The run that the options ask for, before anything large is loaded; `planned` is a model that is nowhere on
/// disk, in place of theirs. Throws UsageError for flags that contradict the model or the adapter, and what
/// train::set_up_run throws.
train::RunSetup set_up(const TrainingArguments& arguments,
                       const std::optional<model::ModelConfig>& planned = {});

/// The same run planned and loaded. Throws ResourceError when it cannot fit in memory.
train::BuiltRun build(const TrainingArguments& arguments);

/// The tokenizer of the run, or null where none is needed and none is found.
std::unique_ptr<tokenizer::Tokenizer> find_tokenizer(const train::TrainOptions& options, bool needed);

/// Trains to the end or until a signal, and writes all that a run leaves. `eval_data` may be null. Throws
/// StoppedBySignal when a signal ended the run before its last step; its state is saved then.
void run_training(const TrainingArguments& arguments, train::BuiltRun& run,
                  std::unique_ptr<const data::TrainingRows> data,
                  std::unique_ptr<const data::TrainingRows> eval_data);

}  // namespace longlora::cli
