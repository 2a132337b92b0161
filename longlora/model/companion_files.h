// What lies beside the weights of a model and goes where the model goes.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace longlora::model {

/// Where companion files come from.
struct CompanionSources {
  /// The model's folder; empty: none.
  std::filesystem::path model;
  /// A folder (an adapter's) or a tokenizer file. Where it has a tokenizer, that takes the place of the
  /// model's, whole; its note of the prompt form that was taught goes before the model's. Empty: the model's.
  std::filesystem::path tokenizer = {};
};

/// What is written.
enum class CompanionKind {
  /// A whole model: everything beside the weights that transformers, the hub or a reader may want. Tokenizer,
  /// chat templates, generation and processor settings, code, licences, model card, subfolders.
  kModel,
  /// An adapter, which is used with its base: what says how text goes in and out. Tokenizer, chat templates,
  /// generation and processor settings.
  kAdapter,
};

/// Copies companion files into the existing folder `to`, replacing those of the same name. Links are
/// followed. Left out are weights of every format, what a training run or a data set leaves, hidden files,
/// files of more than 64 MiB, folders that hold weights or more than that; and config.json and
/// adapter_config.json, which describe the weights and are written with them. Returns the names of what was
/// left out, but for the weights that a model is read from. Throws InputError for a file that cannot be read,
/// ResourceError for one that cannot be written.
std::vector<std::string> copy_companion_files(const CompanionSources& from, const std::filesystem::path& to,
                                              CompanionKind kind = CompanionKind::kModel);

/// One line that lists what copy_companion_files left out of `to`; none for an empty list.
void log_left_out(const std::vector<std::string>& left_out, const std::filesystem::path& to);

}  // namespace longlora::model
