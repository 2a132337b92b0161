#include "longlora/cli/gguf_output.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>

#include "longlora/checkpoint/gguf_weights.h"
#include "longlora/core/error.h"
#include "longlora/core/format.h"
#include "longlora/core/log.h"
#include "longlora/gguf/gguf_model.h"

namespace longlora::cli {
namespace {

namespace fs = std::filesystem;

// Checks the claim, and returns where the staging folder is named after.
fs::path claimed(const GgufOutput::Claim& claim) {
  const fs::path& path = claim.output.path;
  const auto is_gguf = [](const fs::path& file) { return gguf::find_model(file).has_value(); };
  prepare_output_files({{"--json", claim.result_file}, {claim.output.flag, path, is_gguf}}, claim.inputs);
  if (fs::exists(path) && !claim.overwrite)
    throw UsageError(fmt::format("[{} {}] expected a new path; add --overwrite True to replace the file",
                                 claim.output.flag, path.string()));
  return path.parent_path() / (path.filename().string() + ".parts");
}

}  // namespace

bool is_gguf_output(const std::string& format, const fs::path& output) {
  return format == "gguf" || (format == "auto" && output.extension() == ".gguf");
}

void add_gguf_type_flag(CLI::App& verb, std::string& type) {
  std::vector<std::string> names = checkpoint::gguf_type_names();
  names.insert(names.begin(), "auto");
  verb.add_option("--type", type,
                  "Type of the matrices in a GGUF file; auto: as they are stored, and bf16 of quantised ones")
      ->check(CLI::IsMember(names))
      ->capture_default_str();
}

void require_gguf_for_type(const std::string& type) {
  if (type != "auto")
    throw UsageError(fmt::format(
        "[--type {}] expected an output in GGUF (a name that ends in .gguf, or --format gguf), got another",
        type));
}

GgufOutput::GgufOutput(const Claim& claim) : path_(claim.output.path), staging_(claimed(claim)) {}

std::string GgufOutput::write(const std::vector<checkpoint::TensorSpec>& specs,
                              const checkpoint::TensorSource& tensors, const std::string& type) const {
  const gguf::BlockType chosen = model::write_gguf(
      path_, {.folder = staging(), .specs = specs, .tensors = tensors}, checkpoint::gguf_type(type));
  const std::string name = gguf::type_name(static_cast<uint32_t>(chosen));
  log_info(fmt::format("{}: GGUF, {}, {}", path_.string(), name,
                       format_bytes(static_cast<int64_t>(fs::file_size(path_)))));
  return name;
}

}  // namespace longlora::cli
