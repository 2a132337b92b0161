// Finds samples that repeat others, or nearly.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <vector>

#include "longlora/inspect/fingerprint.h"

namespace longlora::inspect {

/// Two samples by their numbers, the earlier one first.
struct AlikePair {
  size_t first = 0;
  size_t second = 0;
  double similarity = 1.0;
  double answers = 1.0;  // of their answers; NaN where neither has any
};

/// Counts are of samples that repeat an earlier one.
struct FoundDuplicates {
  int64_t num_exact = 0;
  int64_t num_same_question = 0;
  int64_t num_near = 0;
  int64_t num_same_material = 0;
  std::vector<AlikePair> exact_pairs;  // every repetition, with the first sample of its kind
  std::vector<AlikePair> near_pairs;   // those that were found alike as a whole and in their answers
};

/// Finds duplicates among samples, given by their fingerprints. Exact ones have equal digests, and only the
/// first of them is compared further. Candidates for near ones share a band of their sketches; each is then
/// measured: `load` gives the shingles of a sample. Two samples are near duplicates where both as a whole and
/// in their answers they are at least kSimilar; where the answers are not, they have the same material. What
/// is alike is joined into groups, and all but the first of each group are counted. The result does not
/// depend on the number of threads. `load` must be thread-safe.
FoundDuplicates find_duplicates(const std::vector<Fingerprint>& fingerprints,
                                const std::function<ShingleSets(size_t index)>& load, int num_threads);

}  // namespace longlora::inspect
