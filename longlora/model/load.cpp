#include "longlora/model/load.h"

#include <ATen/CPUGeneratorImpl.h>
#include <c10/core/GradMode.h>
#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "longlora/checkpoint/nf4_files.h"
#include "longlora/core/error.h"
#include "longlora/core/file.h"
#include "longlora/core/log.h"
#include "longlora/model/stored_model.h"
#include "longlora/tensors/dtypes.h"

namespace longlora::model {
namespace {

namespace fs = std::filesystem;

using Shape = std::vector<int64_t>;

// Gives every parameter of a block its value by calling make(parameter, name, shape, role).
template <typename Make>
void fill_block(Block& block, const ModelConfig& config, const std::string& prefix, const Make& make) {
  const BlockForm& form = config.form;
  const ModuleNames& names = *block.names;
  const int64_t width = config.hidden_size, feed_forward = config.intermediate_size;
  const int64_t query_width = config.num_attention_heads * config.head_dim;
  const int64_t key_width = config.num_key_value_heads * config.head_dim;
  const auto fill_norm = [&](Norm& norm, const char* name, int64_t size) {
    make(norm.weight, prefix + name + ".weight", {size}, ParameterRole::kNormWeight);
    if (form.norm == NormKind::kLayer)
      make(norm.bias, prefix + name + ".bias", {size}, ParameterRole::kNormBias);
  };
  const auto fill = [&](Linear& linear, const char* name, int64_t out, int64_t in, bool bias) {
    make(linear.weight, prefix + name + ".weight", {out, in}, ParameterRole::kWeight);
    if (bias) make(linear.bias, prefix + name + ".bias", {out}, ParameterRole::kBias);
  };
  fill_norm(block.input_layernorm, names.input_layernorm, width);
  if (form.qkv == QkvLayout::kSeparate) {
    fill(block.q_proj, names.q_proj, query_width, width, form.qkv_bias);
    fill(block.k_proj, names.k_proj, key_width, width, form.qkv_bias);
    fill(block.v_proj, names.v_proj, key_width, width, form.qkv_bias);
  } else {
    fill(block.qkv_proj, names.qkv_proj, query_width + 2 * key_width, width, form.qkv_bias);
  }
  if (form.query_key_norm == QueryKeyNorm::kPerHead) {
    fill_norm(block.q_norm, names.q_norm, config.head_dim);
    fill_norm(block.k_norm, names.k_norm, config.head_dim);
  }
  fill(block.o_proj, names.o_proj, width, query_width, form.output_bias);
  if (form.residual != ResidualForm::kSharedNorm)
    fill_norm(block.post_attention_layernorm, names.post_attention_layernorm, width);
  if (form.mlp == MlpForm::kFusedGated)
    fill(block.gate_up_proj, names.gate_up_proj, 2 * feed_forward, width, form.mlp_bias);
  if (form.mlp == MlpForm::kGated) fill(block.gate_proj, names.gate_proj, feed_forward, width, form.mlp_bias);
  if (form.mlp != MlpForm::kFusedGated)
    fill(block.up_proj, names.up_proj, feed_forward, width, form.mlp_bias);
  fill(block.down_proj, names.down_proj, width, feed_forward, form.mlp_bias);
}

// Gives every parameter its value by calling make(parameter, name, shape, role).
template <typename Make>
Decoder build_decoder(const ModelConfig& config, const Make& make) {
  const ModuleNames& names = config.family().names;
  Decoder decoder;
  decoder.config = config;
  make(decoder.embed_tokens, embedding_name(config), {config.vocab_size, config.hidden_size},
       ParameterRole::kEmbedding);
  decoder.blocks.resize(config.num_hidden_layers);
  for (size_t i = 0; i < decoder.blocks.size(); ++i) {
    Block& block = decoder.blocks[i];
    block.names = &names;
    block.window_tokens = config.layer_window(i);
    fill_block(block, config, block_prefix(names, i), make);
  }
  make(decoder.norm.weight, std::string(names.norm) + ".weight", {config.hidden_size},
       ParameterRole::kNormWeight);
  if (config.form.norm == NormKind::kLayer)
    make(decoder.norm.bias, std::string(names.norm) + ".bias", {config.hidden_size},
         ParameterRole::kNormBias);
  if (!config.tie_word_embeddings)
    make(decoder.lm_head, head_name(config), {config.vocab_size, config.hidden_size}, ParameterRole::kHead);
  return decoder;
}

// Logs a line where the files hold tensors that the model does not use. They may mean that config.json names
// another architecture than that of the weights.
void warn_about_unused(const checkpoint::TensorStore& store, const std::set<std::string>& used,
                       const Family& family) {
  const auto is_harmless = [&](const std::string& name) {
    if (name.find("rotary_emb.inv_freq") != std::string::npos) return true;
    if (name == std::string(family.names.lm_head) + ".weight") return true;
    return std::any_of(family.ignored_tensors.begin(), family.ignored_tensors.end(),
                       [&](const std::string& end) { return name.ends_with(end); });
  };
  std::vector<std::string> unused;
  for (const auto& [name, info] : store.tensors())
    if (!used.count(name) && !is_harmless(name)) unused.push_back(name);
  if (!unused.empty())
    log_warning(fmt::format(
        "{} tensors of the checkpoint are not part of this architecture and are ignored, the first: {}",
        unused.size(), unused[0]));
}

// Returns a weight on `device`. For a GPU it is copied from the mapped file without a copy in memory, where
// the file holds it in `dtype`.
at::Tensor load_to(at::Device device, const checkpoint::TensorStore& store, const std::string& name,
                   const std::vector<int64_t>& shape, at::ScalarType dtype) {
  if (device.is_cpu() || !store.can_view(name, dtype)) return store.load(name, shape, dtype).to(device);
  at::Tensor value = store.view(name, shape).to(device);
  store.release(name);
  return value;
}

// Draws attention weights in the mimetic way (Trockman and Kolter 2023, arXiv 2305.09828): query and key
// projections share most of their weights, and the output projection is the transpose of the value
// projection. So a head begins by attending to its own token and passing it on.
void make_mimetic(Block& block, const ModelConfig& config, at::Generator& generator) {
  constexpr double kShared = 2.5,
                   kValue = 1.5;  // in units of initializer_range; the parts that are not shared have 1
  const at::ScalarType dtype = block.q_proj.weight.value.scalar_type();
  const int64_t width = config.hidden_size, head_dim = config.head_dim;
  const int64_t key_heads = config.num_key_value_heads, per_key = config.num_attention_heads / key_heads;
  const auto normal = [&](int64_t heads) {
    return at::empty({heads, head_dim, width}, at::kFloat).normal_(0.0, config.initializer_range, generator);
  };
  // `rows` turns [heads, D, C] into the rows of a projection. `for_queries` repeats the part of a key head
  // for each of its query heads.
  const auto rows = [&](const at::Tensor& heads) { return heads.reshape({-1, width}).to(dtype); };
  const auto for_queries = [&](const at::Tensor& heads) { return heads.repeat_interleave(per_key, 0); };
  const at::Tensor shared = normal(key_heads) * kShared;
  block.q_proj.weight.value = rows(for_queries(shared) + normal(config.num_attention_heads));
  block.k_proj.weight.value = rows(shared + normal(key_heads));
  const at::Tensor values = normal(key_heads) * kValue;
  block.v_proj.weight.value = rows(values);
  block.o_proj.weight.value = rows(for_queries(values) / per_key).t().contiguous();
}

}  // namespace

void refuse_low_rank_pairs(const checkpoint::TensorStore& store, const fs::path& directory) {
  for (const auto& [name, info] : store.tensors())
    if (name.find(".lora_A.") != std::string::npos)
      throw InputError(fmt::format(
          "[{}] expected a model, got a training checkpoint with low-rank pairs beside its weights ({}); "
          "take the pairs out with get-trainable-weights and give them as the adapter of the base model",
          directory.string(), name));
}

Decoder load_decoder(const fs::path& directory, at::ScalarType dtype, const LoadOptions& options) {
  return load_decoder(open_stored_model(directory), dtype, options);
}

Decoder load_decoder(const StoredModel& stored, at::ScalarType dtype, const LoadOptions& options) {
  const fs::path& directory = stored.directory;
  const ModelConfig& config = stored.config;
  const checkpoint::TensorStore& store = stored.weights;
  require_head(stored, directory);
  warn_about_own_head(config, directory);
  const bool quantizes = options.quantize && !config.quantization;
  std::set<std::string> used;
  Decoder decoder = build_decoder(config, [&](Parameter& parameter, const std::string& name,
                                              const Shape& shape, ParameterRole role) {
    used.insert(name);
    if (role == ParameterRole::kWeight && checkpoint::is_stored_quantized(store, name)) {
      parameter.value =
          ops::Weight(ops::on_device(checkpoint::load_nf4(store, name, shape), options.device), dtype);
      for (const std::string& part : checkpoint::nf4_part_names(name)) used.insert(part);
    } else if (role == ParameterRole::kWeight && quantizes) {
      parameter.value = ops::Weight(
          ops::on_device(checkpoint::quantize_stored(store, name, shape, *options.quantize), options.device),
          dtype);
    } else if (options.left_in_files.count(name)) {
      store.check(name, shape, dtype);
      parameter.value = at::empty(shape, at::TensorOptions(dtype).device(at::kMeta));
    } else {
      parameter.value = load_to(options.device, store, name, shape, dtype);
    }
  });
  if (quantizes) decoder.config.quantization = options.quantize;
  if (options.quantize && config.quantization)
    log_info(fmt::format("{} is in four bits already, in blocks of {}: --quantize leaves it as it is",
                         directory.string(), config.quantization->block_size));
  warn_about_unused(store, used, config.family());
  const std::string embedding = embedding_name(config);
  if (store.info(embedding).dtype == at::kHalf && dtype != at::kHalf)
    log_info(fmt::format("{} is stored in float16 and computed in {}", directory.string(),
                         tensors::dtype_name(dtype)));
  return decoder;
}

Decoder random_decoder(const ModelConfig& config, at::ScalarType dtype, uint64_t seed,
                       AttentionInit attention_init) {
  if (attention_init == AttentionInit::kMimetic && config.form.qkv != QkvLayout::kSeparate)
    throw InputError(fmt::format(
        "[--attention_init mimetic] expected separate query, key and value weights, got {}, which "
        "fuses them; use normal",
        config.family().model_type));
  at::Generator generator = at::detail::createCPUGenerator(seed);
  Decoder decoder = build_decoder(
      config, [&](Parameter& parameter, const std::string&, const Shape& shape, ParameterRole role) {
        if (role == ParameterRole::kBias || role == ParameterRole::kNormBias) {
          parameter.value = at::zeros(shape, dtype);
          return;
        }
        at::Tensor weight = at::ones(shape, at::kFloat);
        if (is_matrix(role)) weight.normal_(0.0, config.initializer_range, generator);
        parameter.value = weight.to(dtype);
      });
  if (attention_init == AttentionInit::kMimetic)
    for (Block& block : decoder.blocks) make_mimetic(block, config, generator);
  return decoder;
}

void move_decoder(Decoder& decoder, at::Device device) {
  visit_parameters(decoder, [&](const std::string&, Parameter& parameter) {
    parameter.value = parameter.value.dense().to(device);
  });
}

Decoder shape_decoder(const ModelConfig& config, at::ScalarType dtype) {
  return build_decoder(
      config, [&](Parameter& parameter, const std::string&, const Shape& shape, ParameterRole role) {
        if (role == ParameterRole::kWeight && config.quantization)
          parameter.value = ops::Weight(checkpoint::nf4_of_shape(shape, *config.quantization), dtype);
        else
          parameter.value = at::empty(shape, at::TensorOptions(dtype).device(at::kMeta));
      });
}

checkpoint::NamedTensors model_tensors(const Decoder& decoder, at::ScalarType dtype,
                                       const PreciseValue& precise) {
  checkpoint::NamedTensors tensors;
  visit_parameters(decoder, [&](const std::string& name, ParameterRole role, const Parameter& parameter) {
    if (is_of_pair(role)) return;
    if (parameter.value.is_nf4()) return checkpoint::append_nf4_tensors(name, parameter.value.nf4(), tensors);
    // The value is the precise one rounded to the compute dtype. Where that dtype is wanted, the value is
    // taken as it is.
    const bool rounded = parameter.value.scalar_type() == dtype;
    const at::Tensor source = precise && !rounded ? precise(parameter) : parameter.value.dense();
    tensors.emplace_back(name, source.detach().to(dtype));
  });
  return tensors;
}

void save_decoder(const Decoder& decoder, const fs::path& directory, at::ScalarType dtype,
                  const PreciseValue& precise) {
  write_json(directory / "config.json", model_config_json(decoder.config, tensors::dtype_name(dtype)));
  checkpoint::write_model_tensors(directory, model_tensors(decoder, dtype, precise));
}

at::Tensor mean_of_rows(const at::Tensor& weight) {
  constexpr int64_t kRows = 1024;  // a copy of all rows in double would be larger than the weight
  at::Tensor sum = at::zeros({1, weight.size(1)}, at::kDouble);
  for (const at::Tensor& rows : weight.split(kRows)) sum.add_(rows.sum({0}, /*keepdim=*/true, at::kDouble));
  return sum.div_(static_cast<double>(weight.size(0))).to(weight.scalar_type());
}

at::Tensor with_rows(const at::Tensor& weight, int64_t rows) {
  const c10::NoGradGuard no_grad;
  const int64_t present = weight.size(0);
  if (rows <= present) return weight.narrow(0, 0, rows);
  return at::cat({weight, mean_of_rows(weight).expand({rows - present, weight.size(1)})});
}

}  // namespace longlora::model
