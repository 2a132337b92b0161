// Files of any kind as samples that are read one at a time, in any order.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "longlora/data/conversation.h"
#include "longlora/data/token_data.h"
#include "longlora/data/unread_fields.h"

namespace longlora::inspect {

/// One sample: turns, a text, or ids.
struct Sample {
  data::Conversation turns = {};
  std::string text = {};
  std::vector<int64_t> ids = {};  // of a .bin, its EOS included; its text is there, too, with a tokenizer
  std::string_view form = {};     // of questions and answers (data::sample_form)
  std::vector<std::string> fields = {};  // those that hold something
  std::vector<std::string> unread = {};  // those of them of which nothing is read
};

/// A file of samples. Immutable and thread-safe.
class Source {
 public:
  virtual ~Source() = default;
  const std::filesystem::path& path() const { return path_; }
  /// "questions and answers", "documents", "one text" or "token ids".
  virtual const char* content() const = 0;
  virtual int64_t size() const = 0;
  /// The place of a sample for people: "file.jsonl:8".
  virtual std::string place(int64_t index) const = 0;
  /// Throws InputError for a broken sample, after what was met in it has been put into `sample`.
  virtual void read(int64_t index, Sample* sample) const = 0;
  virtual int64_t num_bytes() const = 0;
  virtual std::string encoding() const { return ""; }
  /// The number of ids of a .bin; 0 for other files.
  virtual int64_t num_ids() const { return 0; }
  /// What somebody who reads the result should know.
  virtual std::vector<std::string> notes() const { return {}; }

  bool has_turns() const { return has_turns_; }
  /// Whether samples have ids and no text.
  bool has_ids_alone() const { return has_ids_alone_; }

 protected:
  explicit Source(std::filesystem::path path) : path_(std::move(path)) {}
  bool has_turns_ = false;
  bool has_ids_alone_ = false;

 private:
  std::filesystem::path path_;
};

/// Opens a file as the verbs that train on it do: questions and answers as sft, other files as fine-tune.
/// Without a tokenizer in `options`, a .bin has ids alone. Throws InputError for a file that none of them can
/// read.
std::unique_ptr<const Source> open_source(const std::filesystem::path& path,
                                          const data::TokenDataOptions& options);

}  // namespace longlora::inspect
