#include "longlora/generate/sampler.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "longlora/core/error.h"
#include "longlora/core/random.h"

namespace longlora::generate {
namespace {

struct Candidate {
  int64_t id;
  double probability;
};

/// The tokens that may be drawn, the likeliest first.
std::vector<Candidate> nucleus(const at::Tensor& logits, const SamplingOptions& options) {
  const at::Tensor probabilities =
      at::softmax(logits.to(at::kCPU, at::kDouble) / options.temperature, /*dim=*/-1).contiguous();
  const auto* values = probabilities.const_data_ptr<double>();
  const int64_t size = probabilities.numel();
  // All tokens below this together hold less than 1 - top_p: none of them can be in the nucleus, and few
  // remain to be sorted.
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
  double sum = 0.0;
  size_t count = 0;
  while (count < candidates.size() && (count == 0 || sum < options.top_p))
    sum += candidates[count++].probability;
  candidates.resize(count);
  return candidates;
}

}  // namespace

PickToken make_sampler(const SamplingOptions& options) {
  if (!(options.temperature >= 0.0) || !std::isfinite(options.temperature))
    throw UsageError(
        fmt::format("[--temperature] expected a number of at least 0, got {}", options.temperature));
  if (!(options.top_p > 0.0 && options.top_p <= 1.0))
    throw UsageError(fmt::format("[--top_p] expected a number above 0 and up to 1, got {}", options.top_p));
  if (options.temperature == 0.0) return pick_greedy;
  return [options, draws = uint64_t{0}](const at::Tensor& logits) mutable {
    const std::vector<Candidate> candidates = nucleus(logits, options);
    double sum = 0.0;
    for (const Candidate& candidate : candidates) sum += candidate.probability;
    constexpr double kUnit = 0x1p-53;  // 53 uniform bits in [0, 1)
    double left = static_cast<double>(mix_bits(options.seed, draws++) >> 11) * kUnit * sum;
    for (const Candidate& candidate : candidates) {
      left -= candidate.probability;
      if (left < 0.0) return candidate.id;
    }
    return candidates.back().id;  // rounding
  };
}

}  // namespace longlora::generate
