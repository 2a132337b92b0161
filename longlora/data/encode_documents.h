// Documents to ids on several threads.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "longlora/tokenizer/tokenizer.h"

namespace longlora::data {

/// Collects documents until there are enough for every thread, encodes them, and hands them on in the order
/// in which they came. Not thread-safe itself.
class DocumentEncoder {
 public:
  /// Where a document came from: the number of its file, and the bytes read up to its end.
  struct Origin {
    size_t source = 0;
    int64_t num_bytes_read = 0;
  };
  /// The ids of a document: BOS in front where asked for, EOS behind it.
  using Sink = std::function<void(const tokenizer::Ids& ids, const Origin& origin)>;

  /// `tokenizer` has EOS, and BOS where `add_bos`; it outlives the encoder.
  DocumentEncoder(const tokenizer::Tokenizer& tokenizer, bool add_bos, int num_threads, Sink sink);

  void add(std::string document, const Origin& origin);
  /// Encodes what waits.
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
