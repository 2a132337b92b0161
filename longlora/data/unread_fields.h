// Counts the fields of samples that nothing was read from, for a message.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace longlora::data {

class UnreadFields {
 public:
  /// Adds the names of one sample's fields; a field of its messages is called "messages[].NAME".
  void add(const std::vector<std::string>& names);
  void add(const std::string& name, int64_t num_samples);
  void add(const UnreadFields& others);
  const std::map<std::string, int64_t>& counts() const { return counts_; }

  /// Says in one line for `source` which fields were not read: "fields that were not read: id (1,000
  /// samples)". It is a warning where a name sounds as if the field belonged to the question or the answer.
  /// Says nothing where all fields were read.
  void log(const std::string& source) const;

 private:
  std::map<std::string, int64_t>
      counts_;  // limited, because a file of others may have another name in each sample
};

}  // namespace longlora::data
