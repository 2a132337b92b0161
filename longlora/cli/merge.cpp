#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <memory>

#include "longlora/checkpoint/peft_adapter.h"
#include "longlora/cli/flags.h"
#include "longlora/cli/model_flags.h"
#include "longlora/cli/verbs.h"
#include "longlora/core/error.h"
#include "longlora/core/file.h"
#include "longlora/core/log.h"
#include "longlora/model/adapter.h"
#include "longlora/model/load.h"

namespace longlora::cli {
namespace {

struct MergeArguments {
  std::filesystem::path base_model;
  std::filesystem::path peft_model;
  std::filesystem::path save_path;
  int64_t context_size = 0;
  std::string rope_scaling;
  std::string dtype = "auto";
  bool overwrite = false;
  bool lora_only = false;
  std::filesystem::path json;
};

/// The dtype to store: the base's own unless told otherwise.
at::ScalarType stored_dtype(const MergeArguments& arguments) {
  if (arguments.dtype == "float32") return at::kFloat;
  if (arguments.dtype == "bfloat16") return at::kBFloat16;
  const auto store = checkpoint::TensorStore::open_model_directory(arguments.base_model);
  return store.info("model.embed_tokens.weight").dtype == at::kFloat ? at::kFloat : at::kBFloat16;
}

void check_paths(const MergeArguments& arguments) {
  if (!std::filesystem::exists(arguments.save_path) || arguments.overwrite) return;
  if (!std::filesystem::is_directory(arguments.save_path) || !list_directory(arguments.save_path).empty())
    throw UsageError(
        fmt::format("[--save_path {}] expected a new or empty directory; add --overwrite True to replace it",
                    arguments.save_path.string()));
}

void run_merge(const MergeArguments& arguments) {
  check_paths(arguments);
  const at::ScalarType dtype = stored_dtype(arguments);
  // A merge is done once and used for ever: it is computed in float32 whatever is stored.
  const auto adapter = checkpoint::PeftAdapter::open(arguments.peft_model);
  if (!arguments.lora_only) adapter.require_parameters();
  model::Decoder decoder = model::load_with_adapter(arguments.base_model, arguments.peft_model, at::kFloat);
  model::merge_lora(decoder);
  if (arguments.context_size > decoder.config.context_window())
    model::stretch_window(decoder.config, asked_rope_scaling(arguments.rope_scaling), arguments.context_size);
  else if (!arguments.rope_scaling.empty())
    log_warning(fmt::format("--rope_scaling {} is left out: the model's window of {} tokens needs no change",
                            arguments.rope_scaling, decoder.config.context_window()));
  const model::ModelConfig& config = decoder.config;

  DirectoryTransaction transaction(arguments.save_path);
  model::save_decoder(decoder, transaction.staging(), dtype);
  model::copy_companion_files(arguments.base_model, transaction.staging());
  transaction.commit();
  log_info(fmt::format("merged {} low-rank pairs and {} trained parameters into {}: window {} tokens, {}, {}",
                       adapter.modules().size(), adapter.parameters().size(), arguments.save_path.string(),
                       config.context_window(), model::describe_scaling(config.rope_scaling),
                       model::dtype_name(dtype)));
  if (!arguments.json.empty())
    write_json(arguments.json, {{"verb", "merge"},
                                {"save_path", arguments.save_path.string()},
                                {"modules", adapter.modules().size()},
                                {"parameters", adapter.parameters().size()},
                                {"context_window", config.context_window()}});
}

}  // namespace

void add_merge_verb(CLI::App& app) {
  CLI::App& verb =
      *app.add_subcommand("merge", "Put an adapter into its base model: one Hugging Face directory");
  auto arguments = std::make_shared<MergeArguments>();
  verb.add_option("--base_model", arguments->base_model, "Hugging Face directory the adapter was trained on")
      ->required();
  verb.add_option("--peft_model", arguments->peft_model, "Adapter directory that fine-tune wrote")
      ->required();
  verb.add_option("--context_size", arguments->context_size,
                  "Window the adapter was trained for (default: from the adapter's config.json)");
  verb.add_option("--save_path", arguments->save_path, "Directory to write")->required();
  verb.add_option("--rope_scaling", arguments->rope_scaling,
                  "Scaling for a --context_size beyond the adapter's own window: linear or yarn (default: "
                  "the kind the model carries, else linear)")
      ->check(CLI::IsMember({"linear", "yarn"}));
  verb.add_option("--dtype", arguments->dtype, "How weights are stored; auto: as in the base")
      ->check(CLI::IsMember({"auto", "float32", "bfloat16"}))
      ->capture_default_str();
  add_bool(verb, "--overwrite", arguments->overwrite, "Replace --save_path if it holds files");
  add_bool(
      verb, "--lora_only", arguments->lora_only,
      "The adapter was trained without embeddings and norms: do not ask for trainable_params.safetensors");
  verb.add_option("--json", arguments->json, "Write what was done to this file");
  add_ignored(verb, "--cache_dir", "nothing is downloaded");
  verb.callback([arguments] { run_merge(*arguments); });
}

}  // namespace longlora::cli
