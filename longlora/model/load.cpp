#include "longlora/model/load.h"

#include <ATen/CPUGeneratorImpl.h>
#include <c10/core/GradMode.h>
#include <fmt/format.h>

#include <set>

#include "longlora/core/error.h"
#include "longlora/core/log.h"
#include "longlora/tokenizer/tokenizer.h"

namespace longlora::model {
namespace {

namespace fs = std::filesystem;

/// Gives every parameter its shape by calling make(name, shape).
template <typename Make>
Decoder build_decoder(const ModelConfig& config, const Make& make) {
  const int64_t width = config.hidden_size, feed_forward = config.intermediate_size;
  const int64_t query_width = config.num_attention_heads * config.head_dim;
  const int64_t key_width = config.num_key_value_heads * config.head_dim;
  Decoder decoder;
  decoder.config = config;
  decoder.embed_tokens.value = make("model.embed_tokens.weight", {config.vocab_size, width});
  decoder.blocks.resize(config.num_hidden_layers);
  for (size_t i = 0; i < decoder.blocks.size(); ++i) {
    Block& block = decoder.blocks[i];
    const std::string prefix = block_prefix(i);
    const auto fill = [&](Parameter& parameter, const char* name, const std::vector<int64_t>& shape) {
      parameter.value = make(prefix + name + ".weight", shape);
    };
    fill(block.input_layernorm, "input_layernorm", {width});
    fill(block.q_proj.weight, "self_attn.q_proj", {query_width, width});
    fill(block.k_proj.weight, "self_attn.k_proj", {key_width, width});
    fill(block.v_proj.weight, "self_attn.v_proj", {key_width, width});
    fill(block.o_proj.weight, "self_attn.o_proj", {width, query_width});
    fill(block.post_attention_layernorm, "post_attention_layernorm", {width});
    fill(block.gate_proj.weight, "mlp.gate_proj", {feed_forward, width});
    fill(block.up_proj.weight, "mlp.up_proj", {feed_forward, width});
    fill(block.down_proj.weight, "mlp.down_proj", {width, feed_forward});
  }
  decoder.norm.value = make("model.norm.weight", {width});
  if (!config.tie_word_embeddings) decoder.lm_head.value = make("lm_head.weight", {config.vocab_size, width});
  return decoder;
}

/// Tensors in the files that the model does not use are worth a line: they may
/// mean that the architecture is not what config.json says.
void warn_about_unused(const checkpoint::TensorStore& store, const std::set<std::string>& used) {
  std::vector<std::string> unused;
  for (const auto& [name, info] : store.tensors()) {
    const bool harmless = name.find("rotary_emb.inv_freq") != std::string::npos || name == "lm_head.weight";
    if (!used.count(name) && !harmless) unused.push_back(name);
  }
  if (!unused.empty())
    log_warning(fmt::format(
        "{} tensors of the checkpoint are not part of this architecture and are ignored, the first: {}",
        unused.size(), unused[0]));
}

at::Tensor grown_rows(const at::Tensor& weight, int64_t rows) {
  const at::Tensor mean = weight.to(at::kFloat).mean({0}, /*keepdim=*/true).to(weight.scalar_type());
  return at::cat({weight, mean.expand({rows - weight.size(0), weight.size(1)})});
}

}  // namespace

Decoder load_decoder(const fs::path& directory, at::ScalarType dtype) {
  const ModelConfig config = read_model_config(directory);
  const checkpoint::TensorStore store = checkpoint::TensorStore::open_model_directory(directory);
  std::set<std::string> used;
  Decoder decoder = build_decoder(config, [&](const std::string& name, const std::vector<int64_t>& shape) {
    used.insert(name);
    return store.load(name, shape, dtype);
  });
  warn_about_unused(store, used);
  return decoder;
}

Decoder random_decoder(const ModelConfig& config, at::ScalarType dtype, uint64_t seed) {
  at::Generator generator = at::detail::createCPUGenerator(seed);
  return build_decoder(config, [&](const std::string&, const std::vector<int64_t>& shape) {
    at::Tensor weight = at::ones(shape, at::kFloat);
    if (shape.size() == 2) weight.normal_(0.0, config.initializer_range, generator);
    return weight.to(dtype);
  });
}

Decoder shape_decoder(const ModelConfig& config, at::ScalarType dtype) {
  return build_decoder(config, [&](const std::string&, const std::vector<int64_t>& shape) {
    return at::empty(shape, at::TensorOptions(dtype).device(at::kMeta));
  });
}

checkpoint::NamedTensors model_tensors(const Decoder& decoder, at::ScalarType dtype) {
  checkpoint::NamedTensors tensors;
  visit_parameters(decoder, [&](const std::string& name, const Parameter& parameter) {
    if (name.find(".lora_") != std::string::npos) return;
    const at::Tensor& source = parameter.trainable() ? parameter.master : parameter.value;
    tensors.emplace_back(name, source.detach().to(dtype));
  });
  return tensors;
}

void save_decoder(const Decoder& decoder, const fs::path& directory, at::ScalarType dtype) {
  write_json(directory / "config.json", model_config_json(decoder.config, dtype_name(dtype)));
  checkpoint::write_model_tensors(directory, model_tensors(decoder, dtype));
}

void copy_companion_files(const fs::path& from, const fs::path& to) {
  tokenizer::copy_tokenizer_files(from, to);
  const fs::path generation = from / "generation_config.json";
  if (fs::exists(generation)) write_file_atomic(to / "generation_config.json", read_file(generation));
}

std::string dtype_name(at::ScalarType dtype) {
  if (dtype == at::kFloat) return "float32";
  if (dtype == at::kBFloat16) return "bfloat16";
  throw Error("[dtype] expected float32 or bfloat16");
}

void grow_vocabulary(Decoder& decoder, int64_t vocab_size) {
  const int64_t present = decoder.config.vocab_size;
  if (vocab_size < present)
    throw InputError(
        fmt::format("[vocabulary] expected at least the model's {} rows, got {}; was the adapter made for "
                    "another base model?",
                    present, vocab_size));
  if (vocab_size == present) return;
  const c10::NoGradGuard no_grad;
  decoder.embed_tokens.value = grown_rows(decoder.embed_tokens.value, vocab_size);
  if (decoder.lm_head.value.defined()) decoder.lm_head.value = grown_rows(decoder.lm_head.value, vocab_size);
  decoder.config.vocab_size = vocab_size;
}

}  // namespace longlora::model
