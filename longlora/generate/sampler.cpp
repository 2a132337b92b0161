#include "longlora/generate/sampler.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <set>
#include <utility>
#include <vector>

#include "longlora/core/error.h"
#include "longlora/core/random.h"

namespace longlora::generate {
namespace {

struct Candidate {
  int64_t id;
  double probability;
};

// Keeps the first top_k of `candidates`, which are in order, and those that equal the last of them.
void keep_top_k(std::vector<Candidate>& candidates, int64_t top_k) {
  if (top_k == 0 || top_k >= static_cast<int64_t>(candidates.size())) return;
  const double last = candidates[static_cast<size_t>(top_k) - 1].probability;
  candidates.erase(
      std::partition_point(candidates.begin(), candidates.end(),
                           [&](const Candidate& candidate) { return candidate.probability >= last; }),
      candidates.end());
}

// The tokens that may be drawn, the likeliest first.
std::vector<Candidate> nucleus(const at::Tensor& logits, const SamplingOptions& options) {
  const at::Tensor probabilities =
      at::softmax(logits.to(at::kCPU, at::kDouble) / options.temperature, /*dim=*/-1).contiguous();
  const auto* values = probabilities.const_data_ptr<double>();
  const int64_t size = probabilities.numel();
  // All tokens below this probability together hold less than 1 - top_p, so that none of them can be in the
  // nucleus, and few tokens remain to be sorted. The nucleus of the k likeliest tokens only loses more of
  // them.
  const double least = (1.0 - options.top_p) / static_cast<double>(size);
  std::vector<Candidate> candidates;
  double total = 0.0;
  for (int64_t id = 0; id < size; ++id) {
    total += values[id];
    if (values[id] >= least && values[id] > 0.0) candidates.push_back({id, values[id]});
  }
  if (!std::isfinite(total)) throw Error("[sampling] expected finite logits, got one that is not");
  std::stable_sort(candidates.begin(), candidates.end(),
                   [](const Candidate& a, const Candidate& b) { return a.probability > b.probability; });
  keep_top_k(candidates, options.top_k);
  double kept = options.top_k == 0 ? 1.0 : 0.0;
  if (options.top_k > 0)
    for (const Candidate& candidate : candidates) kept += candidate.probability;
  double sum = 0.0;
  size_t count = 0;
  while (count < candidates.size() && (count == 0 || sum < options.top_p * kept))
    sum += candidates[count++].probability;
  candidates.resize(count);
  std::erase_if(candidates, [least_share = options.min_p * candidates.front().probability](
                                const Candidate& candidate) { return candidate.probability < least_share; });
  return candidates;
}

void check(const SamplingOptions& options) {
  const auto refuse = [](const char* flag, const char* expected, auto got) {
    throw UsageError(fmt::format("[{}] expected {}, got {}", flag, expected, got));
  };
  if (!(options.temperature >= 0.0) || !std::isfinite(options.temperature))
    refuse("--temperature", "a number of at least 0", options.temperature);
  if (!(options.top_p > 0.0 && options.top_p <= 1.0))
    refuse("--top_p", "a number above 0 and up to 1", options.top_p);
  if (options.top_k < 0) refuse("--top_k", "a number of at least 0", options.top_k);
  if (!(options.min_p >= 0.0 && options.min_p <= 1.0))
    refuse("--min_p", "a number from 0 to 1", options.min_p);
  if (!(options.repetition_penalty > 0.0) || !std::isfinite(options.repetition_penalty))
    refuse("--repetition_penalty", "a number above 0", options.repetition_penalty);
}

PickToken make_draw(const SamplingOptions& options) {
  if (options.temperature == 0.0) return pick_greedy;
  return [options, draws = uint64_t{0}](const at::Tensor& logits) mutable {
    const std::vector<Candidate> candidates = nucleus(logits, options);
    double sum = 0.0;
    for (const Candidate& candidate : candidates) sum += candidate.probability;
    constexpr double kUnit = 0x1p-53;  // a draw has 53 uniform bits in [0, 1)
    double left = static_cast<double>(mix_bits(options.seed, draws++) >> 11) * kUnit * sum;
    for (const Candidate& candidate : candidates) {
      left -= candidate.probability;
      if (left < 0.0) return candidate.id;
    }
    return candidates.back().id;  // only rounding leads here
  };
}

// Does what `pick` does, after the logits of all ids that came before, in the prompt or its own, were made
// less likely.
PickToken penalise_repetition(PickToken pick, double penalty, std::span<const int64_t> prompt) {
  std::set<int64_t> known(prompt.begin(), prompt.end());
  return [pick = std::move(pick), penalty, known = std::move(known)](const at::Tensor& logits) mutable {
    at::Tensor changed = logits.to(at::kCPU, at::kFloat, /*non_blocking=*/false, /*copy=*/true).contiguous();
    auto* values = changed.mutable_data_ptr<float>();
    const auto factor = static_cast<float>(penalty);
    for (const int64_t id : known)
      if (id < changed.numel()) values[id] = values[id] < 0.0F ? values[id] * factor : values[id] / factor;
    const int64_t id = pick(changed);
    known.insert(id);
    return id;
  };
}

}  // namespace

PickToken make_sampler(const SamplingOptions& options, std::span<const int64_t> prompt) {
  check(options);
  PickToken pick = make_draw(options);
  if (options.repetition_penalty == 1.0) return pick;
  return penalise_repetition(std::move(pick), options.repetition_penalty, prompt);
}

}  // namespace longlora::generate
