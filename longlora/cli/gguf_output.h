// GGUF files that verbs write.
#pragma once

#include <CLI/App.hpp>

#include <filesystem>
#include <string>
#include <vector>

#include "longlora/core/file.h"
#include "longlora/core/output_paths.h"
#include "longlora/model/gguf_export.h"

namespace longlora::cli {

/// Whether a verb writes GGUF: --format says so, or, where that is auto, the name of the output.
bool is_gguf_output(const std::string& format, const std::filesystem::path& output);

/// --type of the matrices of a GGUF file; auto: as they are.
void add_gguf_type_flag(CLI::App& verb, std::string& type);
/// Throws UsageError where --type is given and no GGUF is written.
void require_gguf_for_type(const std::string& type);

/// One file, claimed before the work and complete when it appears. What goes into it beside weights is put
/// into staging(), a folder that goes away with the object.
class GgufOutput {
 public:
  struct Claim {
    NamedPath output;
    std::vector<NamedPath> inputs;
    std::filesystem::path result_file = {};  // --json
    bool overwrite = false;
  };
  /// Throws UsageError as prepare_output_files; where the file exists and is no GGUF, or is one and
  /// --overwrite is not given.
  explicit GgufOutput(const Claim& claim);

  /// config.json, tokenizer and generation_config.json go here.
  const std::filesystem::path& staging() const { return staging_.staging(); }
  /// Writes the file of what is in staging() and these weights (model::write_gguf), and logs what it is.
  /// Returns the name of the type of its matrices.
  std::string write(const std::vector<checkpoint::TensorSpec>& specs, const checkpoint::TensorSource& tensors,
                    const std::string& type) const;

 private:
  std::filesystem::path path_;
  DirectoryTransaction staging_;  // is never committed
};

}  // namespace longlora::cli
