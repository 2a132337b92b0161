// The reference models of tests/data/goldens and their logits.
#pragma once

#include <string>

#include "longlora/checkpoint/tensor_store.h"
#include "longlora/model/load.h"
#include "tests/support/plain_forward.h"
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

/// Logits [rows, tokens, V].
inline at::Tensor logits_of(const Decoder& decoder, const at::Tensor& ids) {
  const at::Tensor hidden = test::hidden_states(decoder, ids);
  return at::matmul(hidden, decoder.head().value.dense().t()).detach().view({ids.size(0), ids.size(1), -1});
}

}  // namespace longlora::model
