#include "longlora/cli/model_flags.h"

#include <CLI/CLI.hpp>

#include "longlora/cli/device_flags.h"
#include "longlora/cli/flags.h"

namespace longlora::cli {

void add_model_flags(CLI::App& verb, eval::ModelOptions& options) {
  verb.add_option("--base_model", options.base_model,
                  "Hugging Face directory (config.json, weights, tokenizer), or one in Meta's layout")
      ->type_name("DIR")
      ->required();
  verb.add_option("--peft_model", options.peft_model,
                  "Adapter directory that fine-tune wrote; its rotary scaling counts")
      ->type_name("DIR");
  verb.add_option("--context_size", options.context_size,
                  "Window to evaluate at, in tokens (default: the one the model is made for)");
  verb.add_option(
          "--rope_scaling", options.rope_scaling,
          "How a model without rotary scaling reaches --context_size: linear (default), dynamic or yarn "
          "by ceil(context_size / window), or none, as it is; a model that carries a scaling keeps it")
      ->check(CLI::IsMember({"linear", "dynamic", "yarn", "none"}));
  verb.add_option("--dtype", options.dtype, "What the model is computed in")
      ->check(CLI::IsMember({"float32", "bfloat16"}))
      ->capture_default_str();
  add_device_flags(verb, options.device);
  add_ignored(verb, "--cache_dir", "nothing is downloaded");
  add_ignored(verb, "--flash_attn", "the fastest attention that fits is always used");
}

std::optional<model::RopeType> asked_rope_scaling(const std::string& flag) {
  if (flag.empty()) return std::nullopt;
  return model::rope_type_from_name(flag, "--rope_scaling");
}

Json result_header(const std::string& verb, const std::string& label, const eval::ModelOptions& options,
                   const eval::LoadedModel& model) {
  Json json = {{"verb", verb}, {"label", label}, {"model", options.base_model.string()}};
  if (!options.peft_model.empty()) json["peft_model"] = options.peft_model.string();
  json["context_size"] = model.context_size;
  json["rope_scaling"] = model.scaling;
  json["dtype"] = options.dtype;
  return json;
}

}  // namespace longlora::cli
