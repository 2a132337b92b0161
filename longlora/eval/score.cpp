#include "longlora/eval/score.h"

#include <fmt/format.h>

#include <algorithm>

#include "longlora/core/error.h"
#include "longlora/eval/row_scorer.h"
#include "longlora/generate/decode_session.h"

namespace longlora::eval {

std::vector<double> token_logprobs(const forward::ReadyDecoder& ready, std::span<const int64_t> ids,
                                   int64_t context_size) {
  const auto count = static_cast<int64_t>(ids.size());
  if (count < 2)
    throw InputError(fmt::format(
        "[score] expected at least two tokens, the first of which is only context, got {}", count));
  if (count > context_size)
    throw InputError(
        fmt::format("[score] expected at most {} tokens, got {}; shorten the text or raise --context_size",
                    context_size, count));
  generate::check_ids(ready.decoder, ids);
  const at::Tensor row = at::empty({1, count}, at::kLong);
  const at::Tensor labels = at::full({1, count}, ops::kIgnoreLabel, at::kLong);
  std::copy(ids.begin(), ids.end(), row.mutable_data_ptr<int64_t>());
  std::copy(ids.begin() + 1, ids.end(), labels.mutable_data_ptr<int64_t>());
  const auto result = RowScorer(ready, count).score(row, labels);
  require_finite(result, ready.decoder, count,
                 [](int64_t, int64_t token) { return fmt::format("token {} of the text", token + 1); });
  const at::Tensor losses = result.losses.to(at::kDouble).cpu();
  std::vector<double> logprobs;
  for (int64_t i = 0; i + 1 < count; ++i) logprobs.push_back(-losses.const_data_ptr<double>()[i]);
  return logprobs;
}

}  // namespace longlora::eval
