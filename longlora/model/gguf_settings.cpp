#include "longlora/model/gguf_settings.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <string_view>

#include "longlora/core/error.h"
#include "longlora/core/log.h"
#include "longlora/model/family.h"
#include "longlora/model/rotary.h"

namespace longlora::model {
namespace {

// Fills in the settings of one model.
class Writer {
 public:
  Writer(const ModelConfig& config, const std::string& source) : config_(config), source_(source) {
    settings_.architecture = &find_architecture();
  }

  GgufSettings run() && {
    check_form();
    settings_.values.add_text("general.architecture", architecture().name);
    settings_.values.add_text("general.type", "model");
    write_sizes();
    write_windows();
    write_scaling();
    return std::move(settings_);
  }

 private:
  const checkpoint::GgufArchitecture& architecture() const { return *settings_.architecture; }
  bool is(std::string_view name) const { return name == architecture().name; }
  std::string key(const char* name) const { return std::string(architecture().name) + "." + name; }
  void add_size(const char* name, int64_t value) { settings_.values.add_size(key(name), value); }
  void add_number(const char* name, double value) { settings_.values.add_number(key(name), value); }

  [[noreturn]] void refuse(const std::string& expected, const std::string& got) const {
    throw InputError(fmt::format("[{}] expected {} for a GGUF file, got {}, which llama.cpp does not read",
                                 source_, expected, got));
  }

  // Mistral's have the name of Llama's.
  const checkpoint::GgufArchitecture& find_architecture() const {
    const std::string type = config_.family().model_type;
    const std::string name = type == "mistral" || type == "ministral" ? "llama"
                             : type == "gpt_neox"                     ? "gptneox"
                                                                      : type;
    const auto* found = checkpoint::find_gguf_architecture(name);
    if (found == nullptr) refuse("one of " + checkpoint::gguf_architecture_names(), type);
    return *found;
  }

  void check_form() const {
    const BlockForm& form = config_.form;
    const Activation usual = is("gptneox") ? Activation::kGelu : Activation::kSilu;
    if (form.activation != usual)
      refuse(fmt::format("the activation {} of a {}", architecture().activation, architecture().name),
             "another");
    if (is("qwen3") && form.qkv_bias) refuse("a qwen3 without biases", "biases of attention");
    if (is("gptneox") && !form.qkv_bias) refuse("a gptneox with biases of attention", "none");
    const int64_t rotated = config_.rotary_dims();
    if (rotated % 2 != 0 || rotated == 0)
      refuse("an even number of rotated dimensions", std::to_string(rotated));
    if (config_.quantization)
      throw InputError(
          fmt::format("[{}] expected weights in full precision for a GGUF file, got NF4; use the model that "
                      "they were made "
                      "from, and --type q4_0 for four bits",
                      source_));
  }

  void write_sizes() {
    add_size("vocab_size", config_.vocab_size);
    add_size("context_length", config_.context_window());
    add_size("embedding_length", config_.hidden_size);
    add_size("block_count", config_.num_hidden_layers);
    add_size("feed_forward_length", config_.intermediate_size);
    add_size("attention.head_count", config_.num_attention_heads);
    add_size("attention.head_count_kv", config_.num_key_value_heads);
    add_size("attention.key_length", config_.head_dim);
    add_size("attention.value_length", config_.head_dim);
    add_number(architecture().norm_key, config_.norm_eps);
    add_number("rope.freq_base", config_.rope_theta);
    add_size("rope.dimension_count", config_.rotary_dims());
    if (is("gptneox") || is("stablelm"))
      settings_.values.add_flag(key("use_parallel_residual"),
                                config_.form.residual != ResidualForm::kSequential);
  }

  void write_windows() {
    const std::vector<int64_t>& windows = config_.layer_windows;
    if (windows.empty()) return;
    const bool are_equal = std::count(windows.begin(), windows.end(), windows.front()) ==
                           static_cast<std::ptrdiff_t>(windows.size());
    if (!are_equal || !(is("llama") || is("phi3")))
      refuse("one sliding window for all layers of a Mistral or Phi-3, or none",
             are_equal ? fmt::format("one of {} tokens", windows.front()) : "windows of some layers");
    add_size("attention.sliding_window", windows.front());
    if (windows.front() < config_.context_window())
      log_warning(fmt::format(
          "{}: the sliding window of {} tokens is written down, but llama.cpp lets every token of a "
          "{} see all before it: texts beyond the window are computed otherwise there",
          source_, windows.front(), architecture().name));
  }

  void write_scaling() {
    const RopeScaling& scaling = config_.rope_scaling;
    switch (scaling.type) {
      case RopeType::kDefault:
        return;
      case RopeType::kLinear:
        return write_type("linear");
      case RopeType::kYarn:
        return write_yarn();
      case RopeType::kLlama3:
        return add_factors(checkpoint::kGgufRopeFactors, factors_at(0));
      case RopeType::kLongRope:
        return write_longrope();
      case RopeType::kDynamic:
        refuse("linear, yarn, llama3 or longrope scaling", "dynamic; extend the model with linear or yarn");
    }
  }

  void write_type(const char* type) {
    settings_.values.add_text(key("rope.scaling.type"), type);
    add_number("rope.scaling.factor", config_.rope_scaling.factor);
    add_size("rope.scaling.original_context_length", config_.original_window());
  }

  // llama.cpp multiplies what YaRN makes of the factor by attn_factor.
  void write_yarn() {
    constexpr double kRounding = 1e-9;
    const RopeScaling& scaling = config_.rope_scaling;
    if (!scaling.truncate) refuse("yarn that rounds its dimensions", "truncate false");
    write_type("yarn");
    const double usual = 0.1 * std::log(scaling.factor) + 1.0;
    const double times = rotary_frequencies(config_).attention_factor / usual;
    if (std::abs(times - 1.0) > kRounding) add_number("rope.scaling.attn_factor", times);
    const RopeScaling defaults;
    if (scaling.beta_fast != defaults.beta_fast) add_number("rope.scaling.yarn_beta_fast", scaling.beta_fast);
    if (scaling.beta_slow != defaults.beta_slow) add_number("rope.scaling.yarn_beta_slow", scaling.beta_slow);
  }

  void write_longrope() {
    const RotaryFrequencies in_window = rotary_frequencies(config_);
    // A factor beside the tensors would divide every frequency again in llama.cpp.
    settings_.values.add_text(key("rope.scaling.type"), "longrope");
    add_size("rope.scaling.original_context_length", config_.original_window());
    add_number("rope.scaling.attn_factor", in_window.attention_factor);
    add_factors(checkpoint::kGgufLongFactors, factors_at(config_.original_window() + 1));
    add_factors(checkpoint::kGgufShortFactors, factors_at(0));
  }

  // What divides each frequency in a sequence of so many tokens.
  std::vector<float> factors_at(int64_t sequence_tokens) const {
    ModelConfig plain = config_;
    plain.rope_scaling = {};
    const RotaryFrequencies unscaled = rotary_frequencies(plain),
                            scaled = rotary_frequencies(config_, sequence_tokens);
    std::vector<float> factors;
    for (size_t i = 0; i < scaled.inverse_frequencies.size(); ++i)
      factors.push_back(static_cast<float>(unscaled.inverse_frequencies[i] / scaled.inverse_frequencies[i]));
    return factors;
  }

  void add_factors(const char* name, std::vector<float> factors) {
    if (!is("llama") && !is("phi3"))
      refuse("linear or yarn scaling of a " + std::string(architecture().name),
             rope_type_name(config_.rope_scaling.type) + ", a factor for each pair of dimensions");
    settings_.factors.emplace_back(name, std::move(factors));
  }

  const ModelConfig& config_;
  const std::string& source_;
  GgufSettings settings_;
};

}  // namespace

GgufSettings gguf_settings(const ModelConfig& config, const std::string& source) {
  return Writer(config, source).run();
}

}  // namespace longlora::model
