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
#include "longlora/model/decoder.h"
#include "longlora/ops/device_flags.h"
#include "longlora/tokenizer/tokenizer.h"
#include "longlora/train/memory_plan.h"
#include "longlora/train/options.h"

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
  std::string group_size;
  std::string rope_scaling;
  std::vector<std::string> lora_target_modules;
  std::optional<double> lora_dropout;
  std::string optim = "adamw_torch";
  std::string schedule = "constant_with_warmup";
  std::string gradient_checkpointing = "auto";
  std::string save_strategy = "steps";
  std::string evaluation_strategy;
  ops::DeviceFlags device;
  double memory_budget_gib = 0.0;
  std::string label;
  std::filesystem::path json;
};

/// Each declares the flags of one subject.
void add_model_flags(CLI::App& verb, TrainingArguments& arguments);
void add_context_flags(CLI::App& verb, TrainingArguments& arguments);
void add_adapter_flags(CLI::App& verb, TrainingArguments& arguments);
void add_step_flags(CLI::App& verb, TrainingArguments& arguments);
void add_output_flags(CLI::App& verb, TrainingArguments& arguments);
/// Flags of the released scripts that do nothing here.
void add_released_flags(CLI::App& verb);

/// The flags of low-rank pairs that decide their shape, which `plan` has too.
void add_pair_flags(CLI::App& verb, checkpoint::LoraConfig& lora, std::vector<std::string>& target_modules);
void add_optimizer_flag(CLI::App& verb, std::string& optim);

/// Words of --lora_target_modules as PEFT takes target_modules: names ("a,b", several words or both), or one
/// text that no name could be, a regular expression. Throws UsageError for several of those, InputError for a
/// wrong one.
void set_target_modules(const std::vector<std::string>& words, checkpoint::LoraConfig& lora);

/// Turns words into options and checks them all, then opens the device. Throws UsageError that lists every
/// problem.
void finish_arguments(TrainingArguments& arguments);

/// The memory plan of the run, made from the model's shape before anything large is loaded. Throws
/// ResourceError when it cannot fit.
train::MemoryPlan plan_before_loading(const TrainingArguments& arguments);

/// The decoder with its scaling, adapter and trainable parameters in place; fills in the options that they
/// decide. Frozen weights and training state are where the plan says.
model::Decoder prepare_decoder(TrainingArguments& arguments, const train::MemoryPlan& plan);

/// The tokenizer of the run, or null where none is needed and none is found.
std::unique_ptr<tokenizer::Tokenizer> find_tokenizer(const train::TrainOptions& options, bool needed);

/// Trains to the end or until a signal, and writes all that a run leaves. `eval_data` may be null.
void run_training(TrainingArguments& arguments, model::Decoder& decoder,
                  std::unique_ptr<const data::TrainingRows> data,
                  std::unique_ptr<const data::TrainingRows> eval_data, const train::MemoryPlan& plan);

}  // namespace longlora::cli
