// The reference models of tests/data/goldens, and a forward pass through a whole decoder.
#pragma once

#include <string>

#include "longlora/checkpoint/tensor_store.h"
#include "longlora/model/load.h"
#include "tests/support/tensors.h"

namespace longlora::model {

/// All of goldens/tiny_models.
constexpr const char* kTinyModels[] = {"mha_tied", "gqa_untied", "odd_kv",    "mqa",
                                       "bfloat16", "sharded",    "linear_x4", "yarn_x8"};

/// All of goldens/families: every family, in several shapes and under every rotary scaling.
constexpr const char* kFamilyModels[] = {"llama_biases",   "llama_head_dim",
                                         "llama_gelu",     "llama_dynamic",
                                         "llama_longrope", "llama_llama3",
                                         "mistral",        "mistral_no_window",
                                         "mistral_linear", "qwen2",
                                         "qwen2_window",   "qwen2_yarn",
                                         "qwen3",          "qwen3_biases",
                                         "neox",           "neox_sequential",
                                         "neox_odd_heads", "neox_odd_rotary",
                                         "neox_dynamic",   "phi3",
                                         "stablelm",       "stablelm_parallel",
                                         "phi3_longrope",  "phi3_partial",
                                         "ministral"};

inline std::filesystem::path family_model(const std::string& name) {
  return test::data_path("goldens/families") / name;
}

inline std::filesystem::path tiny_model(const std::string& name) {
  return test::data_path("goldens/tiny_models") / name;
}

/// Final hidden states [N, C] of ids [rows, tokens] under full attention.
inline at::Tensor hidden_states(const Decoder& decoder, const at::Tensor& ids) {
  const int64_t rows = ids.size(0), tokens = ids.size(1);
  const Positions positions = {make_rotary_table(decoder.config, tokens), at::arange(tokens).repeat({rows})};
  const ops::SegmentPlan plan = ops::make_segment_plan({.num_rows = rows, .row_tokens = tokens});
  at::Tensor hidden = embed(decoder, ids);
  for (const Block& block : decoder.blocks)
    hidden = forward_block(block, decoder.config, hidden, positions, plan);
  return final_norm(decoder, hidden);
}

/// Logits [rows, tokens, V].
inline at::Tensor logits_of(const Decoder& decoder, const at::Tensor& ids) {
  const at::Tensor hidden = hidden_states(decoder, ids);
  return at::matmul(hidden, decoder.head().value.dense().t()).detach().view({ids.size(0), ids.size(1), -1});
}

}  // namespace longlora::model
