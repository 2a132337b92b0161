#include "longlora/generate/sampler.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <iterator>
#include <limits>
#include <map>
#include <set>
#include <utility>
#include <vector>

#include "longlora/core/error.h"
#include "longlora/core/random.h"

namespace longlora::generate {
namespace {

struct Candidate {
  int64_t id;
  double logit;
  double probability;
};

bool is_likelier(const Candidate& a, const Candidate& b) {
  return a.logit > b.logit || (a.logit == b.logit && a.id < b.id);
}

// Computes the probabilities of the candidates among themselves. Returns the largest.
double find_probabilities(std::vector<Candidate>& candidates, double temperature) {
  double largest = -std::numeric_limits<double>::infinity();
  for (const Candidate& candidate : candidates) largest = std::max(largest, candidate.logit);
  double sum = 0.0, most = 0.0;
  for (Candidate& candidate : candidates) {
    candidate.probability = std::exp((candidate.logit - largest) / temperature);
    sum += candidate.probability;
  }
  if (!std::isfinite(sum)) throw Error("[sampling] expected finite logits, got one that is not");
  for (Candidate& candidate : candidates) {
    candidate.probability /= sum;
    most = std::max(most, candidate.probability);
  }
  return most;
}

void keep_top_k(std::vector<Candidate>& candidates, const SamplingOptions& options) {
  const int64_t k = options.top_k;
  if (k == 0 || k >= std::ssize(candidates)) return;
  std::nth_element(candidates.begin(), candidates.begin() + (k - 1), candidates.end(), is_likelier);
  if (options.order == SamplingOrder::kLlamaCpp) {
    candidates.resize(static_cast<size_t>(k));
    return;
  }
  const double last = candidates[static_cast<size_t>(k - 1)].logit;
  std::erase_if(candidates, [last](const Candidate& candidate) { return candidate.logit < last; });
}

// Keeps the nucleus, the likeliest first.
void keep_top_p(std::vector<Candidate>& candidates, double top_p) {
  if (top_p == 1.0) return;
  // All candidates below this probability together hold less than 1 - top_p, so that none of them can be in
  // the nucleus, and few remain to be sorted.
  const double least = (1.0 - top_p) / static_cast<double>(candidates.size());
  std::erase_if(candidates, [least](const Candidate& candidate) { return candidate.probability < least; });
  std::sort(candidates.begin(), candidates.end(), is_likelier);
  double sum = 0.0;
  size_t count = 0;
  while (count < candidates.size() && (count == 0 || sum < top_p)) sum += candidates[count++].probability;
  candidates.resize(count);
}

// The tokens that may be drawn, with their probabilities, which need not add up to 1.
std::vector<Candidate> restrict_tokens(const std::vector<float>& logits, const SamplingOptions& options) {
  std::vector<Candidate> candidates;
  candidates.reserve(logits.size());
  for (size_t id = 0; id < logits.size(); ++id) {
    if (std::isnan(logits[id])) throw Error("[sampling] expected finite logits, got one that is not");
    candidates.push_back({static_cast<int64_t>(id), logits[id], 0.0});
  }
  const bool is_llama_cpp = options.order == SamplingOrder::kLlamaCpp;
  keep_top_k(candidates, options);
  const double most = find_probabilities(candidates, is_llama_cpp ? 1.0 : options.temperature);
  keep_top_p(candidates, options.top_p);
  std::erase_if(candidates, [least = options.min_p * most](const Candidate& candidate) {
    return candidate.probability < least;
  });
  if (is_llama_cpp) find_probabilities(candidates, options.temperature);
  // nth_element leaves an order of its own.
  if (options.top_k > 0) std::sort(candidates.begin(), candidates.end(), is_likelier);
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
  if (options.repeat_last_n < 0) refuse("repeat_last_n", "a number of at least 0", options.repeat_last_n);
  if (!std::isfinite(options.presence_penalty))
    refuse("presence_penalty", "a finite number", options.presence_penalty);
  if (!std::isfinite(options.frequency_penalty))
    refuse("frequency_penalty", "a finite number", options.frequency_penalty);
  for (const auto& [id, bias] : options.logit_bias)
    if (!std::isfinite(bias)) refuse("logit_bias", "finite numbers", bias);
}

// Picks the tokens of one request.
class Sampler {
 public:
  Sampler(const SamplingOptions& options, std::span<const int64_t> prompt) : options_(options) {
    if (options.penalize_prompt) before_.assign(prompt.begin(), prompt.end());
    changes_logits_ = options.repetition_penalty != 1.0 || options.presence_penalty != 0.0 ||
                      options.frequency_penalty != 0.0 || !options.logit_bias.empty();
  }

  int64_t operator()(const at::Tensor& logits) {
    if (!changes_logits_ && options_.temperature == 0.0) return pick_greedy(logits);
    const at::Tensor row = logits.to(at::kCPU, at::kFloat).contiguous();
    const auto* const values = row.const_data_ptr<float>();
    std::vector<float> changed(values, values + row.numel());
    if (changes_logits_) change(changed);
    const int64_t id = options_.temperature == 0.0
                           ? std::distance(changed.begin(), std::max_element(changed.begin(), changed.end()))
                           : draw(changed);
    if (changes_logits_) {
      before_.push_back(id);
      ++written_[id];
    }
    return id;
  }

 private:
  void change(std::vector<float>& logits) const {
    const auto at = [&](int64_t id) -> float* {
      return id >= 0 && id < std::ssize(logits) ? &logits[static_cast<size_t>(id)] : nullptr;
    };
    for (const auto& [id, bias] : options_.logit_bias)
      if (float* const logit = at(id)) *logit += static_cast<float>(bias);
    if (options_.repetition_penalty != 1.0) {
      const auto factor = static_cast<float>(options_.repetition_penalty);
      const auto last = options_.repeat_last_n == 0
                            ? before_.size()
                            : std::min(before_.size(), static_cast<size_t>(options_.repeat_last_n));
      const std::set<int64_t> known(before_.end() - static_cast<std::ptrdiff_t>(last), before_.end());
      for (const int64_t id : known)
        if (float* const logit = at(id)) *logit = *logit < 0.0f ? *logit * factor : *logit / factor;
    }
    for (const auto& [id, count] : written_)
      if (float* const logit = at(id))
        *logit -= static_cast<float>(options_.presence_penalty +
                                     options_.frequency_penalty * static_cast<double>(count));
  }

  int64_t draw(const std::vector<float>& logits) {
    const std::vector<Candidate> candidates = restrict_tokens(logits, options_);
    double sum = 0.0;
    for (const Candidate& candidate : candidates) sum += candidate.probability;
    constexpr double kUnit = 0x1p-53;  // a draw has 53 uniform bits in [0, 1)
    double left = static_cast<double>(mix_bits(options_.seed, draws_++) >> 11) * kUnit * sum;
    for (const Candidate& candidate : candidates) {
      left -= candidate.probability;
      if (left < 0.0) return candidate.id;
    }
    return candidates.back().id;  // only rounding leads here
  }

  SamplingOptions options_;
  bool changes_logits_ = false;
  std::vector<int64_t> before_;         // ids that count for repetition_penalty, in order
  std::map<int64_t, int64_t> written_;  // how often the text has an id
  uint64_t draws_ = 0;
};

}  // namespace

PickToken make_sampler(const SamplingOptions& options, std::span<const int64_t> prompt) {
  check(options);
  return Sampler(options, prompt);
}

}  // namespace longlora::generate
