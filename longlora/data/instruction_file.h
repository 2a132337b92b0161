// Files of questions and answers.
#pragma once

#include <cstddef>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "longlora/core/file.h"
#include "longlora/tokenizer/prompt_form.h"

namespace longlora::data {

/// The turns of one sample, ready for tokenizer::render_prompt: an optional
/// system turn, then users' and assistant's turns in alternation, no answer empty.
using Conversation = std::vector<tokenizer::Turn>;

/// The turns of one JSON object: Alpaca (instruction and output, or input and
/// output; with system and history where there are), `messages` (role, content)
/// or `conversations` (from, value). A question at the end that nobody answered
/// is left out. `place` names the sample in the InputError that says what is
/// wrong: missing fields, other types, empty answers, invalid UTF-8.
Conversation parse_conversation(std::string_view json, const std::string& place);

/// The text of each sample of a file, and in JSON lines the number of its line.
struct CutSamples {
  std::vector<std::string_view> samples;
  std::vector<size_t> lines;
};

/// Cuts one JSON list, or JSON lines (whichever it begins like), without parsing
/// the samples. `source` names the file in the InputError: no samples, a list
/// that is not closed or has something else between its elements, UTF-16.
CutSamples cut_samples(std::string_view text, const std::string& source);

/// A mapped file of samples. Cut when opened; a sample is parsed when asked for,
/// so that a broken one harms no other. Immutable and thread-safe.
class InstructionFile {
 public:
  /// Throws InputError (see cut_samples).
  explicit InstructionFile(const std::filesystem::path& path);

  size_t size() const { return cut_.samples.size(); }
  /// "file.json, sample 7" counted from 0, as a list in Python is; "file.jsonl:8" for lines.
  std::string place(size_t index) const;
  /// Throws InputError for a broken sample (see parse_conversation).
  Conversation read(size_t index) const { return parse_conversation(cut_.samples[index], place(index)); }
  /// The JSON text of a sample.
  std::string_view text(size_t index) const { return cut_.samples[index]; }
  std::string_view bytes() const { return file_.text(); }
  const std::filesystem::path& path() const { return file_.path(); }

 private:
  MappedFile file_;
  CutSamples cut_;
};

/// Replaces each folder by its .json and .jsonl files, sorted by name. Throws
/// InputError for a path that does not exist and a folder without such files.
std::vector<std::filesystem::path> expand_instruction_paths(const std::vector<std::filesystem::path>& paths);

}  // namespace longlora::data
