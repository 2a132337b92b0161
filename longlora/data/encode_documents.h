// Turns documents into ids on several threads.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "longlora/tokenizer/tokenizer.h"

namespace longlora::data {

/// Collects documents until there are enough for every thread, encodes them, and hands them on in the order
/// in which they came. It may be used by one thread at a time.
class DocumentEncoder {
 public:
  /// Says where a document came from: the number of its file, and the bytes that had been read at its end.
  struct Origin {
    size_t source = 0;
    int64_t num_bytes_read = 0;
  };
  /// Takes the ids of a document, with BOS in front where that was asked for and EOS behind.
  using Sink = std::function<void(const tokenizer::Ids& ids, const Origin& origin)>;

  /// `tokenizer` has EOS, and BOS where `add_bos` is set. It must outlive the encoder.
  DocumentEncoder(const tokenizer::Tokenizer& tokenizer, bool add_bos, int num_threads, Sink sink);

  void add(std::string document, const Origin& origin);
  /// Encodes the documents that wait.
  void flush();

 private:
  struct Document {
    std::string text;
    Origin origin;
  };

  tokenizer::Ids encode(const std::string& text) const;

  const tokenizer::Tokenizer& tokenizer_;
  bool add_bos_;
  int num_threads_;
  Sink sink_;
  std::vector<Document> waiting_;
  size_t waiting_bytes_ = 0;
};

}  // namespace longlora::data
