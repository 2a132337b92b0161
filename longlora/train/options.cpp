#include "longlora/train/options.h"

#include <ATen/Parallel.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>

#include "longlora/core/error.h"
#include "longlora/core/format.h"
#include "longlora/ops/segment_plan.h"

namespace longlora::train {
namespace {

Json paths_json(const std::vector<std::filesystem::path>& paths) {
  Json json = Json::array();
  for (const auto& path : paths) json.push_back(path.string());
  return json;
}

const char* init_name(const TrainOptions& options) {
  if (!options.init_random) return "pretrained";
  return options.attention_init == model::AttentionInit::kMimetic ? "random, mimetic attention" : "random";
}

const char* recompute_name(Recompute recompute) {
  switch (recompute) {
    case Recompute::kAlways:
      return "true";
    case Recompute::kNever:
      return "false";
    default:
      return "auto";
  }
}

}  // namespace

std::vector<std::string> TrainOptions::problems() const {
  std::vector<std::string> found;
  const Require require = [&](bool holds, std::string problem) {
    if (!holds) found.push_back(std::move(problem));
  };
  require_model(require);
  require_adapter(require);
  require_steps(require);
  return found;
}

void TrainOptions::require_model(const Require& require) const {
  require(init_random || only_planned || !model_name_or_path.empty(),
          "--model_name_or_path is needed: the Hugging Face directory to start from (or --init random "
          "--config FILE)");
  require(!init_random || model_name_or_path.empty(),
          "--init random starts from nothing: give either it or --model_name_or_path");
  require(!init_random || !config_file.empty(), "--init random needs --config FILE, a config.json");
  require(init_random || config_file.empty(), "--config is for --init random alone");
  require(init_random || attention_init == model::AttentionInit::kNormal,
          "--attention_init is for --init random alone");
  require(!init_random || !low_rank_training,
          "--init random trains every weight: add --low_rank_training False");
  require(only_planned || !data_path.empty(),
          supervised ? "--data_path is needed: .json or .jsonl files of questions and answers"
                     : "--data_path is needed: .bin, .txt or .jsonl files, or folders of them");
  require(only_planned || !output_dir.empty(), "--output_dir is needed");
  require(model_max_length >= 2,
          fmt::format("--model_max_length must be at least 2, got {}", model_max_length));
  require(group_size_ratio > 0.0 && group_size_ratio <= 1.0,
          fmt::format("--group_size_ratio must be in (0, 1], got {}", group_size_ratio));
  require(group_size >= 0 && group_size != 1,
          fmt::format("--group_size must be at least 2, got {}", group_size));
}

void TrainOptions::require_adapter(const Require& require) const {
  require(low_rank_training || (lora.dropout == 0.0 && !lora.use_dora),
          "--lora_dropout and --use_dora are of low-rank pairs: they need --low_rank_training True");
  require(peft_model.empty() || low_rank_training,
          "--peft_model goes on from an adapter: it needs --low_rank_training True");
  require(lora.rank > 0, fmt::format("--lora_r must be positive, got {}", lora.rank));
  require(lora.alpha > 0.0 && std::isfinite(lora.alpha),
          fmt::format("--lora_alpha must be positive, got {}", lora.alpha));
  require(lora.dropout >= 0.0 && lora.dropout < 1.0,
          fmt::format("--lora_dropout must be in [0, 1), got {}", lora.dropout));
  require(adamw.loraplus_lr_ratio > 0.0 && std::isfinite(adamw.loraplus_lr_ratio),
          fmt::format("--loraplus_lr_ratio must be positive, got {}", adamw.loraplus_lr_ratio));
  require(neftune_noise_alpha >= 0.0 && std::isfinite(neftune_noise_alpha),
          fmt::format("--neftune_noise_alpha must not be negative, got {}", neftune_noise_alpha));
  require(!quantize || low_rank_training,
          "--quantize keeps the weights frozen: it needs --low_rank_training True");
  require(!quantize || !init_random, "--quantize needs a model to start from, not --init random");
  require(!quantize || ops::is_nf4_block_size(quantize->block_size),
          "--quantize_block must be 32, 64, 128, 256, 512, 1024, 2048 or 4096");
}

void TrainOptions::require_steps(const Require& require) const {
  require(max_steps >= 0,
          fmt::format("--max_steps must be positive, or -1 for --num_train_epochs, got {}", max_steps));
  require(max_steps > 0 || (num_train_epochs > 0.0 && std::isfinite(num_train_epochs)),
          fmt::format("--num_train_epochs must be positive, got {}", num_train_epochs));
  require(
      per_device_train_batch_size > 0 && per_device_eval_batch_size > 0 && gradient_accumulation_steps > 0,
      "--per_device_train_batch_size, --per_device_eval_batch_size and --gradient_accumulation_steps must be "
      "positive");
  require(learning_rate >= 0.0 && std::isfinite(learning_rate),
          fmt::format("--learning_rate must be a number and not negative, got {}", learning_rate));
  require(warmup_steps >= 0, fmt::format("--warmup_steps must not be negative, got {}", warmup_steps));
  require(warmup_ratio >= 0.0 && warmup_ratio <= 1.0,
          fmt::format("--warmup_ratio must be in [0, 1], got {}", warmup_ratio));
  require(max_grad_norm >= 0.0, fmt::format("--max_grad_norm must not be negative, got {}", max_grad_norm));
  require(adamw.beta1 >= 0.0 && adamw.beta1 < 1.0 && adamw.beta2 >= 0.0 && adamw.beta2 < 1.0,
          "--adam_beta1 and --adam_beta2 must be in [0, 1)");
  require(adamw.epsilon > 0.0 && adamw.weight_decay >= 0.0 && std::isfinite(adamw.weight_decay),
          "--adam_epsilon must be positive and --weight_decay not negative");
  require(save_steps >= 0 && save_total_limit >= 0 && eval_steps >= 0 && logging_steps > 0,
          "--save_steps, --save_total_limit and --eval_steps must not be negative, --logging_steps positive");
  constexpr double kMostTokens = 1e15;
  require(
      static_cast<double>(per_device_train_batch_size) * static_cast<double>(gradient_accumulation_steps) *
              static_cast<double>(model_max_length) <
          kMostTokens,
      "--model_max_length, --per_device_train_batch_size and --gradient_accumulation_steps give an update "
      "more than 10^15 tokens");
  require(schedule != ScheduleType::kPolynomial || learning_rate > 1e-7,
          "--lr_scheduler_type polynomial ends at a rate of 1e-7: it needs a higher --learning_rate");
  require(eval_steps == 0 || !eval_data_path.empty(), "--eval_steps needs --eval_data_path, held-out data");
  require(full_attention_steps >= 0,
          fmt::format("--full_attention_steps must not be negative, got {}", full_attention_steps));
}

Json TrainOptions::identity() const {
  Json json = {{"init", init_name(*this)},
               {"fp32", fp32},
               {"model_max_length", model_max_length},
               {"rope_scaling", model::rope_type_name(rope_scaling)},
               {"attention", attention == AttentionKind::kFull ? "full" : "s2"},
               {"group_size", group_tokens()},
               {"full_attention_steps", full_attention_steps},
               {"low_rank_training", low_rank_training},
               {"trainable_params", trainable_params},
               {"lora_r", lora.rank},
               {"lora_alpha", lora.alpha},
               {"lora_target_modules",
                lora.target_pattern.empty() ? Json(lora.target_modules) : Json(lora.target_pattern)},
               {"text_field", text_field},
               {"bin_dtype", bin_dtype},
               {"shuffle", shuffle},
               {"seed", seed},
               {"per_device_train_batch_size", per_device_train_batch_size},
               {"gradient_accumulation_steps", gradient_accumulation_steps},
               {"dataloader_drop_last", dataloader_drop_last},
               {"learning_rate", learning_rate},
               {"warmup_steps", warmup_steps},
               {"lr_scheduler_type", schedule_name(schedule)},
               {"adam_beta1", adamw.beta1},
               {"adam_beta2", adamw.beta2},
               {"adam_epsilon", adamw.epsilon},
               {"weight_decay", adamw.weight_decay},
               {"max_grad_norm", max_grad_norm}};
  if (quantize)
    json["quantize"] = {
        {"type", "nf4"}, {"block_size", quantize->block_size}, {"double_quant", quantize->double_quant}};
  else
    json["quantize"] = nullptr;
  if (warmup_ratio > 0.0) json["warmup_ratio"] = warmup_ratio;
  if (data_seed) json["data_seed"] = *data_seed;
  json["use_rslora"] = lora.use_rslora;
  json["use_dora"] = lora.use_dora;
  json["optim"] = optimizer_name(adamw);
  json["lora_dropout"] = lora.dropout;
  json["loraplus_lr_ratio"] = adamw.loraplus_lr_ratio;
  json["neftune_noise_alpha"] = neftune_noise_alpha;
  if (!supervised) return json;
  json["prompt"] = tokenizer::prompt_form_name(prompt);
  json["truncate"] = data::truncation_name(truncation);
  json["packing"] = packing;
  json["group_by_length"] = group_by_length;
  json["reference_sft_groups"] = reference_sft_groups;
  return json;
}

Json TrainOptions::to_json() const {
  Json json = {{"model_name_or_path", model_name_or_path.string()},
               {"config", config_file.string()},
               {"peft_model", peft_model.string()},
               {"tokenizer", tokenizer_path.string()},
               {"data_path", paths_json(data_path)},
               {"max_steps", max_steps},
               {"num_train_epochs", num_train_epochs}};
  json.update(identity());
  json["eval_data_path"] = paths_json(eval_data_path);
  json["output_dir"] = output_dir.string();
  json["device"] = device.str();
  json["attention_backend"] = attention_backend;
  json["threads"] = at::get_num_threads();
  json["memory_budget_bytes"] = memory_budget_bytes;  // 0: what the machine has available
  json["scratch_dir"] = scratch_folder().string();
  json["gradient_checkpointing"] = recompute_name(recompute);
  json["resume"] = resume;
  json["overwrite_output_dir"] = overwrite_output_dir;
  json["save_steps"] = save_steps;
  json["save_total_limit"] = save_total_limit;
  json["eval_steps"] = eval_steps;
  json["logging_steps"] = logging_steps;
  json["per_device_eval_batch_size"] = per_device_eval_batch_size;
  if (!supervised) return json;
  json["skip_bad_samples"] = skip_bad_samples;
  json["cache_tokens"] = cache_tokens;
  return json;
}

int64_t TrainOptions::group_for(int64_t document_tokens) const {
  if (attention == AttentionKind::kFull) return 0;
  if (reference_sft_groups)
    return document_tokens % 4096 == 0 ? std::max<int64_t>(1, document_tokens / 4) : 8192;
  return group_size > 0 ? group_size : ops::group_tokens_for_ratio(model_max_length, group_size_ratio);
}

int64_t TrainOptions::warmup_updates(int64_t num_updates) const {
  return warmup_ratio > 0.0 ? static_cast<int64_t>(std::ceil(static_cast<double>(num_updates) * warmup_ratio))
                            : warmup_steps;
}

PlanRequest TrainOptions::plan_request() const {
  ops::SegmentPlanOptions row;
  row.row_tokens = model_max_length;
  row.group_tokens = group_tokens();
  const ops::SegmentPlan plan = ops::make_segment_plan(row);
  PlanRequest request;
  request.batch_tokens = per_device_train_batch_size * model_max_length;
  request.row_tokens = model_max_length;
  request.window_tokens = window_tokens();
  request.longest_segment_tokens = longest_segment(plan);
  if (reference_sft_groups)  // of documents of any length
    request.longest_segment_tokens = std::max(
        {request.longest_segment_tokens, std::min<int64_t>(8192, model_max_length), model_max_length / 4});
  if (full_attention_steps > 0) request.longest_segment_tokens = model_max_length;
  request.seen_tokens = mean_seen_tokens(plan);
  request.embedding_noise = neftune_noise_alpha > 0.0;
  request.dropout = lora.dropout > 0.0;
  request.moments_in_8_bits = adamw.moments_in_8_bits;
  request.weight_decay = adamw.weight_decay > 0.0;
  request.recompute = recompute;
  request.disk = device.is_cpu();
  request.on_gpu = !device.is_cpu();
  request.num_threads = at::get_num_threads();
  return request;
}

void validate(const TrainOptions& options) {
  const auto problems = options.problems();
  if (problems.empty()) return;
  throw UsageError(fmt::format("{}", fmt::join(problems, "\n  ")));
}

}  // namespace longlora::train
