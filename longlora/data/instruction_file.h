// Files of questions and answers.
#pragma once

#include <cstddef>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "longlora/data/conversation.h"
#include "longlora/data/data_file.h"
#include "longlora/data/json_samples.h"

namespace longlora::data {

/// A file of samples. It is cut when it is opened, and a sample is parsed when it is asked for, so that a
/// broken one harms no other. Immutable and thread-safe.
class InstructionFile {
 public:
  /// Throws InputError as DataFile and cut_samples do.
  explicit InstructionFile(const std::filesystem::path& path);
  /// Does the same with a file that is open already.
  explicit InstructionFile(DataFile file);

  size_t size() const { return cut_.samples.size(); }
  /// The place of a sample for messages (see CutSamples).
  std::string place(size_t index) const { return cut_.place(path().string(), index); }
  /// Throws InputError for a broken sample (see parse_conversation).
  Conversation read(size_t index, std::vector<std::string>* unread = nullptr) const {
    return parse_conversation(cut_.samples[index], place(index), unread);
  }
  /// The JSON text of a sample.
  std::string_view text(size_t index) const { return cut_.samples[index]; }
  const std::filesystem::path& path() const { return file_.path(); }

 private:
  DataFile file_;
  CutSamples cut_;
};

}  // namespace longlora::data
