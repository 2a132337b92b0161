#include "longlora/cli/model_flags.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <memory>

#include "longlora/cli/device_flags.h"
#include "longlora/cli/flags.h"
#include "longlora/core/error.h"

namespace longlora::cli {

void add_runtime_flags(CLI::App& verb, generate::RuntimeOptions& options) {
  verb.add_option("--base_model", options.base_model,
                  "Hugging Face directory (config.json, weights, tokenizer; NF4 too), one in Meta's layout, "
                  "or a GGUF "
                  "file")
      ->type_name("DIR")
      ->required();
  verb.add_option("--peft_model", options.peft_model,
                  "Adapter directory that fine-tune wrote; its rotary scaling counts")
      ->type_name("DIR");
  verb.add_option("--context_size", options.context_size,
                  "Window to evaluate at, in tokens (default, or -1: the one the model is made for)")
      ->check(size_or_unset());
  verb.add_option(
          "--rope_scaling", options.rope_scaling,
          "How a model without rotary scaling reaches --context_size: linear (default), dynamic or yarn "
          "by ceil(context_size / window), or none, as it is; a model that carries a scaling keeps it")
      ->check(CLI::IsMember({"linear", "dynamic", "yarn", "none"}));
  verb.add_option("--dtype", options.dtype, "What the model is computed in")
      ->check(CLI::IsMember({"float32", "bfloat16"}))
      ->capture_default_str();
  add_device_flags(verb, options.device);
  add_quantize_flags(verb, options.quantize);
}

void add_quantize_flags(CLI::App& verb, std::optional<ops::Nf4Options>& quantize) {
  struct Words {
    std::string form = "none";
    ops::Nf4Options options;
  };
  auto words = std::make_shared<Words>();
  verb.add_option("--quantize", words->form,
                  "nf4: put linear layers into 4 bits while the model is read, with bitsandbytes' values")
      ->check(CLI::IsMember({"none", "nf4"}))
      ->capture_default_str();
  CLI::Option* block = verb.add_option("--quantize_block", words->options.block_size,
                                       "Elements that share a scale in --quantize nf4")
                           ->capture_default_str();
  CLI::Option* nested =
      add_bool(verb, "--double_quant", words->options.double_quant, "Keep those scales in 8 bits");
  verb.parse_complete_callback([words, block, nested, &quantize] {
    if (words->form == "none") {
      for (const CLI::Option* option : {block, nested})
        if (option->count() > 0) throw UsageError(fmt::format("{} needs --quantize nf4", option->get_name()));
      return;
    }
    if (!ops::is_nf4_block_size(words->options.block_size))
      throw UsageError(
          fmt::format("[--quantize_block] expected 32, 64, 128, 256, 512, 1024, 2048 or 4096, got {}",
                      words->options.block_size));
    quantize = words->options;
  });
}

std::vector<NamedPath> named_paths(const std::string& flag, const std::vector<std::filesystem::path>& paths) {
  std::vector<NamedPath> named;
  named.reserve(paths.size());
  for (const auto& path : paths) named.push_back({flag, path});
  return named;
}

std::vector<NamedPath> model_inputs(const generate::RuntimeOptions& options, std::vector<NamedPath> more) {
  more.insert(more.begin(), {{"--base_model", options.base_model}, {"--peft_model", options.peft_model}});
  return more;
}

std::optional<model::RopeType> asked_rope_scaling(const std::string& flag) {
  if (flag.empty()) return std::nullopt;
  return model::rope_type_from_name(flag, "--rope_scaling");
}

results::EvaluatedModel evaluated_model(const generate::RuntimeOptions& options,
                                        const generate::Runtime& model) {
  results::EvaluatedModel found;
  found.model = options.base_model.string();
  if (!options.peft_model.empty()) found.peft_model = options.peft_model.string();
  found.context_size = model.context_size;
  found.rope_scaling = model.scaling;
  found.dtype = options.dtype;
  found.quantize = model.quantized ? "nf4" : "none";
  return found;
}

results::EvaluatedModel evaluated_model(const generate::RuntimeOptions& options,
                                        const generate::Runtime& model, const std::string& label) {
  results::EvaluatedModel found = evaluated_model(options, model);
  found.label = label;
  return found;
}

}  // namespace longlora::cli
