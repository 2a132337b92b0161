#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <memory>
#include <optional>

#include "longlora/checkpoint/meta_checkpoint.h"
#include "longlora/checkpoint/tensor_store.h"
#include "longlora/checkpoint/tensor_writer.h"
#include "longlora/cli/flags.h"
#include "longlora/cli/verbs.h"
#include "longlora/core/error.h"
#include "longlora/core/json.h"
#include "longlora/core/log.h"
#include "longlora/core/output_folder.h"
#include "longlora/model/companion_files.h"
#include "longlora/model/family.h"
#include "longlora/model/stored_model.h"
#include "longlora/tensors/dtypes.h"

namespace longlora::cli {
namespace {

namespace fs = std::filesystem;
using checkpoint::TensorFormat;
using checkpoint::TensorSpec;

struct Arguments {
  fs::path input;
  fs::path output;
  fs::path params;
  std::string format = "auto";
  std::string dtype = "auto";
  std::string max_shard_size = "5GB";
  bool overwrite = false;
  fs::path json;
};

// A model in any format, its config.json where that is not a file of the input, and what is stored of it.
struct Model {
  checkpoint::TensorStore weights;
  std::optional<Json> config;
  std::vector<TensorSpec> specs;

  explicit Model(checkpoint::TensorStore store) : weights(std::move(store)) {
    specs.reserve(weights.tensors().size());
    for (const auto& [name, info] : weights.tensors()) specs.push_back({name, info.dtype, info.shape});
  }
  explicit Model(const checkpoint::MetaCheckpoint& meta) : Model(meta.weights()) { config = meta.config(); }

  at::Tensor load(const TensorSpec& spec) const { return weights.load(spec.name, spec.shape, spec.dtype); }
};

Model open_input(const Arguments& arguments) {
  if (!arguments.params.empty())
    return Model(checkpoint::MetaCheckpoint::open({arguments.input}, arguments.params));
  if (fs::is_regular_file(arguments.input)) return Model(checkpoint::TensorStore::open_file(arguments.input));
  if (checkpoint::MetaCheckpoint::is_in(arguments.input))
    return Model(checkpoint::MetaCheckpoint::open(arguments.input));
  return Model(checkpoint::TensorStore::open_model_directory(arguments.input));
}

void change_dtype(Model& model, at::ScalarType dtype) {
  for (const TensorSpec& spec : model.specs)
    if (spec.name.find(".quant_state.") != std::string::npos)
      throw InputError(fmt::format(
          "[--dtype] expected a model in full precision, got {}; the scales of weights in four bits "
          "stay as they are: leave --dtype out",
          spec.name));
  for (TensorSpec& spec : model.specs)
    if (at::isFloatingType(spec.dtype)) spec.dtype = dtype;
}

// Everything beside the weights: what describes them, the tokenizer, a model card.
void copy_other_files(const fs::path& from, const fs::path& to, const fs::path& output) {
  for (const char* name : {"config.json", "adapter_config.json"})
    if (fs::exists(from / name)) write_file_atomic(to / name, read_file(from / name));
  model::log_left_out(model::copy_companion_files({.model = from}, to), output);
}

// Whether `config` ties a head to the embedding that differs from it in the files: such a model is read with
// its own head, and says so where it is written.
bool has_untied_head(const Json& config, const checkpoint::TensorStore& weights) {
  if (!config.is_object() || config.value("tie_word_embeddings", Json()) != Json(true)) return false;
  const Json type = config.value("model_type", Json());
  const model::Family* family = type.is_string() ? model::find_family(type.get<std::string>()) : nullptr;
  return family != nullptr && model::has_own_head(weights, *family);
}

void write_config(const Model& model, const fs::path& directory, const std::optional<at::ScalarType>& dtype) {
  const fs::path path = directory / "config.json";
  if (!model.config && !fs::exists(path)) return;
  Json config = model.config ? *model.config : read_json(path);
  const bool unties = has_untied_head(config, model.weights);
  if (!model.config && !dtype && !unties) return;  // as it was, to the letter
  if (unties) {
    config["tie_word_embeddings"] = false;
    log_info(
        "config.json ties the head to the embedding, but the files hold another head: tie_word_embeddings "
        "becomes false");
  }
  if (dtype && config.is_object()) {
    config.erase("dtype");
    config["torch_dtype"] = tensors::dtype_name(*dtype);
  }
  write_json(path, config);
}

TensorFormat output_format(const Arguments& arguments) {
  if (arguments.format != "auto")
    return arguments.format == "bin" ? TensorFormat::kTorch : TensorFormat::kSafetensors;
  const std::string extension = arguments.output.extension().string();
  const bool is_torch = extension == ".bin" || extension == ".pt" || extension == ".pth";
  return is_torch ? TensorFormat::kTorch : TensorFormat::kSafetensors;
}

void convert_directory(const Arguments& arguments, const Model& model,
                       const std::optional<at::ScalarType>& dtype, OutputFolder& output) {
  checkpoint::ModelFileOptions files;
  files.format = output_format(arguments);
  files.max_shard_bytes = checkpoint::parse_byte_size(arguments.max_shard_size, "--max_shard_size");
  const fs::path folder =
      fs::is_regular_file(arguments.input) ? arguments.input.parent_path() : arguments.input;
  // A single file with --params has strangers beside it.
  if (arguments.params.empty())
    copy_other_files(folder.empty() ? "." : folder, output.staging(), arguments.output);
  write_config(model, output.staging(), dtype);
  checkpoint::write_model_files(
      output.staging(), model.specs, [&](const TensorSpec& spec) { return model.load(spec); }, files);
  output.commit();
}

// Whether a file holds tensors, as safetensors or as a torch.save archive. Neither says who wrote it, which
// is why --overwrite has to be given as well.
bool is_tensor_file(const fs::path& file) {
  constexpr size_t kSafetensorsLength = 8;  // bytes that say how long the JSON behind them is
  const MappedFile mapped(file);
  const std::string_view text = mapped.text();
  return text.starts_with("PK\x03\x04") ||
         (text.size() > kSafetensorsLength && text[kSafetensorsLength] == '{');
}

// Claims what is written before anything is done; a folder where the input is more than a file.
std::unique_ptr<OutputFolder> claim_outputs(const Arguments& arguments, bool is_file) {
  const std::vector<NamedPath> inputs = {{"--input", arguments.input}, {"--params", arguments.params}};
  std::vector<OutputFile> files = {{"--json", arguments.json}};
  std::unique_ptr<OutputFolder> folder;
  if (!is_file) {
    folder = std::make_unique<OutputFolder>(FolderClaim{.output = {"--output", arguments.output},
                                                        .verb = "convert",
                                                        .inputs = inputs,
                                                        .overwrite = arguments.overwrite,
                                                        .result_file = arguments.json});
  } else {
    files.push_back({"--output", arguments.output, is_tensor_file});
  }
  prepare_output_files(files, inputs, is_file ? NamedPath() : NamedPath{"--output", arguments.output});
  if (is_file && fs::exists(arguments.output) && !arguments.overwrite)
    throw UsageError(
        fmt::format("[--output {}] expected a new path; add --overwrite True to replace the file",
                    arguments.output.string()));
  return folder;
}

void run(const Arguments& arguments) {
  const bool is_file = fs::is_regular_file(arguments.input) && arguments.params.empty();
  const std::unique_ptr<OutputFolder> folder = claim_outputs(arguments, is_file);
  Model model = open_input(arguments);
  const std::optional<at::ScalarType> dtype = tensors::weight_dtype_from_name(arguments.dtype);
  if (dtype) change_dtype(model, *dtype);
  if (is_file)
    checkpoint::write_tensor_file(arguments.output, output_format(arguments), model.specs,
                                  [&](const TensorSpec& spec) { return model.load(spec); });
  else
    convert_directory(arguments, model, dtype, *folder);
  log_info(fmt::format("{}: {} tensors of {}", arguments.output.string(), model.specs.size(),
                       arguments.input.string()));
  if (!arguments.json.empty())
    write_json(arguments.json,
               {{"verb", "convert"},
                {"output", arguments.output.string()},
                {"tensors", model.specs.size()},
                {"format", output_format(arguments) == TensorFormat::kTorch ? "bin" : "safetensors"}});
}

}  // namespace

void add_convert_verb(CLI::App& app) {
  CLI::App& verb = *app.add_subcommand(
      "convert", "Rewrite weights: between safetensors and .bin, and from Meta's layout to Hugging Face's");
  auto arguments = std::make_shared<Arguments>();
  verb.add_option("--input", arguments->input,
                  "Hugging Face directory, Meta's directory (consolidated.00.pth, params.json), or one file")
      ->required();
  verb.add_option("--output", arguments->output, "Directory to write, or file where --input is one")
      ->required();
  verb.add_option(
      "--params", arguments->params,
      "--input is one file in Meta's layout, and this is its params.json; --output is a directory");
  verb.add_option("--format", arguments->format, "auto: by the name of --output, else safetensors")
      ->check(CLI::IsMember({"auto", "safetensors", "bin"}))
      ->capture_default_str();
  verb.add_option("--dtype", arguments->dtype, "How floating-point tensors are stored; auto: as they are")
      ->check(CLI::IsMember({"auto", "float32", "bfloat16", "float16"}))
      ->capture_default_str();
  verb.add_option("--max_shard_size", arguments->max_shard_size,
                  "Largest weight file of a directory: 5GB, 500MB, 2GiB …")
      ->capture_default_str();
  add_bool(verb, "--overwrite", arguments->overwrite,
           "Replace the file --output, or an earlier result in that folder once the new one is complete; "
           "other files never");
  verb.add_option("--json", arguments->json, "Write what was done to this file");
  verb.callback([arguments] { run(*arguments); });
}

}  // namespace longlora::cli
