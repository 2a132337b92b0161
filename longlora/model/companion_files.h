// The files beside the weights of a model, such as its tokenizer, which are copied to a new model or adapter.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace longlora::model {

/// Where companion files come from.
struct CompanionSources {
  /// The model's folder, or a GGUF file, of which the files are made; empty: none.
  std::filesystem::path model;
  /// Another folder, such as an adapter's, or a tokenizer file. Where it has a tokenizer, all tokenizer files
  /// come from there and none from the model. A note of the prompt form that was taught replaces the model's
  /// note. Empty: the model's tokenizer is taken.
  std::filesystem::path tokenizer = {};
};

/// What the companion files are copied for.
enum class CompanionKind {
  /// A whole model. Everything is copied that transformers, the hub or a reader may want: tokenizer, chat
  /// templates, generation and processor settings, code, licences, model card, subfolders.
  kModel,
  /// An adapter, which is used with its base. Only what says how text goes in and out is copied: tokenizer,
  /// chat templates, generation and processor settings.
  kAdapter,
};

/// Copies companion files into the existing folder `to`, where they replace files of the same name. Follows
/// links. Leaves out weights of every format, the files of training runs and data sets, hidden files, files
/// of more than 64 MiB, and folders that hold weights or more than 64 MiB. Leaves out config.json and
/// adapter_config.json, too, because they describe the weights and are written with them. Returns the names
/// of what was left out; the weights that the model is read from are not among them. Throws InputError for a
/// file that cannot be read, ResourceError for one that cannot be written.
std::vector<std::string> copy_companion_files(const CompanionSources& from, const std::filesystem::path& to,
                                              CompanionKind kind = CompanionKind::kModel);

/// Logs one line that lists what copy_companion_files left out of `to`, or none where it left out nothing.
void log_left_out(const std::vector<std::string>& left_out, const std::filesystem::path& to);

}  // namespace longlora::model
