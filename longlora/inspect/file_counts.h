// What is counted of one file while its samples are read.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "longlora/data/instruction_set.h"
#include "longlora/data/unread_fields.h"
#include "longlora/inspect/fingerprint.h"
#include "longlora/results/inspection.h"

namespace longlora::inspect {

/// The parts of a sample by length.
struct PartLengths {
  int64_t whole = 0;
  int64_t longest_question = 0;
  int64_t other = 0;  // what is neither that text nor an answer
  int64_t answers = 0;
};

/// All that one sample adds to the counts.
struct SampleReading {
  Fingerprint fingerprint = {};
  PartLengths lengths = {};
  WordCounts words = {};
  ScriptCounts scripts = {};
  std::vector<data::InstructionCounts> fits = {};  // for each length of rows
  std::string form = {};
  std::vector<std::string> fields = {};
  std::vector<std::string> unread = {};
  std::optional<std::string> problem = {};  // of a broken sample, of which nothing else is counted
  bool is_empty = false;
  bool is_certain = true;
};

/// How samples are measured.
struct Measure {
  data::InstructionOptions instructions;  // without a tokenizer lengths are in words
  std::vector<int64_t> max_lengths;       // of rows
};

/// Reads a sample into `sample`, and measures it.
SampleReading read_sample(const Source& source, int64_t index, const Measure& measure, Sample* sample);

/// Sums of a file.
class FileCounts {
 public:
  FileCounts(const Source& source, const Measure& measure);

  void add(const SampleReading& reading);
  int64_t num_long() const { return num_long_; }
  /// The result. Called once, at the end.
  results::InspectedFile result() const;

 private:
  void add_lengths(const PartLengths& lengths);
  std::vector<results::LengthFit> fits() const;

  const Source& source_;
  const Measure& measure_;
  results::InspectedFile file_;
  std::map<std::string, int64_t> forms_;
  data::UnreadFields fields_, unread_;  // any fields: UnreadFields limits how many names it keeps
  ScriptCounts scripts_;
  std::vector<int64_t> whole_, longest_question_, other_, answers_;
  std::vector<data::InstructionCounts> fit_counts_;
  int64_t num_long_ = 0;
};

}  // namespace longlora::inspect
