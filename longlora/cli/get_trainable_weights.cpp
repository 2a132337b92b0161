#include <fmt/format.h>
#include <fmt/ranges.h>

#include <CLI/CLI.hpp>
#include <memory>
#include <optional>
#include <set>

#include "longlora/checkpoint/adapter_name.h"
#include "longlora/checkpoint/peft_adapter.h"
#include "longlora/checkpoint/tensor_store.h"
#include "longlora/checkpoint/tensor_writer.h"
#include "longlora/cli/flags.h"
#include "longlora/cli/verbs.h"
#include "longlora/core/error.h"
#include "longlora/core/json.h"
#include "longlora/core/log.h"
#include "longlora/core/output_folder.h"

namespace longlora::cli {
namespace {

namespace fs = std::filesystem;
using checkpoint::AdapterPart;
using checkpoint::TensorFormat;
using checkpoint::TensorSpec;

constexpr const char* kVerb = "get-trainable-weights";
constexpr const char* kConfigFile = "adapter_config.json";

struct Arguments {
  fs::path checkpoint_path;
  std::vector<std::string> trainable_params = {"embed", "norm"};
  fs::path output_dir;
  std::string format = "both";
  fs::path json;
};

// The tensors that are written into one file, and the stored name of each.
struct Selection {
  std::vector<TensorSpec> specs;
  std::map<std::string, std::string> stored_names;

  void add(const std::string& name, const std::string& stored, const checkpoint::TensorInfo& info,
           const fs::path& source) {
    if (!stored_names.emplace(name, stored).second)
      throw InputError(fmt::format("[{}] expected \"{}\" once, got it as \"{}\" and \"{}\"", source.string(),
                                   name, stored_names[name], stored));
    specs.push_back({name, info.dtype, info.shape});
  }
};

// The tensors that PEFT reads, by PEFT's names, and the other tensors that match a pattern, by the model's
// names.
struct TrainedTensors {
  Selection adapter;
  Selection parameters;
};

// Returns the adapter's configuration, which is beside the checkpoint or in the output directory, or nullopt
// where there is none.
std::optional<fs::path> find_config(const Arguments& arguments) {
  for (const fs::path& folder : {arguments.output_dir, arguments.checkpoint_path})
    if (const fs::path path = folder / "adapter_config.json"; fs::exists(path)) return path;
  return std::nullopt;
}

TrainedTensors select_trained(const checkpoint::TensorStore& store, const Arguments& arguments,
                              const checkpoint::LoraConfig& config) {
  TrainedTensors trained;
  std::set<std::string> unmatched(arguments.trainable_params.begin(), arguments.trainable_params.end());
  for (const auto& [stored, info] : store.tensors()) {
    const checkpoint::AdapterName name = checkpoint::parse_adapter_name(stored);
    if (!at::isFloatingType(info.dtype) || name.part == AdapterPart::kDerived ||
        name.part == AdapterPart::kOriginal || name.part == AdapterPart::kOther)
      continue;
    bool is_trained = false;
    for (const std::string& pattern : arguments.trainable_params) {
      if (name.part != AdapterPart::kParameter || name.name.find(pattern) == std::string::npos) continue;
      unmatched.erase(pattern);
      is_trained = true;
    }
    const bool is_of_peft =
        name.part != AdapterPart::kParameter || name.is_saved_copy || config.trains_whole(name.name);
    if (is_of_peft)
      trained.adapter.add("base_model.model." + name.name, stored, info, arguments.checkpoint_path);
    else if (is_trained)
      trained.parameters.add(name.name, stored, info, arguments.checkpoint_path);
  }
  if (!unmatched.empty())
    throw UsageError(
        fmt::format("[--trainable_params] expected parts of tensor names in {} such as embed or norm, got {} "
                    "which matches nothing",
                    arguments.checkpoint_path.string(), fmt::join(unmatched, ", ")));
  return trained;
}

void write_selection(const fs::path& directory, const std::string& name, const Selection& selection,
                     const checkpoint::TensorStore& store, const std::string& format) {
  if (selection.specs.empty()) return;
  const auto source = [&](const TensorSpec& spec) {
    return store.load(selection.stored_names.at(spec.name));
  };
  if (format != "bin")
    checkpoint::write_tensor_file(directory / (name + ".safetensors"), TensorFormat::kSafetensors,
                                  selection.specs, source);
  if (format != "safetensors")
    checkpoint::write_tensor_file(directory / (name + ".bin"), TensorFormat::kTorch, selection.specs, source);
}

// Returns the names of the result's files, which depend on --format.
std::vector<std::string> names_of(const Arguments& arguments, const TrainedTensors& trained) {
  std::vector<std::string> names;
  const auto add = [&](const std::string& name, const Selection& selection) {
    if (selection.specs.empty()) return;
    if (arguments.format != "bin") names.push_back(name + ".safetensors");
    if (arguments.format != "safetensors") names.push_back(name + ".bin");
  };
  add("adapter_model", trained.adapter);
  add("trainable_params", trained.parameters);
  return names;
}

// What is in the output folder: its marker, which another verb may have written, and the names of files that
// this verb wrote there earlier.
struct EarlierResult {
  FolderManifest manifest;
  std::vector<std::string> names;
};

// Looks at the output folder. The result may be written beside the checkpoint, as the released script does,
// so that other files in the folder are allowed. Throws UsageError where the result would replace a file that
// this verb did not write.
EarlierResult find_earlier(const Arguments& arguments, const std::vector<std::string>& names) {
  EarlierResult found = {FolderManifest::read(arguments.output_dir).value_or(FolderManifest(kVerb)), {}};
  if (found.manifest.notes().is_object())
    found.names = found.manifest.notes().value(kVerb, std::vector<std::string>());
  const auto in_the_way = names_in_the_way(arguments.output_dir, found.manifest, found.names, names);
  if (in_the_way.empty()) return found;
  throw UsageError(fmt::format(
      "[--output_dir {}] expected a folder without {}, which this verb did not write there; they are not "
      "replaced: choose another path",
      arguments.output_dir.string(), list_names(in_the_way)));
}

// Writes the files into a temporary folder, reads them back as `merge` will where their configuration is
// known, and moves them into the output directory.
void write_adapter(const Arguments& arguments, const TrainedTensors& trained,
                   const checkpoint::TensorStore& store, const std::optional<fs::path>& config) {
  const auto lock = lock_folder("--output_dir", arguments.output_dir);
  std::vector<std::string> names = names_of(arguments, trained);
  auto [manifest, earlier] = find_earlier(arguments, names);
  AddedFiles added(arguments.output_dir, manifest, earlier);
  const fs::path& folder = added.staging();
  write_selection(folder, "adapter_model", trained.adapter, store, arguments.format);
  write_selection(folder, "trainable_params", trained.parameters, store, arguments.format);
  const bool has_adapter = !trained.adapter.specs.empty();
  if (config) write_file_atomic(folder / kConfigFile, read_file(*config));
  if (config && has_adapter) checkpoint::PeftAdapter::open(folder);
  if (!names_in_the_way(arguments.output_dir, manifest, earlier, {kConfigFile}).empty())
    fs::remove(folder / kConfigFile);  // the output directory has it already
  else if (config)
    names.emplace_back(kConfigFile);
  manifest.notes()[kVerb] = names;
  added.commit({kConfigFile});
  if (!config && has_adapter)
    log_warning(
        fmt::format("{} has no adapter_config.json: copy it there from the training run, merge needs it",
                    arguments.output_dir.string()));
}

void run(Arguments& arguments) {
  arguments.trainable_params = parameter_patterns(arguments.trainable_params);
  if (arguments.output_dir.empty())
    arguments.output_dir = fs::is_regular_file(arguments.checkpoint_path)
                               ? arguments.checkpoint_path.parent_path()
                               : arguments.checkpoint_path;
  if (arguments.output_dir.empty()) arguments.output_dir = ".";
  prepare_output_files({{"--json", arguments.json}}, {{"--checkpoint_path", arguments.checkpoint_path}},
                       {"--output_dir", arguments.output_dir});
  const auto store = checkpoint::TensorStore::open_checkpoint(arguments.checkpoint_path);
  const std::optional<fs::path> config = find_config(arguments);
  const TrainedTensors trained =
      select_trained(store, arguments,
                     config ? checkpoint::parse_lora_config(read_file(*config), config->string())
                            : checkpoint::LoraConfig());
  write_adapter(arguments, trained, store, config);
  log_info(fmt::format("{}: {} tensors of the adapter, {} other trained tensors of {} in {}",
                       arguments.output_dir.string(), trained.adapter.specs.size(),
                       trained.parameters.specs.size(), store.tensors().size(),
                       arguments.checkpoint_path.string()));
  if (!arguments.json.empty())
    write_json(arguments.json, {{"verb", "get-trainable-weights"},
                                {"output_dir", arguments.output_dir.string()},
                                {"lora_tensors", trained.adapter.specs.size()},
                                {"parameters", trained.parameters.specs.size()}});
}

}  // namespace

void add_get_trainable_weights_verb(CLI::App& app) {
  CLI::App& verb = *app.add_subcommand(
      "get-trainable-weights", "Take the trained tensors out of a training checkpoint: a LongLoRA adapter");
  auto arguments = std::make_shared<Arguments>();
  verb.add_option("--checkpoint_path", arguments->checkpoint_path,
                  "Directory with pytorch_model.bin or model.safetensors (shards too), or one such file")
      ->required();
  add_list(verb, "--trainable_params", arguments->trainable_params,
           "Parts of the names of tensors that were trained beside the pairs; none: the pairs alone");
  verb.add_option("--output_dir", arguments->output_dir,
                  "Where adapter_model and trainable_params are written (default: beside the checkpoint)");
  verb.add_option("--format", arguments->format, "Files to write")
      ->check(CLI::IsMember({"both", "bin", "safetensors"}))
      ->capture_default_str();
  verb.add_option("--json", arguments->json, "Write what was done to this file");
  verb.callback([arguments] { run(*arguments); });
}

}  // namespace longlora::cli
