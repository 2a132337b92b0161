#include "longlora/results/perplexity.h"

#include <algorithm>

#include "longlora/results/fields.h"

namespace longlora::results {

Json Perplexity::to_json() const {
  return write_fields(*this);
}

Perplexity Perplexity::from_json(const Json& json, const std::string& where) {
  auto result = read_fields<Perplexity>(json, where);
  std::stable_sort(result.points.begin(), result.points.end(),
                   [](const auto& a, const auto& b) { return a.seq_len < b.seq_len; });
  return result;
}

}  // namespace longlora::results
