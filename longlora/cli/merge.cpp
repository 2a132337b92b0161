#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <memory>

#include "longlora/checkpoint/peft_adapter.h"
#include "longlora/checkpoint/tensor_writer.h"
#include "longlora/cli/device_flags.h"
#include "longlora/cli/flags.h"
#include "longlora/cli/gguf_output.h"
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
  std::string format = "auto";
  std::string type = "auto";
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
  // "auto" names no dtype, so that the base's is taken.
  return {.dtype = tensors::weight_dtype_from_name(arguments.dtype).value_or(at::ScalarType::Undefined),
          .into = dequantized ? model::MergeInto::kDequantized : model::MergeInto::kFullPrecision,
          .quantize = arguments.quantize,
          .device = device};
}

std::vector<NamedPath> inputs_of(const MergeArguments& arguments) {
  return {{"--base_model", arguments.base_model}, {"--peft_model", arguments.peft_model}};
}

// Claims the folder before any work.
OutputFolder claim_folder(const MergeArguments& arguments) {
  const std::vector<NamedPath> inputs = inputs_of(arguments);
  OutputFolder folder({.output = {"--save_path", arguments.save_path},
                       .verb = "merge",
                       .inputs = inputs,
                       .overwrite = arguments.overwrite,
                       .result_file = arguments.json});
  prepare_output_files({{"--json", arguments.json}}, inputs, {"--save_path", arguments.save_path});
  return folder;
}

// Gives the merged model the window that is asked for.
void extend_window(const MergeArguments& arguments, model::ModelConfig& config) {
  std::string window_change;
  if (arguments.context_size > config.context_window())
    window_change =
        model::stretch_window(config, asked_rope_scaling(arguments.rope_scaling), arguments.context_size);
  else if (!arguments.rope_scaling.empty())
    log_warning(fmt::format("--rope_scaling {} is left out: the model's window of {} tokens needs no change",
                            arguments.rope_scaling, config.context_window()));
  if (!window_change.empty()) log_info(window_change);
}

void copy_companions(const MergeArguments& arguments, const std::filesystem::path& to) {
  // A tokenizer beside the adapter is preferred, because the adapter was trained with it.
  model::log_left_out(
      model::copy_companion_files({.model = arguments.base_model, .tokenizer = arguments.peft_model}, to),
      arguments.save_path);
}

// Returns the type of the weights.
std::string write_folder(const MergeArguments& arguments, const model::MergedModel& merged,
                         const checkpoint::ModelFileOptions& files, OutputFolder& folder) {
  merged.write(folder.staging(), files);
  copy_companions(arguments, folder.staging());
  folder.commit();
  return tensors::dtype_name(merged.dtype());
}

std::string write_gguf(const MergeArguments& arguments, const model::MergedModel& merged,
                       const GgufOutput& output) {
  write_json(output.staging() / "config.json",
             model::model_config_json(merged.config(), tensors::dtype_name(merged.dtype())));
  copy_companions(arguments, output.staging());
  return output.write(
      merged.specs(), [&](const checkpoint::TensorSpec& spec) { return merged.load(spec); }, arguments.type);
}

void run_merge(const MergeArguments& arguments) {
  checkpoint::ModelFileOptions files;
  files.max_shard_bytes = checkpoint::parse_byte_size(arguments.max_shard_size, "--max_shard_size");
  if (arguments.format == "bin") files.format = checkpoint::TensorFormat::kTorch;
  std::optional<OutputFolder> folder;
  std::optional<GgufOutput> file;
  if (is_gguf_output(arguments.format, arguments.save_path)) {
    if (arguments.dtype != "auto")
      throw UsageError(fmt::format(
          "[--dtype {}] expected --type for a GGUF file (bf16, f16, q8_0 …), got --dtype", arguments.dtype));
    file.emplace(GgufOutput::Claim{.output = {"--save_path", arguments.save_path},
                                   .inputs = inputs_of(arguments),
                                   .result_file = arguments.json,
                                   .overwrite = arguments.overwrite});
  } else {
    require_gguf_for_type(arguments.type);
    folder.emplace(claim_folder(arguments));
  }
  const at::Device device = ops::open_device(arguments.device);
  const auto adapter = checkpoint::PeftAdapter::open(arguments.peft_model);
  if (!arguments.lora_only) adapter.require_parameters();
  model::MergedModel merged(arguments.base_model, adapter, merge_options(arguments, device));
  extend_window(arguments, merged.config());
  const std::string type =
      file ? write_gguf(arguments, merged, *file) : write_folder(arguments, merged, files, *folder);
  const model::ModelConfig& config = merged.config();
  log_info(fmt::format("merged {} low-rank pairs and {} trained parameters into {}: window {} tokens, {}, {}",
                       adapter.modules().size(), adapter.parameters().size(), arguments.save_path.string(),
                       config.context_window(), model::describe_scaling(config.rope_scaling), type));
  if (!arguments.json.empty())
    write_json(arguments.json, {{"verb", "merge"},
                                {"save_path", arguments.save_path.string()},
                                {"modules", adapter.modules().size()},
                                {"parameters", adapter.parameters().size()},
                                {"dtype", type},
                                {"merge_into", arguments.merge_into},
                                {"context_window", config.context_window()}});
}

}  // namespace

void add_merge_verb(CLI::App& app) {
  CLI::App& verb = *app.add_subcommand(
      "merge", "Put an adapter into its base model: one Hugging Face directory, or one GGUF file");
  auto arguments = std::make_shared<MergeArguments>();
  verb.add_option("--base_model", arguments->base_model,
                  "Directory of the model that the adapter was trained on: Hugging Face's layout or Meta's; "
                  "or a GGUF file")
      ->required();
  verb.add_option("--peft_model", arguments->peft_model,
                  "Adapter directory: fine-tune's, PEFT's or LongLoRA's released pair of .bin files")
      ->required();
  verb.add_option("--context_size", arguments->context_size,
                  "Window the adapter was trained for (default, or -1: from the adapter's config.json)")
      ->check(size_or_unset());
  verb.add_option("--save_path", arguments->save_path, "Directory to write, or file: NAME.gguf")->required();
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
  verb.add_option(
          "--format", arguments->format,
          "model.safetensors, pytorch_model.bin or GGUF; auto: by the name of --save_path, else safetensors")
      ->check(CLI::IsMember({"auto", "safetensors", "bin", "gguf"}))
      ->capture_default_str();
  add_gguf_type_flag(verb, arguments->type);
  add_bool(verb, "--overwrite", arguments->overwrite,
           "Replace an earlier result in --save_path, once the new one is complete; other files never");
  add_bool(verb, "--lora_only", arguments->lora_only,
           "The adapter was trained without embeddings and norms: do not ask for trainable_params");
  add_device_flag(verb, arguments->device);
  verb.add_option("--json", arguments->json, "Write what was done to this file");
  verb.callback([arguments] { run_merge(*arguments); });
}

}  // namespace longlora::cli
