#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>

#include "longlora/checkpoint/module_pattern.h"
#include "longlora/cli/device_flags.h"
#include "longlora/cli/flags.h"
#include "longlora/cli/model_flags.h"
#include "longlora/cli/training_verb.h"
#include "longlora/core/error.h"
#include "longlora/model/rope_scaling.h"

namespace longlora::cli {

void add_model_flags(CLI::App& verb, TrainingArguments& arguments) {
  train::TrainOptions& options = arguments.options;
  verb.add_option("--model_name_or_path", options.model_name_or_path,
                  "Directory to start from: Hugging Face's layout or Meta's");
  verb.add_option("--init", arguments.init,
                  "Where weights come from: pretrained, or random to train from nothing")
      ->check(CLI::IsMember({"pretrained", "random"}))
      ->capture_default_str();
  verb.add_option("--attention_init", arguments.attention_init,
                  "How --init random begins attention: normal, or mimetic (queries like keys, the output the "
                  "transpose of the values: small models learn to copy sooner)")
      ->check(CLI::IsMember({"normal", "mimetic"}))
      ->capture_default_str();
  verb.add_option("--config", options.config_file, "config.json of a model trained from nothing");
  verb.add_option("--model_type", arguments.model_type,
                  "llama or gpt-neox, for old command lines: config.json decides, and must agree");
  verb.add_option("--tokenizer", options.tokenizer_path,
                  "Tokenizer for text data (default: the model's directory)");
  verb.add_option("--peft_model", options.peft_model,
                  "Go on from this adapter directory; its pairs keep their shape");
  add_bool(verb, "--bf16", arguments.bf16, "Compute in bfloat16, with float32 master weights");
  add_bool(verb, "--fp32", options.fp32, "Compute in float32");
  add_quantize_flags(verb, options.quantize);
}

void add_context_flags(CLI::App& verb, TrainingArguments& arguments) {
  train::TrainOptions& options = arguments.options;
  verb.add_option("--model_max_length", options.model_max_length, "Tokens of a row: the window to train for")
      ->required();
  verb.add_option("--rope_scaling", arguments.rope_scaling,
                  "How positions are stretched when the window is longer than the model's "
                  "(default: the kind the model carries, else linear)")
      ->check(CLI::IsMember(model::extension_rope_types()));
  verb.add_option("--attention", arguments.attention,
                  "s2: shifted sparse attention; full: every token sees all before it")
      ->check(CLI::IsMember({"s2", "full"}))
      ->capture_default_str();
  add_bool(verb, "--use_full_attn", arguments.use_full_attn, "The same as --attention full")
      ->excludes("--attention");
  verb.add_option("--group_size_ratio", options.group_size_ratio, "Group size of s2 as a share of the row")
      ->capture_default_str();
  verb.add_option(
      "--group_size", arguments.group_size,
      "Group size of s2 in tokens (default: from the ratio); reference-sft: a quarter of a sample "
      "whose length 4096 divides, else 8192, as the released supervised fine-tuning");
  verb.add_option("--full_attention_steps", options.full_attention_steps,
                  "Use full attention in this many steps at the end")
      ->capture_default_str();
}

void add_adapter_flags(CLI::App& verb, TrainingArguments& arguments) {
  train::TrainOptions& options = arguments.options;
  add_bool(verb, "--low_rank_training", options.low_rank_training,
           "Train low-rank pairs and --trainable_params alone; False trains every weight");
  add_list(verb, "--trainable_params", options.trainable_params,
           "Also train parameters whose names contain one of these; none: the pairs alone (plain LoRA)");
  add_pair_flags(verb, options.lora, arguments.lora_target_modules);
  verb.add_option("--lora_alpha", options.lora.alpha, "Their scale times the rank")->capture_default_str();
  verb.add_option(
      "--lora_dropout", arguments.lora_dropout,
      "Share of what the pairs read that is left out in training (default: 0, or what the adapter of "
      "--peft_model says)");
  add_bool(verb, "--use_rslora", options.lora.use_rslora,
           "Scale the pairs by alpha / sqrt(rank), not alpha / rank");
  verb.add_option("--loraplus_lr_ratio", options.adamw.loraplus_lr_ratio,
                  "Learning rate of the pairs' B as a multiple of the rest's (LoRA+ of arXiv 2402.12354)")
      ->capture_default_str();
  verb.add_option("--neftune_noise_alpha", options.neftune_noise_alpha,
                  "Add noise of this size to the embeddings in training (NEFTune); 0: none")
      ->capture_default_str();
}

void add_pair_flags(CLI::App& verb, checkpoint::LoraConfig& lora, std::vector<std::string>& target_modules) {
  verb.add_option("--lora_r", lora.rank, "Rank of the low-rank pairs")->capture_default_str();
  verb.add_option(
          "--lora_target_modules", target_modules,
          "Linear layers that get a pair: names, all-linear, or a regular expression for whole names such "
          "as \".*\\.[0-3]\\..*_proj\" (default: the attention's: q_proj,k_proj,v_proj,o_proj; GPT-NeoX: "
          "query_key_value,dense; Phi-3: qkv_proj,o_proj)")
      ->type_name("A,B,…|REGEX");
  add_bool(verb, "--use_dora", lora.use_dora,
           "Learn the length of every row of the adapted weights too (DoRA); takes more time and memory");
}

void add_optimizer_flag(CLI::App& verb, std::string& optim) {
  verb.add_option(
          "--optim", optim,
          "adamw_torch, or adamw_8bit: moments of parameters of 4096 elements and more in 8 bits, but for "
          "the embedding's")
      ->check(CLI::IsMember(train::optimizer_names()))
      ->capture_default_str();
}

void set_target_modules(const std::vector<std::string>& words, checkpoint::LoraConfig& lora) {
  const auto is_pattern = [](const std::string& word) {
    return word.find_first_of("*+?()[]{}|^$\\") != std::string::npos;
  };
  lora.target_modules.clear();  // model::choose_targets fills in those of the model's family
  lora.target_pattern.clear();
  if (words.size() == 1 && is_pattern(words[0])) {
    checkpoint::check_module_pattern(words[0], "--lora_target_modules");
    lora.target_pattern = words[0];
    return;
  }
  for (const std::string& word : words) {
    if (is_pattern(word))
      throw UsageError(fmt::format(
          "[--lora_target_modules] expected names or one regular expression, got {} and more", word));
    for (size_t begin = 0; begin <= word.size();) {
      const size_t end = std::min(word.find(',', begin), word.size());
      if (end > begin) lora.target_modules.push_back(word.substr(begin, end - begin));
      begin = end + 1;
    }
  }
}

void add_step_flags(CLI::App& verb, TrainingArguments& arguments) {
  train::TrainOptions& options = arguments.options;
  verb.add_option("--max_steps", options.max_steps,
                  "Updates to make (default, or -1: from --num_train_epochs)");
  verb.add_option("--num_train_epochs", options.num_train_epochs, "Passes over the data")
      ->capture_default_str();
  verb.add_option("--per_device_train_batch_size", options.per_device_train_batch_size,
                  "Rows computed at once")
      ->capture_default_str();
  verb.add_option("--per_device_eval_batch_size", options.per_device_eval_batch_size,
                  "The same in evaluation")
      ->capture_default_str();
  verb.add_option("--gradient_accumulation_steps", options.gradient_accumulation_steps,
                  "Batches summed into one update")
      ->capture_default_str();
  add_bool(verb, "--dataloader_drop_last", options.dataloader_drop_last,
           "Leave out the last rows of an epoch that fill no batch");
  verb.add_option("--learning_rate", options.learning_rate, "Peak learning rate")->capture_default_str();
  verb.add_option("--lr_scheduler_type", arguments.schedule, "How the rate goes after warm-up, as in Trainer")
      ->check(CLI::IsMember(train::schedule_names()))
      ->capture_default_str();
  verb.add_option("--warmup_steps", arguments.warmup_steps,
                  "Updates over which the rate rises from 0; below 1: a share of all (default: 20)")
      ->check(not_negative_number());
  verb.add_option("--warmup_ratio", arguments.warmup_ratio,
                  "The same as a share of all updates, where --warmup_steps is not above 0")
      ->check(share());
  add_optimizer_flag(verb, arguments.optim);
  verb.add_option("--weight_decay", options.adamw.weight_decay, "AdamW's decay (vectors are exempt)")
      ->capture_default_str();
  verb.add_option("--adam_beta1", options.adamw.beta1, "AdamW's first moment decay")->capture_default_str();
  verb.add_option("--adam_beta2", options.adamw.beta2, "AdamW's second moment decay")->capture_default_str();
  verb.add_option("--adam_epsilon", options.adamw.epsilon, "AdamW's epsilon")->capture_default_str();
  verb.add_option("--max_grad_norm", options.max_grad_norm, "Clip the gradient to this norm; 0: never")
      ->capture_default_str();
  verb.add_option("--gradient_checkpointing", arguments.gradient_checkpointing,
                  "Recompute layers in backward: true, false, or auto as memory allows (default: auto)")
      ->expected(0, 1)
      ->transform(CLI::IsMember({"auto", "true", "false"}, CLI::ignore_case));
  add_device_flags(verb, arguments.device);
  add_bool(verb, "--use_cpu", arguments.use_cpu, "The same as --device cpu")->excludes("--device");
  add_memory_budget(verb, arguments.memory_budget_gib);
  verb.add_option(
          "--scratch_dir", options.scratch_dir,
          "Folder on a disk for layer inputs and the optimizer's state when the budget does not hold them "
          "(default: --output_dir)")
      ->type_name("DIR");
}

void add_output_flags(CLI::App& verb, TrainingArguments& arguments) {
  train::TrainOptions& options = arguments.options;
  verb.add_option("--output_dir", options.output_dir,
                  "Where checkpoints, logs and the result go: a new or empty folder, or that of a run to go "
                  "on with (needed)");
  add_bool(
      verb, "--resume", options.resume,
      "Go on from the newest checkpoint of --output_dir, if there is one; a finished run stays as it is");
  verb.add_option("--resume_from_checkpoint", arguments.resume_from_checkpoint,
                  "True, or the path of that checkpoint: the same as --resume True")
      ->expected(0, 1);
  add_bool(verb, "--overwrite_output_dir", options.overwrite_output_dir,
           "Replace an earlier run in --output_dir: it is kept in replaced-run-N until the new result is "
           "complete. "
           "Files that no run wrote there are never touched");
  verb.add_option("--save_strategy", arguments.save_strategy, "steps, or no: at the end and on signals alone")
      ->check(CLI::IsMember({"steps", "no"}))
      ->capture_default_str();
  verb.add_option("--save_steps", options.save_steps, "Updates between checkpoints; 0: none")
      ->capture_default_str();
  verb.add_option("--save_total_limit", options.save_total_limit, "Checkpoints to keep; 0 or -1: all")
      ->capture_default_str();
  verb.add_option("--evaluation_strategy,--eval_strategy", arguments.evaluation_strategy,
                  "no, or steps: every --eval_steps (default: steps where --eval_data_path is given)")
      ->check(CLI::IsMember({"no", "steps"}));
  verb.add_option(
      "--eval_steps", options.eval_steps,
      "Updates between evaluations on --eval_data_path, which come at the end too (default: 500); 0: "
      "none");
  verb.add_option("--logging_steps", options.logging_steps, "Updates between progress lines")
      ->capture_default_str();
  verb.add_option("--label,--run_name", arguments.label,
                  "Name of the run in reports (default: the name of --output_dir)");
  verb.add_option("--json", arguments.json, "Write the outcome to this file");
}

}  // namespace longlora::cli
