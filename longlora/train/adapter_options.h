// What is trained: low-rank pairs and some parameters beside them, or every weight.
#pragma once

#include <cmath>
#include <optional>
#include <string>
#include <vector>

#include "longlora/checkpoint/peft_adapter.h"
#include "longlora/train/option_fields.h"

namespace longlora::train {

struct AdapterOptions {
  bool low_rank_training = true;
  std::vector<std::string> trainable_params = {"embed", "norm"};
  checkpoint::LoraConfig lora;
  std::optional<double> lora_dropout;  // replaces what the adapter of peft_model says
  double neftune_noise_alpha = 0.0;    // 0: no noise

  template <typename Options, typename Fields>
  static void list_fields(Options& options, Fields& fields) {
    auto& lora = options.lora;
    fields.add("--low_rank_training", options.low_rank_training,
               "Train low-rank pairs and --trainable_params alone; False trains every weight");
    fields.check(options.low_rank_training || (lora.dropout == 0.0 && !lora.use_dora),
                 "--lora_dropout and --use_dora are of low-rank pairs: they need --low_rank_training True");
    fields.check(options.peft_model.empty() || options.low_rank_training,
                 "--peft_model goes on from an adapter: it needs --low_rank_training True");
    fields.add("--trainable_params", options.trainable_params,
               "Also train parameters whose names contain one of these; none: the pairs alone (plain LoRA)");
    fields.add("--lora_r", lora.rank, "Rank of the low-rank pairs");
    fields.check(lora.rank > 0, "--lora_r must be positive, got {}", lora.rank);
    if (lora.target_pattern.empty())
      fields.record("lora_target_modules", lora.target_modules, Kept::kInIdentity);
    else
      fields.record("lora_target_modules", lora.target_pattern, Kept::kInIdentity);
    fields.add("--use_dora", lora.use_dora,
               "Learn the length of every row of the adapted weights too (DoRA); takes more time and memory");
    fields.add("--lora_alpha", lora.alpha, "Their scale times the rank");
    fields.check(lora.alpha > 0.0 && std::isfinite(lora.alpha), "--lora_alpha must be positive, got {}",
                 lora.alpha);
    fields.add(
        "--lora_dropout", options.lora_dropout,
        "Share of what the pairs read that is left out in training (default: 0, or what the adapter of "
        "--peft_model says)",
        {.kept = Kept::kNowhere});
    fields.record("lora_dropout", lora.dropout, Kept::kInIdentity);
    fields.check(lora.dropout >= 0.0 && lora.dropout < 1.0, "--lora_dropout must be in [0, 1), got {}",
                 lora.dropout);
    fields.add("--use_rslora", lora.use_rslora, "Scale the pairs by alpha / sqrt(rank), not alpha / rank");
    fields.add("--loraplus_lr_ratio", options.adamw.loraplus_lr_ratio,
               "Learning rate of the pairs' B as a multiple of the rest's (LoRA+ of arXiv 2402.12354)");
    fields.check(options.adamw.loraplus_lr_ratio > 0.0 && std::isfinite(options.adamw.loraplus_lr_ratio),
                 "--loraplus_lr_ratio must be positive, got {}", options.adamw.loraplus_lr_ratio);
    fields.add("--neftune_noise_alpha", options.neftune_noise_alpha,
               "Add noise of this size to the embeddings in training (NEFTune); 0: none");
    fields.check(options.neftune_noise_alpha >= 0.0 && std::isfinite(options.neftune_noise_alpha),
                 "--neftune_noise_alpha must not be negative, got {}", options.neftune_noise_alpha);
  }
};

}  // namespace longlora::train
