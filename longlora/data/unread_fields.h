// Fields of samples that nothing was read from, counted for a report.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace longlora::data {

class UnreadFields {
 public:
  /// The names of one sample; a field of its messages is called "messages[].NAME".
  void add(const std::vector<std::string>& names);
  void add(const std::string& name, int64_t num_samples);
  void add(const UnreadFields& others);
  const std::map<std::string, int64_t>& counts() const { return counts_; }

  /// One line, "fields that were not read: id (1,000 samples)", for `source`: a warning where a name sounds
  /// as if the field belonged to the question or the answer. Nothing where all fields were read.
  void log(const std::string& source) const;

 private:
  std::map<std::string, int64_t> counts_;  // a stranger's file may have a name for each sample: not too many
};

}  // namespace longlora::data
