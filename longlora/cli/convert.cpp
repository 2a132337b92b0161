#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <memory>
#include <optional>

#include "longlora/checkpoint/gguf_checkpoint.h"
#include "longlora/checkpoint/meta_checkpoint.h"
#include "longlora/checkpoint/tensor_store.h"
#include "longlora/checkpoint/tensor_writer.h"
#include "longlora/cli/flags.h"
#include "longlora/cli/gguf_output.h"
#include "longlora/cli/verbs.h"
#include "longlora/core/error.h"
#include "longlora/core/json.h"
#include "longlora/core/log.h"
#include "longlora/core/output_folder.h"
#include "longlora/gguf/gguf_model.h"
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
  std::string type = "auto";
  std::string max_shard_size = "5GB";
  bool overwrite = false;
  fs::path json;
};

// A model in any format: its tensors, what is written of them, and its config.json where that is no file of
// the input.
struct Model {
  checkpoint::TensorStore weights;
  std::optional<Json> config;
  // What all tensors are written in where nothing else is asked for; nothing: as they are.
  std::optional<at::ScalarType> dtype;
  std::vector<TensorSpec> specs;

  explicit Model(checkpoint::TensorStore store) : weights(std::move(store)) {
    specs.reserve(weights.tensors().size());
    for (const auto& [name, info] : weights.tensors()) specs.push_back({name, info.dtype, info.shape});
  }
  explicit Model(const checkpoint::MetaCheckpoint& meta) : Model(meta.weights()) { config = meta.config(); }

  explicit Model(const checkpoint::GgufCheckpoint& gguf) : Model(gguf.weights()) {
    config = gguf.config();
    dtype = gguf.dtype();
  }

  at::Tensor load(const TensorSpec& spec) const { return weights.load(spec.name, spec.shape, spec.dtype); }
};

Model open_input(const Arguments& arguments) {
  if (!arguments.params.empty())
    return Model(checkpoint::MetaCheckpoint::open({arguments.input}, arguments.params));
  if (gguf::find_model(arguments.input)) return Model(checkpoint::GgufCheckpoint::open(arguments.input));
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

// Copies everything beside the weights: what describes them, the tokenizer, a model card.
void copy_other_files(const fs::path& from, const fs::path& to, const fs::path& output) {
  for (const char* name : {"config.json", "adapter_config.json"})
    if (fs::exists(from / name)) write_file_atomic(to / name, read_file(from / name));
  model::log_left_out(model::copy_companion_files({.model = from}, to), output);
}

// Whether `config` ties head and embedding although they differ in the files. Such a model is read with a
// head of its own, and its config.json is written so.
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
  if (!model.config && !dtype && !unties) return;  // config.json is copied as it is
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
  // Beside a single file with --params lie files that do not belong to it.
  if (arguments.params.empty()) copy_other_files(arguments.input, output.staging(), arguments.output);
  write_config(model, output.staging(), dtype);
  checkpoint::write_model_files(
      output.staging(), model.specs, [&](const TensorSpec& spec) { return model.load(spec); }, files);
  output.commit();
}

// Whether a file holds tensors, as safetensors or as an archive of torch.save. Neither format says which
// program wrote it, so that --overwrite is needed, too.
bool is_tensor_file(const fs::path& file) {
  constexpr size_t kSafetensorsLength = 8;  // the length of the JSON that follows is in so many bytes
  const MappedFile mapped(file);
  const std::string_view text = mapped.text();
  return text.starts_with("PK\x03\x04") ||
         (text.size() > kSafetensorsLength && text[kSafetensorsLength] == '{');
}

// Claims the output before any work. It is a folder unless the input is a single file.
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

// Whether --input is a file of tensors, and no model.
bool is_tensors(const Arguments& arguments) {
  return fs::is_regular_file(arguments.input) && arguments.params.empty() &&
         !gguf::find_model(arguments.input);
}

void convert_to_gguf(const Arguments& arguments) {
  if (is_tensors(arguments))
    throw UsageError(
        fmt::format("[--input {}] expected a model for a GGUF file, got a file of tensors; name its folder",
                    arguments.input.string()));
  if (arguments.dtype != "auto")
    throw UsageError(fmt::format(
        "[--dtype {}] expected --type for a GGUF file (bf16, f16, q8_0 …), got --dtype", arguments.dtype));
  const GgufOutput output({.output = {"--output", arguments.output},
                           .inputs = {{"--input", arguments.input}, {"--params", arguments.params}},
                           .result_file = arguments.json,
                           .overwrite = arguments.overwrite});
  const Model model = open_input(arguments);
  if (arguments.params.empty()) copy_other_files(arguments.input, output.staging(), arguments.output);
  write_config(model, output.staging(), model.dtype);
  const std::string type = output.write(
      model.specs, [&](const TensorSpec& spec) { return model.load(spec); }, arguments.type);
  if (!arguments.json.empty())
    write_json(arguments.json, {{"verb", "convert"},
                                {"output", arguments.output.string()},
                                {"tensors", model.specs.size()},
                                {"format", "gguf"},
                                {"type", type}});
}

void run(const Arguments& arguments) {
  if (is_gguf_output(arguments.format, arguments.output)) return convert_to_gguf(arguments);
  require_gguf_for_type(arguments.type);
  const bool is_file = is_tensors(arguments);
  const std::unique_ptr<OutputFolder> folder = claim_outputs(arguments, is_file);
  Model model = open_input(arguments);
  const std::optional<at::ScalarType> asked = tensors::weight_dtype_from_name(arguments.dtype);
  const std::optional<at::ScalarType> dtype = asked ? asked : model.dtype;
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
  CLI::App& verb = *app.add_subcommand("convert",
                                       "Rewrite weights: between safetensors and .bin, from Meta's layout or "
                                       "GGUF to Hugging Face's, and to GGUF");
  auto arguments = std::make_shared<Arguments>();
  verb.add_option("--input", arguments->input,
                  "Hugging Face directory, Meta's directory (consolidated.00.pth, params.json), a GGUF file, "
                  "or one file "
                  "of tensors")
      ->required();
  verb.add_option("--output", arguments->output,
                  "Directory to write, or file: NAME.gguf, or where --input is one of tensors")
      ->required();
  verb.add_option(
      "--params", arguments->params,
      "--input is one file in Meta's layout, and this is its params.json; --output is a directory");
  verb.add_option("--format", arguments->format, "auto: by the name of --output, else safetensors")
      ->check(CLI::IsMember({"auto", "safetensors", "bin", "gguf"}))
      ->capture_default_str();
  add_gguf_type_flag(verb, arguments->type);
  verb.add_option("--dtype", arguments->dtype,
                  "How floating-point tensors are stored; auto: as they are, and bfloat16 of quantised GGUF")
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
