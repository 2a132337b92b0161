#include "longlora/checkpoint/gguf_config.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <numbers>
#include <vector>

#include "longlora/checkpoint/bytes.h"
#include "longlora/core/error.h"
#include "longlora/tensors/dtypes.h"

namespace longlora::checkpoint {
namespace {

using gguf::Metadata;

constexpr int64_t kLargestSize = int64_t{1} << 31;

// Keys of one architecture, which begin with its name.
class Keys {
 public:
  Keys(const Metadata& metadata, const GgufArchitecture& architecture)
      : metadata_(metadata), prefix_(std::string(architecture.name) + ".") {}

  std::string full(const std::string& key) const { return prefix_ + key; }
  std::optional<int64_t> size(const std::string& key) const {
    const std::optional<int64_t> value = metadata_.integer(full(key));
    if (value && (*value < 1 || *value > kLargestSize))
      metadata_.fail(full(key), "a positive size", std::to_string(*value));
    return value;
  }
  int64_t needed_size(const std::string& key) const {
    const std::optional<int64_t> value = size(key);
    if (!value) metadata_.fail(full(key), "a positive size", "no such key");
    return *value;
  }
  std::optional<double> number(const std::string& key) const {
    const std::optional<double> value = metadata_.number(full(key));
    if (value && !(*value > 0.0 && std::isfinite(*value)))
      metadata_.fail(full(key), "a positive number", fmt::format("{}", *value));
    return value;
  }
  std::optional<bool> flag(const std::string& key) const { return metadata_.flag(full(key)); }
  std::optional<std::string> text(const std::string& key) const { return metadata_.text(full(key)); }
  const Metadata& metadata() const { return metadata_; }

 private:
  const Metadata& metadata_;
  std::string prefix_;
};

// What a config.json is made of.
struct Source {
  const Keys& keys;
  const GgufArchitecture& architecture;
  const TensorStore& stored;
};

int64_t head_dim_of(const Keys& keys, int64_t width, int64_t num_heads) {
  const std::optional<int64_t> stated = keys.size("attention.key_length");
  const int64_t head_dim = stated.value_or(width / num_heads);
  if (const auto value = keys.size("attention.value_length"); value && *value != head_dim)
    keys.metadata().fail(keys.full("attention.value_length"), fmt::format("that of keys, {}", head_dim),
                         std::to_string(*value));
  return head_dim;
}

// The share of a head that is rotated: `rotated` of `head_dim`, also after rounding down.
double rotary_fraction(int64_t rotated, int64_t head_dim) {
  const auto size = static_cast<double>(head_dim);
  double fraction = static_cast<double>(rotated) / size;
  while (static_cast<int64_t>(size * fraction) < rotated) fraction = std::nextafter(fraction, 1.0);
  return fraction;
}

void add_heads(const Source& source, Json& config) {
  const auto& [keys, architecture, stored] = source;
  const GgufHeads heads = read_gguf_heads(keys.metadata(), architecture);
  const auto width = config["hidden_size"].get<int64_t>();
  const int64_t head_dim = head_dim_of(keys, width, heads.num_heads);
  config["num_attention_heads"] = heads.num_heads;
  config["num_key_value_heads"] = heads.num_key_value_heads;
  if (architecture.free_head_dim && std::string(architecture.name) != "phi3") config["head_dim"] = head_dim;
  if (head_dim * heads.num_heads != width && !config.contains("head_dim"))
    keys.metadata().fail(keys.full("attention.key_length"),
                         fmt::format("{}, the width by the heads", width / heads.num_heads),
                         std::to_string(head_dim));
  const int64_t rotated = keys.size("rope.dimension_count").value_or(head_dim);
  // Factors of Llama 3.1 stand for each pair.
  if (const auto found = stored.tensors().find(kGgufRopeFactors);
      found != stored.tensors().end() && found->second.shape != std::vector<int64_t>{rotated / 2})
    keys.metadata().fail(kGgufRopeFactors, fmt::format("a list of {} factors", rotated / 2),
                         fmt::format("[{}]", fmt::join(found->second.shape, ", ")));
  if (rotated > head_dim || (architecture.fraction_setting == nullptr && rotated != head_dim))
    keys.metadata().fail(keys.full("rope.dimension_count"), fmt::format("{}, the size of a head", head_dim),
                         std::to_string(rotated));
  if (architecture.fraction_setting != nullptr)
    config[architecture.fraction_setting] = rotary_fraction(rotated, head_dim);
}

std::vector<double> load_factors(const TensorStore& stored, const char* name) {
  std::vector<double> factors;
  const at::Tensor values = stored.load(name).to(at::kFloat).flatten();
  for (int64_t i = 0; i < values.numel(); ++i)
    factors.push_back(gguf::shortest_decimal(values.data_ptr<float>()[i]));
  return factors;
}

// Llama 3.1's factors of each pair of dimensions, as transformers computes them.
std::vector<double> llama3_factors(size_t pairs, double theta, double factor, double window) {
  constexpr double kLow = 1.0, kHigh = 4.0;
  std::vector<double> factors;
  for (size_t i = 0; i < pairs; ++i) {
    const double wavelength =
        2.0 * std::numbers::pi * std::pow(theta, static_cast<double>(i) / static_cast<double>(pairs));
    const double share = (window / wavelength - kLow) / (kHigh - kLow);
    const double smooth = std::clamp(share, 0.0, 1.0);
    factors.push_back(1.0 / ((1.0 - smooth) / factor + smooth));
  }
  return factors;
}

bool are_close(const std::vector<double>& a, const std::vector<double>& b) {
  constexpr double kTolerance = 1e-4;  // the files hold what float32 made of it
  for (size_t i = 0; i < a.size(); ++i)
    if (!(std::abs(a[i] - b[i]) <= kTolerance * std::abs(b[i]))) return false;
  return true;
}

// The scaling of a tensor of factors; null where all are 1.
Json factor_scaling(const std::vector<double>& factors, double theta, int64_t window) {
  const double factor = *std::max_element(factors.begin(), factors.end());
  if (std::all_of(factors.begin(), factors.end(), [](double value) { return value == 1.0; })) return {};
  for (int64_t original : {8192, 1024, 2048, 4096, 16384, 32768, 65536, 131072})
    if (are_close(llama3_factors(factors.size(), theta, factor, static_cast<double>(original)), factors))
      return {{"rope_type", "llama3"},   {"type", "llama3"},
              {"factor", factor},        {"low_freq_factor", 1.0},
              {"high_freq_factor", 4.0}, {"original_max_position_embeddings", original}};
  return {{"rope_type", "longrope"},
          {"type", "longrope"},
          {"factor", 1.0},
          {"attention_factor", 1.0},
          {"short_factor", factors},
          {"long_factor", factors},
          {"original_max_position_embeddings", window}};
}

// Phi-3's two tensors of factors.
Json longrope_scaling(const Source& source, int64_t window, Json& config) {
  const Keys& keys = source.keys;
  const int64_t original = keys.needed_size("rope.scaling.original_context_length");
  const double factor = std::max(1.0, static_cast<double>(window) / static_cast<double>(original));
  Json scaling = {{"rope_type", "longrope"},
                  {"type", "longrope"},
                  {"short_factor", load_factors(source.stored, kGgufShortFactors)},
                  {"long_factor", load_factors(source.stored, kGgufLongFactors)}};
  const double usual = factor <= 1.0 ? 1.0 : std::sqrt(1.0 + std::log(factor) / std::log(double(original)));
  const double stated = keys.number("rope.scaling.attn_factor").value_or(1.0);
  constexpr double kRounding = 1e-6;
  if (std::abs(stated - usual) > kRounding) scaling["attention_factor"] = stated;
  config["original_max_position_embeddings"] = original;
  if (std::string(source.architecture.name) != "phi3") {
    scaling["factor"] = factor;
    scaling["original_max_position_embeddings"] = original;
  }
  return scaling;
}

Json yarn_scaling(const Keys& keys, int64_t window) {
  const double factor = keys.number("rope.scaling.factor").value_or(1.0);
  Json scaling = {{"rope_type", "yarn"},
                  {"type", "yarn"},
                  {"factor", factor},
                  {"original_max_position_embeddings",
                   keys.size("rope.scaling.original_context_length").value_or(window)}};
  if (keys.number("rope.scaling.yarn_ext_factor").value_or(1.0) != 1.0)
    keys.metadata().fail(keys.full("rope.scaling.yarn_ext_factor"), "1", "another number");
  if (const auto beta = keys.number("rope.scaling.yarn_beta_fast")) scaling["beta_fast"] = *beta;
  if (const auto beta = keys.number("rope.scaling.yarn_beta_slow")) scaling["beta_slow"] = *beta;
  // llama.cpp multiplies what YaRN makes of the factor; transformers has the product.
  const double times = keys.number("rope.scaling.attn_factor").value_or(1.0) *
                       keys.number("rope.scaling.yarn_attn_factor").value_or(1.0);
  if (times != 1.0) scaling["attention_factor"] = times * (0.1 * std::log(factor) + 1.0);
  return scaling;
}

// rope_scaling; null without one.
Json read_scaling(const Source& source, double theta, Json& config) {
  const auto& [keys, architecture, stored] = source;
  const auto window = config["max_position_embeddings"].get<int64_t>();
  const std::string type = keys.text("rope.scaling.type").value_or("none");
  if (stored.contains(kGgufLongFactors) || stored.contains(kGgufShortFactors))
    return longrope_scaling(source, window, config);
  if (stored.contains(kGgufRopeFactors)) {
    if (type != "none")
      keys.metadata().fail(keys.full("rope.scaling.type"), "none beside factors in a tensor", type);
    return factor_scaling(load_factors(stored, kGgufRopeFactors), theta, window);
  }
  if (type == "yarn") return yarn_scaling(keys, window);
  // The older key stands by itself.
  const double factor =
      keys.number("rope.scaling.factor").value_or(keys.number("rope.scale_linear").value_or(1.0));
  const bool is_linear = type == "linear" || (type == "none" && keys.number("rope.scale_linear"));
  if (!is_linear && type != "none")
    keys.metadata().fail(keys.full("rope.scaling.type"), "none, linear, yarn, or longrope with its tensors",
                         "\"" + shown_text(type) + "\"");
  if (!is_linear || factor == 1.0) return {};
  Json scaling = {{"rope_type", "linear"}, {"type", "linear"}, {"factor", factor}};
  // Where it is stated, the window of the file is the one after scaling.
  if (const auto original = keys.size("rope.scaling.original_context_length"))
    scaling["original_max_position_embeddings"] = *original;
  return scaling;
}

// What only tensors show.
void add_form(const Source& source, Json& config) {
  const auto& [keys, architecture, stored] = source;
  const auto has = [&](const char* name) { return source.stored.contains(name); };
  const std::string name = architecture.name;
  config["tie_word_embeddings"] = !has("output.weight");
  if (name == "llama" || name == "qwen3") config["attention_bias"] = has("blk.0.attn_q.bias");
  if (name == "llama") config["mlp_bias"] = has("blk.0.ffn_up.bias");
  if (name == "gptneox") {
    config["attention_bias"] = has("blk.0.attn_qkv.bias");
    config["use_parallel_residual"] = keys.flag("use_parallel_residual").value_or(true);
  }
  if (name == "stablelm") {
    config["use_qkv_bias"] = has("blk.0.attn_q.bias");
    config["use_parallel_residual"] = !has("blk.0.ffn_norm.weight");
    config["qk_layernorm"] = has("blk.0.attn_q_norm.weight");
  }
}

// The window of attention. A Llama with one is what transformers calls a Mistral.
void add_window(const Source& source, Json& config) {
  const std::optional<int64_t> window =
      source.keys.metadata().integer(source.keys.full("attention.sliding_window"));
  if (!window || *window == 0) return;
  const std::string name = source.architecture.name;
  if (name == "phi3" || name == "llama") config["sliding_window"] = *window;
  if (name == "llama") {
    config["architectures"] = {"MistralForCausalLM"};
    config["model_type"] = "mistral";
    for (const char* absent : {"attention_bias", "mlp_bias"}) {
      if (config[absent] == Json(true))
        source.keys.metadata().fail(source.keys.full("attention.sliding_window"), "absent beside biases",
                                    std::to_string(*window));
      config.erase(absent);
    }
  }
}

void add_ids(const Metadata& metadata, Json& config) {
  std::vector<int64_t> ends;
  for (const char* key : {"eos_token_id", "eot_token_id", "eom_token_id"})
    if (const auto id = metadata.integer(std::string("tokenizer.ggml.") + key);
        id && *id >= 0 && *id < kLargestSize && std::find(ends.begin(), ends.end(), *id) == ends.end())
      ends.push_back(*id);
  if (!ends.empty()) config["eos_token_id"] = ends.size() == 1 ? Json(ends.front()) : Json(ends);
  for (const auto& [setting, key] :
       {std::pair("bos_token_id", "bos_token_id"), std::pair("pad_token_id", "padding_token_id")})
    if (const auto id = metadata.integer(std::string("tokenizer.ggml.") + key);
        id && *id >= 0 && *id < kLargestSize)
      config[setting] = *id;
}

}  // namespace

const GgufArchitecture& read_gguf_architecture(const Metadata& metadata) {
  const std::string name = metadata.text("general.architecture").value_or("none");
  const GgufArchitecture* architecture = find_gguf_architecture(name);
  if (architecture == nullptr)
    metadata.fail("general.architecture", "one of " + gguf_architecture_names(),
                  "\"" + shown_text(name) + "\"; that architecture is not supported");
  if (const auto type = metadata.text("general.type"); type && *type != "model")
    metadata.fail("general.type", "a model", "\"" + shown_text(*type) + "\"");
  const Keys keys(metadata, *architecture);
  // 0 and 1 change nothing, whichever of them a setting means by it.
  for (const char* key : {"expert_count", "attention.scale", "logit_scale", "residual_scale",
                          "embedding_scale", "attention.clamp_kqv", "attn_logit_softcapping",
                          "final_logit_softcapping", "attention.max_alibi_bias", "nextn_predict_layers"}) {
    const double value = metadata.number(keys.full(key)).value_or(0.0);
    if (value != 0.0 && value != 1.0)
      metadata.fail(keys.full(key), "absent", fmt::format("{}; that kind of model is not supported", value));
  }
  if (!keys.flag("attention.causal").value_or(true))
    metadata.fail(keys.full("attention.causal"), "true", "false; such a model writes no text");
  return *architecture;
}

GgufHeads read_gguf_heads(const Metadata& metadata, const GgufArchitecture& architecture) {
  const Keys keys(metadata, architecture);
  GgufHeads heads;
  heads.num_heads = keys.needed_size("attention.head_count");
  heads.num_key_value_heads = keys.size("attention.head_count_kv").value_or(heads.num_heads);
  if (heads.num_heads % heads.num_key_value_heads != 0)
    metadata.fail(keys.full("attention.head_count"),
                  fmt::format("a multiple of head_count_kv, {}", heads.num_key_value_heads),
                  std::to_string(heads.num_heads));
  return heads;
}

Json gguf_config(const Metadata& metadata, const GgufArchitecture& architecture, const TensorStore& stored,
                 at::ScalarType dtype) {
  const Keys keys(metadata, architecture);
  const Source source{keys, architecture, stored};
  Json config;
  config["architectures"] = {architecture.architecture};
  config["model_type"] = architecture.model_type;
  config["hidden_act"] = architecture.activation;
  config["hidden_size"] = keys.needed_size("embedding_length");
  config["intermediate_size"] = keys.needed_size("feed_forward_length");
  config["num_hidden_layers"] = keys.needed_size("block_count");
  config["max_position_embeddings"] = keys.needed_size("context_length");
  config["vocab_size"] = stored.info("token_embd.weight").shape.front();
  config["initializer_range"] = 0.02;
  config["use_cache"] = true;
  config["torch_dtype"] = tensors::dtype_name(dtype);
  add_heads(source, config);
  const std::optional<double> epsilon = keys.number(architecture.norm_key);
  if (!epsilon) metadata.fail(keys.full(architecture.norm_key), "a positive number", "no such key");
  config[architecture.norm_setting] = *epsilon;
  const double theta = keys.number("rope.freq_base").value_or(10000.0);
  config[architecture.theta_setting] = theta;
  config["rope_scaling"] = read_scaling(source, theta, config);
  add_form(source, config);
  add_window(source, config);
  add_ids(metadata, config);
  return config;
}

Json gguf_generation_config(const Metadata& metadata) {
  Json config = Json::object();
  add_ids(metadata, config);
  return config;
}

}  // namespace longlora::checkpoint
