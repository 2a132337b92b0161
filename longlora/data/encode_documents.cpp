#include "longlora/data/encode_documents.h"

#include <utility>

#include "longlora/data/run_parallel.h"

namespace longlora::data {

namespace {

constexpr size_t kBatchBytes = size_t{4} << 20;  // per thread

}  // namespace

DocumentEncoder::DocumentEncoder(const tokenizer::Tokenizer& tokenizer, bool add_bos, int num_threads,
                                 Sink sink)
    : tokenizer_(tokenizer), add_bos_(add_bos), num_threads_(num_threads), sink_(std::move(sink)) {}

void DocumentEncoder::add(std::string document, const Origin& origin) {
  waiting_bytes_ += document.size();
  waiting_.push_back({std::move(document), origin});
  if (waiting_bytes_ >= kBatchBytes * static_cast<size_t>(num_threads_)) flush();
}

void DocumentEncoder::flush() {
  std::vector<tokenizer::Ids> encoded(waiting_.size());
  run_parallel(waiting_.size(), num_threads_,
               [&](size_t i) { encoded[i] = encode(std::exchange(waiting_[i].text, {})); });
  for (size_t i = 0; i < waiting_.size(); ++i) sink_(std::exchange(encoded[i], {}), waiting_[i].origin);
  waiting_.clear();
  waiting_bytes_ = 0;
}

tokenizer::Ids DocumentEncoder::encode(const std::string& text) const {
  tokenizer::Ids ids = tokenizer_.encode(text, false);
  if (add_bos_) ids.insert(ids.begin(), *tokenizer_.bos_id());
  ids.push_back(*tokenizer_.eos_id());
  return ids;
}

}  // namespace longlora::data
