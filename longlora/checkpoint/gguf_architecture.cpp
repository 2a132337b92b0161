#include "longlora/checkpoint/gguf_architecture.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>

#include "longlora/checkpoint/bytes.h"
#include "longlora/core/error.h"

namespace longlora::checkpoint {
namespace {

std::vector<GgufModule> usual_outer() {
  return {{"token_embd", "model.embed_tokens"}, {"output_norm", "model.norm"}, {"output", "lm_head"}};
}

std::vector<GgufModule> usual_blocks() {
  return {{"attn_norm", "input_layernorm"},    {"attn_q", "self_attn.q_proj"},
          {"attn_k", "self_attn.k_proj"},      {"attn_v", "self_attn.v_proj"},
          {"attn_output", "self_attn.o_proj"}, {"attn_q_norm", "self_attn.q_norm"},
          {"attn_k_norm", "self_attn.k_norm"}, {"ffn_norm", "post_attention_layernorm"},
          {"ffn_gate", "mlp.gate_proj"},       {"ffn_up", "mlp.up_proj"},
          {"ffn_down", "mlp.down_proj"}};
}

GgufArchitecture llama() {
  return {.name = "llama",
          .architecture = "LlamaForCausalLM",
          .model_type = "llama",
          .is_interleaved = true,
          .outer = usual_outer(),
          .blocks = usual_blocks()};
}

GgufArchitecture qwen(const char* name, const char* architecture) {
  return {.name = name,
          .architecture = architecture,
          .model_type = name,
          .outer = usual_outer(),
          .blocks = usual_blocks()};
}

GgufArchitecture phi3() {
  return {.name = "phi3",
          .architecture = "Phi3ForCausalLM",
          .model_type = "phi3",
          .fraction_setting = "partial_rotary_factor",
          .outer = usual_outer(),
          .blocks = {{"attn_norm", "input_layernorm"},
                     {"attn_qkv", "self_attn.qkv_proj"},
                     {"attn_output", "self_attn.o_proj"},
                     {"ffn_norm", "post_attention_layernorm"},
                     {"ffn_up", "mlp.gate_up_proj"},
                     {"ffn_down", "mlp.down_proj"}}};
}

GgufArchitecture gpt_neox() {
  return {.name = "gptneox",
          .architecture = "GPTNeoXForCausalLM",
          .model_type = "gpt_neox",
          .norm_key = "attention.layer_norm_epsilon",
          .norm_setting = "layer_norm_eps",
          .theta_setting = "rotary_emb_base",
          .fraction_setting = "rotary_pct",
          .activation = "gelu",
          .is_regrouped = true,
          .free_head_dim = false,
          .outer = {{"token_embd", "gpt_neox.embed_in"},
                    {"output_norm", "gpt_neox.final_layer_norm"},
                    {"output", "embed_out"}},
          .blocks = {{"attn_norm", "input_layernorm"},
                     {"attn_qkv", "attention.query_key_value"},
                     {"attn_output", "attention.dense"},
                     {"ffn_norm", "post_attention_layernorm"},
                     {"ffn_up", "mlp.dense_h_to_4h"},
                     {"ffn_down", "mlp.dense_4h_to_h"}},
          .layers = "gpt_neox.layers."};
}

GgufArchitecture stablelm() {
  return {.name = "stablelm",
          .architecture = "StableLmForCausalLM",
          .model_type = "stablelm",
          .norm_key = "attention.layer_norm_epsilon",
          .norm_setting = "layer_norm_eps",
          .fraction_setting = "partial_rotary_factor",
          .free_head_dim = false,
          .outer = usual_outer(),
          .blocks = usual_blocks()};
}

const std::vector<GgufArchitecture>& architectures() {
  static const std::vector<GgufArchitecture> all = {
      llama(),   qwen("qwen2", "Qwen2ForCausalLM"), qwen("qwen3", "Qwen3ForCausalLM"), phi3(), gpt_neox(),
      stablelm()};
  return all;
}

// The name of a module in the one naming by that in the other; null where there is none.
using Naming = const char* GgufModule::*;
const char* find_module(const std::vector<GgufModule>& modules, Naming from, Naming to,
                        const std::string& name) {
  for (const GgufModule& module : modules)
    if (name == module.*from) return module.*to;
  return nullptr;
}

// A name in the other naming; blocks begin with `from_blocks` and a number there, and with `to_blocks` here.
std::optional<std::string> translated(const GgufArchitecture& architecture, const std::string& name,
                                      Naming from, const std::string& from_blocks, Naming to,
                                      const std::string& to_blocks) {
  const size_t dot = name.rfind('.');
  if (dot == std::string::npos) return std::nullopt;
  const std::string module = name.substr(0, dot), kind = name.substr(dot);
  if (kind != ".weight" && kind != ".bias") return std::nullopt;
  if (!module.starts_with(from_blocks)) {
    const char* found = find_module(architecture.outer, from, to, module);
    return found == nullptr ? std::nullopt : std::optional(found + kind);
  }
  const size_t end = module.find('.', from_blocks.size());
  if (end == std::string::npos) return std::nullopt;
  const std::string number = module.substr(from_blocks.size(), end - from_blocks.size());
  const bool is_number =
      !number.empty() && (number == "0" || number.front() != '0') &&
      std::all_of(number.begin(), number.end(), [](unsigned char c) { return std::isdigit(c) != 0; });
  const char* found =
      is_number ? find_module(architecture.blocks, from, to, module.substr(end + 1)) : nullptr;
  if (found == nullptr) return std::nullopt;
  return to_blocks + number + "." + found + kind;
}

}  // namespace

const GgufArchitecture* find_gguf_architecture(const std::string& name) {
  for (const GgufArchitecture& known : architectures())
    if (name == known.name) return &known;
  return nullptr;
}

std::string gguf_architecture_names() {
  std::string names;
  for (const GgufArchitecture& known : architectures())
    names += (names.empty() ? "" : ", ") + std::string(known.name);
  return names;
}

std::optional<std::string> hugging_face_name(const GgufArchitecture& architecture, const std::string& name) {
  return translated(architecture, name, &GgufModule::gguf, "blk.", &GgufModule::hugging_face,
                    architecture.layers);
}

std::optional<std::string> gguf_name(const GgufArchitecture& architecture, const std::string& name) {
  return translated(architecture, name, &GgufModule::hugging_face, architecture.layers, &GgufModule::gguf,
                    "blk.");
}

std::optional<RowSwap> gguf_row_swap(const GgufArchitecture& architecture, const GgufHeads& heads,
                                     const std::string& name, int64_t rows, const std::string& source) {
  const auto is = [&](const char* module) {
    return name.find(std::string(".") + module + ".") != std::string::npos;
  };
  const bool is_query = architecture.is_interleaved && is("attn_q");
  const bool is_key = architecture.is_interleaved && is("attn_k");
  const bool is_fused = architecture.is_regrouped && is("attn_qkv");
  if (!is_query && !is_key && !is_fused) return std::nullopt;
  const int64_t parts =
      is_fused ? 3 * heads.num_heads : 2 * (is_query ? heads.num_heads : heads.num_key_value_heads);
  if (rows % parts != 0)
    throw InputError(fmt::format("[{}] tensor \"{}\": expected a multiple of {} rows, got {}", source,
                                 shown_text(name), parts, rows));
  if (is_fused) return RowSwap{3, heads.num_heads, rows / parts};
  return RowSwap::rotary(rows / parts * 2);
}

bool is_rotary_factors(const std::string& name) {
  return name == kGgufRopeFactors || name == kGgufLongFactors || name == kGgufShortFactors;
}

}  // namespace longlora::checkpoint
