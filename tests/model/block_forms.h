// Small random models of every form that a decoder block has.
#pragma once

#include <string>
#include <vector>

#include "longlora/model/load.h"
#include "longlora/ops/nf4.h"

namespace longlora::model {

struct FormOfBlock {
  const char* architecture;
  const char* activation;
  std::vector<std::string> attention_modules;
};

inline const FormOfBlock kBlockForms[] = {
    {"LlamaForCausalLM", "silu", {"q_proj", "k_proj", "v_proj", "o_proj"}},
    {"LlamaForCausalLM", "gelu", {"q_proj", "k_proj", "v_proj", "o_proj"}},
    {"Qwen3ForCausalLM", "silu", {"q_proj", "k_proj", "v_proj", "o_proj"}},     // norms of heads
    {"GPTNeoXForCausalLM", "gelu", {"query_key_value", "dense"}},               // parallel, fused, LayerNorm
    {"Phi3ForCausalLM", "silu", {"qkv_proj", "o_proj"}},                        // fused, gated MLP too
    {"StableLmForCausalLM", "silu", {"q_proj", "k_proj", "v_proj", "o_proj"}},  // partial rotation
};

inline ModelConfig small_config(const FormOfBlock& form, int64_t layers) {
  return parse_model_config({{"architectures", {form.architecture}},
                             {"vocab_size", 512},
                             {"hidden_size", 128},
                             {"intermediate_size", 344},
                             {"num_hidden_layers", layers},
                             {"num_attention_heads", 4},
                             {"num_key_value_heads", 2},
                             {"hidden_act", form.activation},
                             {"rope_theta", 10000.0},
                             {"pad_token_id", 0},
                             {"tie_word_embeddings", false},
                             {"max_position_embeddings", 16384}},
                            "test");
}

/// Puts the linear layers of a decoder into four bits.
inline void quantize_layers(Decoder& decoder) {
  visit_linears(decoder, [&](const std::string&, Linear& linear) {
    linear.weight.value = ops::Weight(ops::quantize_nf4(linear.weight.value.dense()), decoder.dtype());
  });
}

}  // namespace longlora::model
