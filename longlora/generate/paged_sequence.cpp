#include "longlora/generate/paged_sequence.h"

#include <algorithm>

#include "longlora/core/error.h"
#include "longlora/ops/cpu/bf16.h"
#include "longlora/ops/paged_attention.h"

namespace longlora::generate {
namespace {

int64_t pages_for(int64_t tokens) {
  return (tokens + ops::kPageTokens - 1) / ops::kPageTokens;
}

// Writes rows of keys and values [count, K, D], the newest tokens of a sequence, into its pages.
template <typename T>
void write_rows(const ops::PageShape& shape, const PagedSequence& sequence, int64_t layer,
                const at::Tensor& keys, const at::Tensor& values) {
  const int64_t count = keys.size(0), begin = sequence.num_tokens() - count;
  const auto* const key_data = static_cast<const T*>(keys.const_data_ptr());
  const auto* const value_data = static_cast<const T*>(values.const_data_ptr());
  for (int64_t done = 0; done < count;) {
    const int64_t token = begin + done, first = token % ops::kPageTokens;
    const int64_t here = std::min(ops::kPageTokens - first, count - done);
    ops::write_page<T>(shape, sequence.views()[static_cast<size_t>(token / ops::kPageTokens)], layer, first,
                       here,
                       {.keys = key_data + done * keys.stride(0),
                        .values = value_data + done * keys.stride(0),
                        .token_stride = keys.stride(0),
                        .head_stride = keys.stride(1)});
    done += here;
  }
}

void store(const ops::PageShape& shape, const PagedSequence& sequence, int64_t layer, const at::Tensor& k,
           const at::Tensor& v) {
  const at::Tensor keys = k.to(at::kCPU).contiguous(), values = v.to(at::kCPU).contiguous();
  if (keys.scalar_type() == at::kFloat)
    write_rows<float>(shape, sequence, layer, keys, values);
  else
    write_rows<ops::cpu::Bf16>(shape, sequence, layer, keys, values);
}

}  // namespace

PagedSequence::PagedSequence(PagePool& pool, ops::PageFormat written, ops::PageFormat kept)
    : pool_(&pool), written_(written), kept_(kept) {}

bool PagedSequence::reserve(int64_t count) {
  const auto needed = static_cast<size_t>(pages_for(num_tokens_ + count));
  while (pages_.size() < needed) {
    PageRef page = pool_->take(written_);
    if (!page) return false;
    views_.push_back(*page);
    pages_.push_back(std::move(page));
  }
  return true;
}

void PagedSequence::adopt(std::span<const PageRef> pages) {
  const auto full = static_cast<size_t>(num_tokens_ / ops::kPageTokens);
  if (num_tokens_ % ops::kPageTokens != 0) throw Error("[pages] expected a full page before those of others");
  pages_.resize(full);  // pages that were reserved and not written
  views_.resize(full);
  for (const PageRef& page : pages) {
    views_.push_back(*page);
    pages_.push_back(page);
  }
  num_tokens_ += static_cast<int64_t>(pages.size()) * ops::kPageTokens;
}

void PagedSequence::compress(int64_t first_page, int64_t last_page) {
  if (kept_ == written_) return;
  for (int64_t i = std::max<int64_t>(1, first_page); i < last_page; ++i) {
    const auto at = static_cast<size_t>(i);
    if (views_[at].format == kept_) continue;
    PageRef page = pool_->take_in_place(kept_);
    ops::compress_page(pool_->shape(), views_[at], *page);
    views_[at] = *page;
    pages_[at] = std::move(page);
  }
}

void PagedSequence::clear() {
  num_tokens_ = 0;
  pages_.clear();
  views_.clear();
}

at::Tensor PagedAttend::attend(size_t layer, int64_t window_tokens, const model::QueryKeyValue& qkv,
                               ops::KeptAttention* kept) {
  if (kept != nullptr) throw Error("[pages] expected a pass without gradients");
  const auto index = static_cast<int64_t>(layer);
  int64_t row = 0, query = 0;
  const int64_t tokens = qkv.k.size(0), queries = qkv.q.size(0);
  std::vector<at::Tensor> results;
  results.reserve(parts_.size());
  for (const Part& part : parts_) {
    store(shape_, *part.sequence, index, qkv.k.slice(0, row, row + part.count),
          qkv.v.slice(0, row, row + part.count));
    row += part.count;
    // A pass wants the results of all tokens, of the last one of each part, or of none.
    const int64_t wanted = queries == tokens ? part.count : queries / static_cast<int64_t>(parts_.size());
    if (wanted == 0) continue;
    results.push_back(ops::paged_attention(qkv.q.slice(0, query, query + wanted),
                                           {shape_, part.sequence->views()}, index,
                                           part.sequence->num_tokens(), window_tokens));
    query += wanted;
  }
  if (results.empty()) return at::empty_like(qkv.q);
  return results.size() == 1 ? results.front() : at::cat(results);
}

}  // namespace longlora::generate
