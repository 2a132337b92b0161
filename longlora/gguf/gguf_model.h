// A model in GGUF: one file, or the parts of one that was split.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <vector>

#include "longlora/core/file.h"
#include "longlora/gguf/gguf_file.h"

namespace longlora::gguf {

/// The GGUF file that `path` means as a model: the file itself, or the only one (the first part of a split
/// one) of a folder without config.json. Nothing where it is something else. Throws InputError for a folder
/// with several.
std::optional<std::filesystem::path> find_model(const std::filesystem::path& path);

/// A mapped model. Only the table of contents has been read.
class GgufModel {
 public:
  /// The file, or all parts of the one that it belongs to (NAME-00001-of-00003.gguf). Throws InputError as
  /// parse_gguf; a part that is missing or of another model.
  static GgufModel open(const std::filesystem::path& path);

  /// Of the first part, which has the values of the model.
  const Metadata& metadata() const { return metadata_; }
  const std::vector<std::shared_ptr<const MappedFile>>& files() const { return files_; }
  /// The tensors of each file.
  const std::vector<std::vector<TensorEntry>>& tensors() const { return tensors_; }

 private:
  std::vector<std::shared_ptr<const MappedFile>> files_;
  std::vector<std::vector<TensorEntry>> tensors_;
  Metadata metadata_;
};

}  // namespace longlora::gguf
