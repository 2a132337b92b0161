#include "longlora/model/adapter.h"

#include <ATen/CPUGeneratorImpl.h>
#include <c10/core/GradMode.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <cmath>
#include <map>
#include <optional>
#include <set>
#include <utility>

#include "longlora/core/error.h"
#include "longlora/model/adapter_plan.h"
#include "longlora/model/load.h"
#include "longlora/model/stored_model.h"
#include "longlora/ops/adapter_linear.h"

namespace longlora::model {
namespace {

// Returns the dtype and device of new parameters. They are the decoder's, but where the decoder has no
// values, new parameters are on the CPU.
at::TensorOptions options_of(const Decoder& decoder) {
  const at::Device device = decoder.embed_tokens.value.device();
  return at::TensorOptions(decoder.dtype()).device(device.is_meta() ? at::Device(at::kCPU) : device);
}

// Returns the norms of the rows of a weight with its pair, in float32. For a weight without values the result
// is uninitialised.
at::Tensor weight_norm(const ops::Weight& weight, const LoraPair& pair) {
  if (weight.is_meta()) return at::empty({weight.size(0)}, at::kFloat);
  return ops::adapted_weight_norm({.weight = weight,
                                   .lora_a = pair.a.value.dense().to(at::kFloat),
                                   .lora_b = pair.b.value.dense().to(at::kFloat),
                                   .lora_scale = pair.scale});
}

// Calls visit(pair, weight) for each pair of a layer and the weight that it changes, which `source` brings.
template <typename Visit>
void visit_pairs(Decoder& decoder, size_t layer, const BlockSource& source, const Visit& visit) {
  const std::shared_ptr<const Block> brought = source ? source(layer) : nullptr;
  std::vector<const ops::Weight*> weights;
  visit_block_linears(brought ? *brought : std::as_const(decoder.blocks[layer]),
                      [&](const char*, const Linear& linear) { weights.push_back(&linear.weight.value); });
  size_t next = 0;
  visit_block_linears(decoder.blocks[layer], [&](const char*, Linear& linear) {
    const ops::Weight& weight = *weights[next++];
    if (linear.lora) visit(*linear.lora, weight);
  });
}

void number_pairs(Decoder& decoder) {
  uint64_t place = 0;
  visit_linears(decoder, [&](const std::string&, Linear& linear) {
    if (linear.lora) linear.lora->place = place;
    ++place;
  });
}

LoraPair load_pair(const checkpoint::PeftAdapter& adapter, const std::string& module,
                   const at::TensorOptions& options) {
  LoraPair pair;
  pair.a.value = adapter.load_a(module).to(options);
  pair.b.value = adapter.load_b(module).to(options);
  pair.scale = adapter.config().scaling_of(module);
  if (adapter.config().use_dora)
    pair.magnitude.value = adapter.load_magnitude(module).to(options.dtype(at::kFloat));
  return pair;
}

// Sets the size of the vocabulary, and gives every parameter the value that the adapter has for it. Updates
// of embedding and head are added to their weights, because these have no place for a pair.
void change_parameters(Decoder& decoder, const checkpoint::PeftAdapter& adapter, const AdapterPlan& plan) {
  const at::TensorOptions options = options_of(decoder);
  decoder.config.vocab_size = plan.vocab_size;
  visit_parameters(decoder, [&](const std::string& name, ParameterRole role, Parameter& parameter) {
    const bool is_end = role == ParameterRole::kEmbedding || role == ParameterRole::kHead;
    const TensorChange change = plan.change_of(name);
    const bool is_replaced = !change.parameter.empty();
    if (is_replaced) decoder.of_adapter[name] = change.parameter;
    if (!is_replaced && !is_end) return;
    at::Tensor value = is_replaced ? adapter.load_parameter(change.parameter) : parameter.value.dense();
    if (is_end && value.size(0) != plan.vocab_size) value = with_rows(value, plan.vocab_size);
    if (is_end && (!change.pair.empty() || !change.token_rows.empty())) {
      value = value.to(options.dtype(at::kFloat), /*non_blocking=*/false, /*copy=*/true);
      change_weight(adapter, change, value);
    }
    if (is_replaced || !value.is_same(parameter.value.dense())) parameter.value = value.to(options);
  });
}

std::string first_linear(const Decoder& decoder) {
  std::string first;
  visit_linears(decoder, [&](const std::string& name, const Linear&) {
    if (first.empty()) first = name;
  });
  return first;
}

}  // namespace

std::vector<std::string> linear_names(const Decoder& decoder) {
  std::set<std::string> names;
  visit_linears(decoder, [&](const std::string& name, const Linear&) {
    names.insert(name.substr(name.rfind('.') + 1));
  });
  return {names.begin(), names.end()};
}

void choose_targets(const Decoder& decoder, checkpoint::LoraConfig& config) {
  if (config.target_modules == std::vector<std::string>{"all-linear"})
    config.target_modules = linear_names(decoder);
  if (config.target_modules.empty() && config.target_pattern.empty())
    config.target_modules = decoder.config.family().lora_targets;
}

void add_lora(Decoder& decoder, const checkpoint::LoraConfig& config, uint64_t seed,
              const BlockSource& source) {
  at::Generator generator = at::detail::createCPUGenerator(seed);
  std::set<std::string> unmatched(config.target_modules.begin(), config.target_modules.end());
  size_t num_pairs = 0;
  const auto add = [&](const std::string& name, Linear& linear) {
    if (!config.targets(name)) return;
    for (auto it = unmatched.begin(); it != unmatched.end();)
      it = name == *it || name.ends_with("." + *it) ? unmatched.erase(it) : std::next(it);
    const int64_t in = linear.weight.value.size(1), out = linear.weight.value.size(0);
    const int64_t rank = config.rank_of(name);
    const double bound = 1.0 / std::sqrt(static_cast<double>(in));
    LoraPair pair;
    pair.a.value =
        at::empty({rank, in}, at::kFloat).uniform_(-bound, bound, generator).to(options_of(decoder));
    pair.b.value = at::zeros({out, rank}, options_of(decoder));
    pair.scale = config.scaling_of(name);
    linear.lora = std::move(pair);
    ++num_pairs;
  };
  visit_linears(decoder, add);
  if (config.use_dora)
    for (size_t i = 0; i < decoder.blocks.size(); ++i)
      visit_pairs(decoder, i, source, [](LoraPair& pair, const ops::Weight& weight) {
        pair.magnitude.value = weight_norm(weight, pair);
      });
  number_pairs(decoder);
  if (num_pairs == 0 && !config.target_pattern.empty())
    throw UsageError(fmt::format(
        "[lora_target_modules] expected a regular expression for whole names of linear layers such "
        "as {}, got \"{}\", which matches none",
        first_linear(decoder), config.target_pattern));
  if (!unmatched.empty())
    throw UsageError(fmt::format("[lora_target_modules] expected names among {}, got {}",
                                 fmt::join(linear_names(decoder), ", "), fmt::join(unmatched, ", ")));
}

void load_adapter(Decoder& decoder, const checkpoint::PeftAdapter& adapter) {
  const AdapterPlan plan = plan_adapter(decoder, adapter);
  warn_about(plan, adapter);
  if (!decoder.lm_head.value.defined() && !plan.tied) decoder.lm_head.value = decoder.embed_tokens.value;
  decoder.config.tie_word_embeddings = !decoder.lm_head.value.defined();
  change_parameters(decoder, adapter, plan);
  visit_linears(decoder, [&](const std::string& name, Linear& linear) {
    const std::string pair = plan.change_of(name + ".weight").pair;
    if (!pair.empty()) {
      linear.lora = load_pair(adapter, pair, options_of(decoder));
      decoder.of_adapter[name] = pair;
    }
    const TensorChange change = plan.change_of(name + ".bias");
    if (change.pair_bias.empty()) return;
    at::Tensor bias = added_bias(adapter, change).to(options_of(decoder).device());
    if (linear.bias.value.defined()) bias = bias + linear.bias.value.dense().to(at::kFloat);
    linear.bias.value = bias.to(options_of(decoder));
  });
  number_pairs(decoder);
}

Decoder load_with_adapter(const std::filesystem::path& base, const std::filesystem::path& adapter,
                          at::ScalarType dtype, const LoadOptions& options) {
  const StoredModel stored = open_stored_model(base);
  if (adapter.empty()) return load_decoder(stored, dtype, options);
  const auto opened = checkpoint::PeftAdapter::open(adapter);
  return load_with_adapter(stored, &opened, dtype, options);
}

Decoder load_with_adapter(const StoredModel& base, const checkpoint::PeftAdapter* adapter,
                          at::ScalarType dtype, const LoadOptions& options) {
  Decoder decoder = load_decoder(base, dtype, options);
  if (adapter == nullptr) return decoder;
  load_adapter(decoder, *adapter);
  take_window(adapter->directory(), decoder.config);
  return decoder;
}

void take_window(const std::filesystem::path& adapter, ModelConfig& config) {
  if (adapter.empty() || !std::filesystem::exists(adapter / "config.json")) return;
  const ModelConfig trained = read_model_config(adapter);
  config.rope_scaling = trained.rope_scaling;
  config.max_position_embeddings = trained.max_position_embeddings;  // dynamic scaling starts at this length
}

void merge_lora(Decoder& decoder) {
  const c10::NoGradGuard no_grad;
  const auto value_of = [](const Parameter& parameter) { return parameter.value.dense().to(at::kFloat); };
  visit_linears(decoder, [&](const std::string&, Linear& linear) {
    if (!linear.lora || linear.weight.value.is_nf4() || linear.weight.value.is_meta()) return;
    const LoraPair& pair = *linear.lora;
    const at::Tensor update = at::mm(value_of(pair.b), value_of(pair.a)).mul_(pair.scale);
    at::Tensor weight = value_of(linear.weight).add(update);
    if (pair.magnitude.value.defined())
      weight.mul_((value_of(pair.magnitude) / weight.norm(2, {1}, /*keepdim=*/false)).unsqueeze(1));
    linear.weight.value = weight.to(linear.weight.value.scalar_type());
    linear.lora.reset();
  });
}

void keep_weight_norms(Decoder& decoder, const BlockSource& source) {
  const c10::NoGradGuard no_grad;
  bool has_magnitudes = false;
  visit_linears(decoder, [&](const std::string&, const Linear& linear) {
    has_magnitudes = has_magnitudes || (linear.lora && linear.lora->magnitude.value.defined());
  });
  if (!has_magnitudes) return;
  for (size_t i = 0; i < decoder.blocks.size(); ++i)
    visit_pairs(decoder, i, source, [](LoraPair& pair, const ops::Weight& weight) {
      if (pair.magnitude.value.defined()) pair.weight_norm = weight_norm(weight, pair);
    });
}

void train_adapter(Decoder& decoder, const std::vector<std::string>& patterns,
                   const checkpoint::LoraConfig& config) {
  std::set<std::string> unmatched(patterns.begin(), patterns.end());
  visit_parameters(decoder, [&](const std::string& name, ParameterRole role, Parameter& parameter) {
    bool trains = is_of_pair(role) || config.trains_whole(name);
    for (const std::string& pattern : patterns) {
      if (is_of_pair(role) || name.find(pattern) == std::string::npos) continue;
      trains = true;
      unmatched.erase(pattern);
    }
    if (trains) parameter.make_trainable();
  });
  if (!unmatched.empty())
    throw UsageError(
        fmt::format("[trainable_params] expected parts of parameter names such as embed or norm, got {} "
                    "which matches nothing",
                    fmt::join(unmatched, ", ")));
}

void train_everything(Decoder& decoder) {
  visit_parameters(decoder, [](const std::string&, Parameter& parameter) { parameter.make_trainable(); });
}

AdapterTensors adapter_tensors(const Decoder& decoder, const PreciseValue& precise) {
  AdapterTensors tensors;
  visit_parameters(decoder, [&](const std::string& name, ParameterRole role, const Parameter& parameter) {
    const bool is_pair = is_of_pair(role);
    if (!is_pair && !parameter.trainable() && decoder.of_adapter.count(name) == 0) return;
    const at::Tensor source = precise ? precise(parameter) : parameter.value.dense();
    (is_pair ? tensors.lora : tensors.parameters).emplace_back(name, source.detach());
  });
  return tensors;
}

}  // namespace longlora::model
