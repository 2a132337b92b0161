// The flags of a run. Most come from the lists of options; those between them state options in other words.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>

#include "longlora/checkpoint/module_pattern.h"
#include "longlora/cli/device_flags.h"
#include "longlora/cli/flags.h"
#include "longlora/cli/model_flags.h"
#include "longlora/cli/option_flags.h"
#include "longlora/cli/training_verb.h"
#include "longlora/core/error.h"

namespace longlora::cli {

void add_trained_model_flags(CLI::App& verb, TrainingArguments& arguments) {
  OptionFlags flags(verb);
  flags.behind("--config", [&] {
    verb.add_option("--model_type", arguments.model_type,
                    "llama or gpt-neox, for old command lines: config.json decides, and must agree");
  });
  flags.behind("--peft_model", [&] {
    add_bool(verb, "--bf16", arguments.bf16, "Compute in bfloat16, with float32 master weights");
  });
  flags.behind("--fp32", [&] { add_quantize_flags(verb, arguments.options.quantize); });
  train::ModelOptions::list_fields(arguments.options, flags);
}

void add_context_flags(CLI::App& verb, TrainingArguments& arguments) {
  OptionFlags flags(verb);
  flags.behind("--attention", [&] {
    add_bool(verb, "--use_full_attn", arguments.use_full_attn, "The same as --attention full")
        ->excludes("--attention");
  });
  flags.behind("--group_size_ratio", [&] {
    verb.add_option(
        "--group_size", arguments.group_size,
        "Group size of s2 in tokens (default: from the ratio); reference-sft: a quarter of a sample "
        "whose length 4096 divides, else 8192, as the released supervised fine-tuning");
  });
  train::ContextOptions::list_fields(arguments.options, flags);
}

void add_adapter_flags(CLI::App& verb, TrainingArguments& arguments) {
  OptionFlags flags(verb);
  flags.behind("--lora_r", [&] {
    verb.add_option(
            "--lora_target_modules", arguments.lora_target_modules,
            "Linear layers that get a pair: names, all-linear, or a regular expression for whole names such "
            "as \".*\\.[0-3]\\..*_proj\" (default: the attention's: q_proj,k_proj,v_proj,o_proj; GPT-NeoX: "
            "query_key_value,dense; Phi-3: qkv_proj,o_proj)")
        ->type_name("A,B,…|REGEX");
  });
  train::AdapterOptions::list_fields(arguments.options, flags);
}

void set_target_modules(const std::vector<std::string>& words, checkpoint::LoraConfig& lora) {
  const auto is_pattern = [](const std::string& word) {
    return word.find_first_of("*+?()[]{}|^$\\") != std::string::npos;
  };
  lora.target_modules.clear();  // model::choose_targets fills in the targets of the model's family
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
  OptionFlags flags(verb);
  flags.behind("--lr_scheduler_type", [&] {
    verb.add_option("--warmup_steps", arguments.warmup_steps,
                    "Updates over which the rate rises from 0; below 1: a share of all (default: 20)")
        ->check(not_negative_number());
    verb.add_option("--warmup_ratio", arguments.warmup_ratio,
                    "The same as a share of all updates, where --warmup_steps is not above 0")
        ->check(share());
  });
  flags.behind("--gradient_checkpointing", [&] {
    add_device_flags(verb, arguments.device);
    add_bool(verb, "--use_cpu", arguments.use_cpu, "The same as --device cpu")->excludes("--device");
    add_memory_budget(verb, arguments.memory_budget_gib);
  });
  train::StepOptions::list_fields(arguments.options, flags);
  train::MemoryOptions::list_fields(arguments.options, flags);
}

void add_output_flags(CLI::App& verb, TrainingArguments& arguments) {
  OptionFlags flags(verb);
  flags.behind("--resume", [&] {
    verb.add_option("--resume_from_checkpoint", arguments.resume_from_checkpoint,
                    "True, or the path of that checkpoint: the same as --resume True")
        ->expected(0, 1);
  });
  flags.behind("--overwrite_output_dir", [&] {
    verb.add_option("--save_strategy", arguments.save_strategy,
                    "steps, or no: at the end and on signals alone")
        ->check(CLI::IsMember({"steps", "no"}))
        ->capture_default_str();
  });
  flags.behind("--save_total_limit", [&] {
    verb.add_option("--evaluation_strategy,--eval_strategy", arguments.evaluation_strategy,
                    "no, or steps: every --eval_steps (default: steps where --eval_data_path is given)")
        ->check(CLI::IsMember({"no", "steps"}));
  });
  train::OutputOptions::list_fields(arguments.options, flags);
  verb.add_option("--label,--run_name", arguments.label,
                  "Name of the run in reports (default: the name of --output_dir)");
  verb.add_option("--json", arguments.json, "Write the outcome to this file");
}

}  // namespace longlora::cli
