#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <memory>
#include <optional>

#include "longlora/checkpoint/tensor_writer.h"
#include "longlora/cli/flags.h"
#include "longlora/cli/verbs.h"
#include "longlora/core/error.h"
#include "longlora/core/format.h"
#include "longlora/core/log.h"
#include "longlora/core/output_folder.h"
#include "longlora/model/companion_files.h"
#include "longlora/model/load.h"
#include "longlora/model/stored_model.h"
#include "longlora/tensors/dtypes.h"

namespace longlora::cli {
namespace {

struct QuantizeArguments {
  std::filesystem::path model;
  std::filesystem::path output_dir;
  ops::Nf4Options options;
  std::string dtype = "auto";
  std::string max_shard_size = "5GB";
  bool overwrite = false;
  std::filesystem::path json;
};

void check_arguments(const QuantizeArguments& arguments) {
  if (!ops::is_nf4_block_size(arguments.options.block_size))
    throw UsageError(
        fmt::format("[--quantize_block] expected 32, 64, 128, 256, 512, 1024, 2048 or 4096, got {}",
                    arguments.options.block_size));
}

// Claims the output before any work.
OutputFolder claim_outputs(const QuantizeArguments& arguments) {
  const std::vector<NamedPath> inputs = {{"--model_name_or_path", arguments.model}};
  OutputFolder folder({.output = {"--output_dir", arguments.output_dir},
                       .verb = "quantize",
                       .inputs = inputs,
                       .overwrite = arguments.overwrite,
                       .result_file = arguments.json});
  prepare_output_files({{"--json", arguments.json}}, inputs, {"--output_dir", arguments.output_dir});
  return folder;
}

// Returns the dtype of tensors that are not put into four bits: the one that was asked for, or that of the
// stored embedding.
at::ScalarType stored_dtype(const QuantizeArguments& arguments, const model::StoredModel& model) {
  if (const auto asked = tensors::weight_dtype_from_name(arguments.dtype)) return *asked;
  const at::ScalarType found =
      model.weights.info(fmt::format("{}.weight", model.config.family().names.embed_tokens)).dtype;
  return found == at::kFloat || found == at::kHalf ? found : at::kBFloat16;
}

void run_quantize(const QuantizeArguments& arguments) {
  check_arguments(arguments);
  OutputFolder folder = claim_outputs(arguments);
  const model::StoredModel stored = model::open_stored_model(arguments.model);
  if (stored.config.quantization)
    throw InputError(
        fmt::format("[--model_name_or_path {}] expected a model in full precision, got one in NF4",
                    arguments.model.string()));
  const at::ScalarType dtype = stored_dtype(arguments, stored);
  const model::Decoder decoder = model::load_decoder(arguments.model, dtype, {.quantize = arguments.options});
  const model::ParameterCounts counts = model::count_parameters(decoder);
  write_json(folder.staging() / "config.json",
             model::model_config_json(decoder.config, tensors::dtype_name(dtype)));
  checkpoint::write_model_tensors(folder.staging(), model::model_tensors(decoder, dtype),
                                  checkpoint::parse_byte_size(arguments.max_shard_size, "--max_shard_size"));
  model::log_left_out(model::copy_companion_files({.model = arguments.model}, folder.staging()),
                      arguments.output_dir);
  folder.commit();
  log_info(fmt::format("{} of {} parameters in {} ({:.3f} bits each), the rest in {}: {}",
                       format_count(counts.quantized), format_count(counts.total),
                       format_bytes(counts.quantized_bytes), counts.bits_per_quantized(),
                       tensors::dtype_name(dtype), arguments.output_dir.string()));
  if (arguments.json.empty()) return;
  write_json(arguments.json, {{"verb", "quantize"},
                              {"output_dir", arguments.output_dir.string()},
                              {"parameters", counts.total},
                              {"quantized_parameters", counts.quantized},
                              {"quantized_bytes", counts.quantized_bytes},
                              {"bits_per_quantized_parameter", counts.bits_per_quantized()},
                              {"dtype", tensors::dtype_name(dtype)}});
}

}  // namespace

void add_quantize_verb(CLI::App& app) {
  CLI::App& verb = *app.add_subcommand(
      "quantize",
      "Put a model's linear layers into 4 bits (NF4) and save it as transformers and bitsandbytes do");
  auto arguments = std::make_shared<QuantizeArguments>();
  verb.add_option("--model_name_or_path", arguments->model,
                  "Directory of the model: Hugging Face's layout or Meta's; or a GGUF file")
      ->type_name("DIR")
      ->required();
  verb.add_option("--output_dir", arguments->output_dir, "Directory to write")->type_name("DIR")->required();
  verb.add_option("--quantize_block", arguments->options.block_size, "Elements that share a scale")
      ->capture_default_str();
  add_bool(verb, "--double_quant", arguments->options.double_quant, "Keep those scales in 8 bits");
  verb.add_option("--dtype", arguments->dtype,
                  "How embeddings, head, norms and biases are stored; auto: as in the model")
      ->check(CLI::IsMember({"auto", "float32", "bfloat16", "float16"}))
      ->capture_default_str();
  verb.add_option("--max_shard_size", arguments->max_shard_size, "Largest weight file: 5GB, 500MB, 2GiB …")
      ->capture_default_str();
  add_bool(verb, "--overwrite", arguments->overwrite,
           "Replace an earlier result in --output_dir, once the new one is complete; other files never");
  verb.add_option("--json", arguments->json, "Write what was done to this file");
  verb.callback([arguments] { run_quantize(*arguments); });
}

}  // namespace longlora::cli
