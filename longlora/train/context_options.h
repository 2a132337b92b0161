// The window that a run trains for, and which attention it trains with.
#pragma once

#include <cstdint>
#include <optional>

#include "longlora/model/rope_scaling.h"
#include "longlora/train/option_fields.h"

namespace longlora::train {

enum class AttentionKind { kFull, kShiftedSparse };

struct ContextOptions {
  int64_t model_max_length = 0;  // T, the tokens of a row
  /// The type of rotary scaling that the user asked for. set_up_run replaces it by the type that the run has,
  /// or would have where its window needs no scaling.
  std::optional<model::RopeType> rope_scaling;
  AttentionKind attention = AttentionKind::kShiftedSparse;
  double group_size_ratio = 0.25;
  int64_t group_size = 0;             // in tokens; 0: it follows from the ratio
  bool reference_sft_groups = false;  // whether groups follow the rule of the released supervised fine-tuning
  int64_t full_attention_steps = 0;   // how many of the last steps use full attention

  /// Returns G, the group size, for a document of this length; 0: full attention.
  int64_t group_for(int64_t document_tokens) const;
  /// Returns G for a whole row.
  int64_t group_tokens() const { return group_for(model_max_length); }

  template <typename Options, typename Fields>
  static void list_fields(Options& options, Fields& fields) {
    fields.add("--model_max_length", options.model_max_length, "Tokens of a row: the window to train for",
               {.shows_default = false, .is_required = true});
    fields.check(options.model_max_length >= 2, "--model_max_length must be at least 2, got {}",
                 options.model_max_length);
    const auto rope_type = [](const std::string& name) {
      return std::optional(model::rope_type_from_name(name, "--rope_scaling"));
    };
    fields.choice("--rope_scaling", options.rope_scaling,
                  choices_of(model::extension_rope_types(), rope_type),
                  "How positions are stretched when the window is longer than the model's "
                  "(default: the kind the model carries, else linear)",
                  {.kept = Kept::kNowhere, .shows_default = false});
    fields.record("rope_scaling",
                  model::rope_type_name(options.rope_scaling.value_or(model::RopeType::kLinear)),
                  Kept::kInIdentity);
    fields.choice(
        "--attention", options.attention,
        Choices<AttentionKind>{{"s2", AttentionKind::kShiftedSparse}, {"full", AttentionKind::kFull}},
        "s2: shifted sparse attention; full: every token sees all before it");
    fields.add("--group_size_ratio", options.group_size_ratio, "Group size of s2 as a share of the row",
               {.kept = Kept::kNowhere});
    fields.check(options.group_size_ratio > 0.0 && options.group_size_ratio <= 1.0,
                 "--group_size_ratio must be in (0, 1], got {}", options.group_size_ratio);
    fields.check(options.group_size >= 0 && options.group_size != 1,
                 "--group_size must be at least 2, got {}", options.group_size);
    fields.record(
        "group_size", [&] { return options.group_tokens(); }, Kept::kInIdentity);
    if (options.supervised)
      fields.record("reference_sft_groups", options.reference_sft_groups, Kept::kInIdentity);
    fields.add("--full_attention_steps", options.full_attention_steps,
               "Use full attention in this many steps at the end");
    fields.check(options.full_attention_steps >= 0, "--full_attention_steps must not be negative, got {}",
                 options.full_attention_steps);
  }
};

}  // namespace longlora::train
