// Perplexity and next-token accuracy of a model on token data.
#pragma once

#include <cstdint>
#include <vector>

#include "longlora/data/token_data.h"
#include "longlora/eval/windows.h"
#include "longlora/forward/ready_decoder.h"
#include "longlora/results/perplexity.h"

namespace longlora::eval {

struct PerplexityOptions {
  /// The lengths of windows in tokens; there is one result for each.
  std::vector<int64_t> seq_lens;
  WindowOptions windows;
  /// How many windows go through the model at once; 0: as many as make about 8192 tokens. The result does not
  /// depend on it.
  int64_t batch_size = 0;
};

/// How many windows of `seq_len` tokens go through the model at once.
int64_t windows_at_once(const PerplexityOptions& options, int64_t seq_len);

/// Evaluates every length in turn, in the order given, with a progress line. In the results `loss` is the
/// mean over all tokens that count; with kAll that is the mean over windows of the mean of their seq_len - 1
/// losses. `accuracy` is the share of tokens that the model held to be the likeliest. With kAll it counts all
/// seq_len places of a window, the last of which predicts the token after the window; otherwise it counts the
/// places of the loss.
/// Throws UsageError for lengths or batch sizes that are not positive,
/// InputError when the data is too short.
std::vector<results::PerplexityPoint> evaluate_perplexity(const forward::ReadyDecoder& ready,
                                                          const data::TokenData& data,
                                                          const PerplexityOptions& options);

}  // namespace longlora::eval
