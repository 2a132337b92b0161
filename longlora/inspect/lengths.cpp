#include "longlora/inspect/lengths.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace longlora::inspect {

namespace {

// The smallest length that at least `share` of them does not exceed (the inverted distribution function,
// which NumPy calls "inverted_cdf").
int64_t quantile(const std::vector<int64_t>& sorted, double share) {
  const auto count = static_cast<double>(sorted.size());
  const auto rank = static_cast<size_t>(std::max(1.0, std::ceil(share * count)));
  return sorted[std::min(rank, sorted.size()) - 1];
}

// The first length of bin `index`, where `per_octave` bins are in each doubling.
int64_t bin_start(int64_t index, int per_octave) {
  return std::llround(std::exp2(static_cast<double>(index) / per_octave));
}

// The bin of a length of at least 1.
int64_t bin_of(int64_t length, int per_octave) {
  auto index = static_cast<int64_t>(std::log2(static_cast<double>(length)) * per_octave);
  while (bin_start(index + 1, per_octave) <= length) ++index;
  while (bin_start(index, per_octave) > length) --index;
  return index;
}

// The bins in an octave, which are fewer where lengths spread wide.
int bins_per_octave(int64_t least, int64_t most) {
  constexpr int64_t kMostBins = 16;
  for (const int per_octave : {4, 2})
    if (bin_of(most, per_octave) - bin_of(least, per_octave) < kMostBins) return per_octave;
  return 1;
}

}  // namespace

results::LengthSummary summarize_lengths(const std::string& part, std::vector<int64_t> lengths) {
  std::sort(lengths.begin(), lengths.end());
  results::LengthSummary summary;
  summary.part = part;
  summary.least = lengths.front();
  summary.p5 = quantile(lengths, 0.05);
  summary.median = quantile(lengths, 0.5);
  summary.p95 = quantile(lengths, 0.95);
  summary.most = lengths.back();
  summary.sum = std::accumulate(lengths.begin(), lengths.end(), int64_t{0});
  summary.mean = static_cast<double>(summary.sum) / static_cast<double>(lengths.size());
  return summary;
}

std::vector<results::LengthBin> count_lengths(const std::vector<int64_t>& samples,
                                              const std::vector<int64_t>& answers) {
  int64_t least = 0, most = 0, num_empty_samples = 0, num_empty_answers = 0;
  for (const auto* lengths : {&samples, &answers}) {
    for (const int64_t length : *lengths) {
      most = std::max(most, length);
      if (length > 0 && (least == 0 || length < least)) least = length;
    }
  }
  num_empty_samples = std::count(samples.begin(), samples.end(), 0);
  num_empty_answers = std::count(answers.begin(), answers.end(), 0);
  std::vector<results::LengthBin> bins;
  if (num_empty_samples + num_empty_answers > 0) bins.push_back({0, 0, num_empty_samples, num_empty_answers});
  if (most == 0) return bins;
  const int per_octave = bins_per_octave(least, most);
  const int64_t first = bin_of(least, per_octave), last = bin_of(most, per_octave);
  const auto before = static_cast<int64_t>(bins.size());
  for (int64_t bin = first; bin <= last; ++bin)
    bins.push_back({bin_start(bin, per_octave), bin_start(bin + 1, per_octave) - 1, 0, 0});
  const auto bin_for = [&](int64_t length) -> results::LengthBin& {
    return bins[static_cast<size_t>(before + bin_of(length, per_octave) - first)];
  };
  for (const int64_t length : samples)
    if (length > 0) ++bin_for(length).num_samples;
  for (const int64_t length : answers)
    if (length > 0) ++bin_for(length).num_answers;
  // Where lengths are small, several bins begin with the same whole number; the last of them has it.
  std::erase_if(bins, [](const results::LengthBin& bin) { return bin.to < bin.from; });
  return bins;
}

}  // namespace longlora::inspect
