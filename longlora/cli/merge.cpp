#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <memory>

#include "longlora/checkpoint/peft_adapter.h"
#include "longlora/checkpoint/tensor_writer.h"
#include "longlora/cli/device_flags.h"
#include "longlora/cli/flags.h"
#include "longlora/cli/model_flags.h"
#include "longlora/cli/verbs.h"
#include "longlora/core/error.h"
#include "longlora/core/log.h"
#include "longlora/core/output_folder.h"
#include "longlora/model/companion_files.h"
#include "longlora/model/family.h"
#include "longlora/model/load.h"
#include "longlora/model/merge.h"
#include "longlora/ops/device.h"
#include "longlora/tensors/dtypes.h"

namespace longlora::cli {
namespace {

struct MergeArguments {
  std::filesystem::path base_model;
  std::filesystem::path peft_model;
  std::filesystem::path save_path;
  int64_t context_size = 0;
  std::string rope_scaling;
  std::string dtype = "auto";
  std::string merge_into = "full";
  std::optional<ops::Nf4Options> quantize;
  std::string format = "safetensors";
  std::string max_shard_size = "5GB";
  bool overwrite = false;
  bool lora_only = false;
  ops::DeviceFlags device;
  std::filesystem::path json;
};

model::MergeOptions merge_options(const MergeArguments& arguments, at::Device device) {
  const bool dequantized = arguments.merge_into == "dequantized";
  if (arguments.quantize && !dequantized)
    throw UsageError("[--quantize] expected --merge_into dequantized beside it, got full");
  // "auto" names no dtype: the base's own is taken.
  return {.dtype = tensors::weight_dtype_from_name(arguments.dtype).value_or(at::ScalarType::Undefined),
          .into = dequantized ? model::MergeInto::kDequantized : model::MergeInto::kFullPrecision,
          .quantize = arguments.quantize,
          .device = device};
}

// Claims what is written before anything is done.
OutputFolder claim_outputs(const MergeArguments& arguments) {
  const std::vector<NamedPath> inputs = {{"--base_model", arguments.base_model},
                                         {"--peft_model", arguments.peft_model}};
  OutputFolder folder({.output = {"--save_path", arguments.save_path},
                       .verb = "merge",
                       .inputs = inputs,
                       .overwrite = arguments.overwrite,
                       .result_file = arguments.json});
  prepare_output_files({{"--json", arguments.json}}, inputs, {"--save_path", arguments.save_path});
  return folder;
}

void run_merge(const MergeArguments& arguments) {
  OutputFolder folder = claim_outputs(arguments);
  const at::Device device = ops::open_device(arguments.device);
  const auto adapter = checkpoint::PeftAdapter::open(arguments.peft_model);
  if (!arguments.lora_only) adapter.require_parameters();
  checkpoint::ModelFileOptions files;
  files.max_shard_bytes = checkpoint::parse_byte_size(arguments.max_shard_size, "--max_shard_size");
  if (arguments.format == "bin") files.format = checkpoint::TensorFormat::kTorch;
  model::MergedModel merged(arguments.base_model, adapter, merge_options(arguments, device));
  model::ModelConfig& config = merged.config();
  std::string window_change;
  if (arguments.context_size > config.context_window())
    window_change =
        model::stretch_window(config, asked_rope_scaling(arguments.rope_scaling), arguments.context_size);
  else if (!arguments.rope_scaling.empty())
    log_warning(fmt::format("--rope_scaling {} is left out: the model's window of {} tokens needs no change",
                            arguments.rope_scaling, config.context_window()));
  if (!window_change.empty()) log_info(window_change);

  merged.write(folder.staging(), files);
  // A tokenizer beside the adapter is the one that it was trained with.
  model::log_left_out(
      model::copy_companion_files({.model = arguments.base_model, .tokenizer = arguments.peft_model},
                                  folder.staging()),
      arguments.save_path);
  folder.commit();
  log_info(fmt::format("merged {} low-rank pairs and {} trained parameters into {}: window {} tokens, {}, {}",
                       adapter.modules().size(), adapter.parameters().size(), arguments.save_path.string(),
                       config.context_window(), model::describe_scaling(config.rope_scaling),
                       tensors::dtype_name(merged.dtype())));
  if (!arguments.json.empty())
    write_json(arguments.json, {{"verb", "merge"},
                                {"save_path", arguments.save_path.string()},
                                {"modules", adapter.modules().size()},
                                {"parameters", adapter.parameters().size()},
                                {"dtype", tensors::dtype_name(merged.dtype())},
                                {"merge_into", arguments.merge_into},
                                {"context_window", config.context_window()}});
}

}  // namespace

void add_merge_verb(CLI::App& app) {
  CLI::App& verb =
      *app.add_subcommand("merge", "Put an adapter into its base model: one Hugging Face directory");
  auto arguments = std::make_shared<MergeArguments>();
  verb.add_option("--base_model", arguments->base_model,
                  "Directory of the model that the adapter was trained on: Hugging Face's layout or Meta's")
      ->required();
  verb.add_option("--peft_model", arguments->peft_model,
                  "Adapter directory: fine-tune's, PEFT's or LongLoRA's released pair of .bin files")
      ->required();
  verb.add_option("--context_size", arguments->context_size,
                  "Window the adapter was trained for (default, or -1: from the adapter's config.json)")
      ->check(size_or_unset());
  verb.add_option("--save_path", arguments->save_path, "Directory to write")->required();
  verb.add_option("--rope_scaling", arguments->rope_scaling,
                  "Scaling for a --context_size beyond the adapter's own window (default: the kind the model "
                  "carries, else linear)")
      ->check(CLI::IsMember(model::extension_rope_types()));
  verb.add_option("--dtype", arguments->dtype, "How weights are stored; auto: as in the base")
      ->check(CLI::IsMember({"auto", "float32", "bfloat16", "float16"}))
      ->capture_default_str();
  verb.add_option(
          "--merge_into", arguments->merge_into,
          "full: the base's own weights; dequantized: what NF4 keeps of them, as a run with --quantize "
          "saw them (read from the adapter's config.json, or given as there)")
      ->check(CLI::IsMember({"full", "dequantized"}))
      ->capture_default_str();
  add_quantize_flags(verb, arguments->quantize);
  verb.add_option("--max_shard_size", arguments->max_shard_size,
                  "Largest weight file: 5GB, 500MB, 2GiB … (a larger tensor is a file of its own)")
      ->capture_default_str();
  verb.add_option("--format", arguments->format, "Weight files: model.safetensors or pytorch_model.bin")
      ->check(CLI::IsMember({"safetensors", "bin"}))
      ->capture_default_str();
  add_bool(verb, "--overwrite", arguments->overwrite,
           "Replace an earlier result in --save_path, once the new one is complete; other files never");
  add_bool(verb, "--lora_only", arguments->lora_only,
           "The adapter was trained without embeddings and norms: do not ask for trainable_params");
  add_device_flag(verb, arguments->device);
  verb.add_option("--json", arguments->json, "Write what was done to this file");
  verb.callback([arguments] { run_merge(*arguments); });
}

}  // namespace longlora::cli
