#include "longlora/inspect/duplicates.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <utility>

#include "longlora/data/run_parallel.h"

namespace longlora::inspect {

namespace {

using Index = uint32_t;
using Candidates = std::vector<std::pair<Index, Index>>;

// How many of the samples before it in a bucket a sample is compared with.
constexpr size_t kWindow = 64;

// Groups of samples, of which joined ones have the same root: the smallest number of the group.
class Groups {
 public:
  explicit Groups(size_t count) : parents_(count) { std::iota(parents_.begin(), parents_.end(), Index{0}); }
  void join(Index a, Index b) {
    const auto [first, second] = std::minmax({root(a), root(b)});
    if (first != second) ++num_joined_;
    parents_[second] = first;
  }
  // How many samples are in the group of an earlier one.
  int64_t num_joined() const { return num_joined_; }

 private:
  Index root(Index index) {
    while (parents_[index] != index) index = parents_[index] = parents_[parents_[index]];
    return index;
  }
  std::vector<Index> parents_;
  int64_t num_joined_ = 0;
};

// Calls `visit(first, last)` for every run of elements with equal keys in a sorted range.
template <typename Keyed, typename Visit>
void for_each_run(const std::vector<Keyed>& sorted, const Visit& visit) {
  for (auto first = sorted.begin(); first != sorted.end();) {
    auto last =
        std::find_if(first, sorted.end(), [&](const Keyed& other) { return other.first != first->first; });
    visit(first, last);
    first = last;
  }
}

// Finds exact duplicates and returns the numbers of the others.
std::vector<Index> find_exact(const std::vector<Fingerprint>& fingerprints, FoundDuplicates* found) {
  std::vector<std::pair<Digest, Index>> sorted;
  for (size_t i = 0; i < fingerprints.size(); ++i)
    sorted.emplace_back(fingerprints[i].whole, static_cast<Index>(i));
  std::sort(sorted.begin(), sorted.end());
  std::vector<Index> others;
  for_each_run(sorted, [&](auto first, auto last) {
    others.push_back(first->second);
    for (auto next = first + 1; next != last; ++next)
      found->exact_pairs.push_back({first->second, next->second});
  });
  std::sort(others.begin(), others.end());
  std::sort(found->exact_pairs.begin(), found->exact_pairs.end(),
            [](const AlikePair& a, const AlikePair& b) { return a.second < b.second; });
  found->num_exact = static_cast<int64_t>(found->exact_pairs.size());
  return others;
}

int64_t count_same_questions(const std::vector<Fingerprint>& fingerprints, const std::vector<Index>& others) {
  std::vector<std::pair<Digest, Index>> sorted;
  for (const Index i : others)
    if (fingerprints[i].question != Digest{}) sorted.emplace_back(fingerprints[i].question, i);
  std::sort(sorted.begin(), sorted.end());
  int64_t count = 0;
  for_each_run(sorted, [&](auto first, auto last) { count += last - first - 1; });
  return count;
}

bool share_a_band(const std::optional<Sketch::Bands>& a, const std::optional<Sketch::Bands>& b) {
  for (size_t band = 0; a && b && band < Sketch::kBands; ++band)
    if ((*a)[band] == (*b)[band]) return true;
  return false;
}

// The pairs that share a band and are worth a measurement: each sample with the first one of its bucket, and
// with those before it whose answers are candidates, too (or, where there are no answers, the last before
// it).
Candidates find_candidates(const std::vector<Fingerprint>& fingerprints, const std::vector<Index>& others) {
  Candidates candidates;
  std::vector<std::pair<uint32_t, Index>> bucketed;
  for (size_t band = 0; band < Sketch::kBands; ++band) {
    bucketed.clear();
    for (const Index i : others)
      if (fingerprints[i].bands) bucketed.emplace_back((*fingerprints[i].bands)[band], i);
    std::sort(bucketed.begin(), bucketed.end());
    for_each_run(bucketed, [&](auto first, auto last) {
      for (auto next = first + 1; next < last; ++next) {
        const auto& answers = fingerprints[next->second].answer_bands;
        candidates.emplace_back(first->second, next->second);
        if (!answers) candidates.emplace_back((next - 1)->second, next->second);
        const auto oldest = next - first > static_cast<std::ptrdiff_t>(kWindow) ? next - kWindow : first;
        for (auto before = oldest; answers && before < next; ++before)
          if (share_a_band(fingerprints[before->second].answer_bands, answers))
            candidates.emplace_back(before->second, next->second);
      }
    });
    std::sort(candidates.begin(), candidates.end());
    candidates.erase(std::unique(candidates.begin(), candidates.end()), candidates.end());
  }
  return candidates;
}

// Measures candidates, which are sorted, so that the first sample of several pairs is loaded once.
std::vector<AlikePair> measure(const Candidates& candidates, const std::function<ShingleSets(size_t)>& load,
                               int num_threads) {
  std::vector<size_t> starts;
  for (size_t i = 0; i < candidates.size(); ++i)
    if (i == 0 || candidates[i].first != candidates[i - 1].first) starts.push_back(i);
  starts.push_back(candidates.size());
  std::vector<AlikePair> pairs(candidates.size());
  data::run_parallel(starts.size() - 1, num_threads, [&](size_t group) {
    const ShingleSets first = load(candidates[starts[group]].first);
    for (size_t i = starts[group]; i < starts[group + 1]; ++i) {
      const ShingleSets second = load(candidates[i].second);
      const bool have_answers = first.answers.size() + second.answers.size() > 0;
      pairs[i] = {
          candidates[i].first, candidates[i].second, jaccard(first.whole, second.whole),
          have_answers ? jaccard(first.answers, second.answers) : std::numeric_limits<double>::quiet_NaN()};
    }
  });
  return pairs;
}

}  // namespace

FoundDuplicates find_duplicates(const std::vector<Fingerprint>& fingerprints,
                                const std::function<ShingleSets(size_t index)>& load, int num_threads) {
  FoundDuplicates found;
  const std::vector<Index> others = find_exact(fingerprints, &found);
  found.num_same_question = count_same_questions(fingerprints, others);
  Groups near(fingerprints.size()), any(fingerprints.size());
  for (const AlikePair& pair : measure(find_candidates(fingerprints, others), load, num_threads)) {
    if (pair.similarity < kSimilar) continue;
    const auto first = static_cast<Index>(pair.first), second = static_cast<Index>(pair.second);
    any.join(first, second);
    if (pair.answers < kSimilar) continue;  // false for NaN
    near.join(first, second);
    found.near_pairs.push_back(pair);
  }
  found.num_near = near.num_joined();
  found.num_same_material = any.num_joined() - near.num_joined();
  std::stable_sort(found.near_pairs.begin(), found.near_pairs.end(),
                   [](const AlikePair& a, const AlikePair& b) { return a.similarity > b.similarity; });
  return found;
}

}  // namespace longlora::inspect
