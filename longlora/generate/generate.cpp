#include "longlora/generate/generate.h"

#include <algorithm>

namespace longlora::generate {

int64_t pick_greedy(const at::Tensor& logits) {
  return logits.argmax(-1).item<int64_t>();
}

Generation generate(DecodeSession& session, std::span<const int64_t> prompt, const StopRules& rules,
                    const PickToken& pick, const std::function<bool(int64_t)>& on_token) {
  Generation result;
  KeyValueCache& cache = session.cache();
  // Room for the answer too, unless that is a guess far beyond what will come.
  const int64_t answer = std::clamp<int64_t>(rules.max_new_tokens, 0, 1024);
  cache.reserve(cache.num_tokens() + static_cast<int64_t>(prompt.size()) + answer);
  at::Tensor logits = session.feed(prompt);
  while (static_cast<int64_t>(result.ids.size()) < rules.max_new_tokens) {
    const int64_t next = pick(logits);
    if (std::find(rules.stop_ids.begin(), rules.stop_ids.end(), next) != rules.stop_ids.end()) {
      result.reason = StopReason::kStopId;
      return result;
    }
    result.ids.push_back(next);
    if (on_token && !on_token(next)) {
      result.reason = StopReason::kCaller;
      return result;
    }
    if (static_cast<int64_t>(result.ids.size()) == rules.max_new_tokens) break;
    if (cache.remaining_tokens() == 0) {
      result.reason = StopReason::kContextFull;
      return result;
    }
    logits = session.feed(std::span(&next, 1));
  }
  return result;
}

}  // namespace longlora::generate
