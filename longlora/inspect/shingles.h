// Shingles, which are runs of words, and what is compared of them: sketches that find candidates, and sets
// that measure similarity.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "longlora/core/random.h"

namespace longlora::inspect {

/// Makes shingles of consecutive words: a text of n words has n - num_words + 1, and one of fewer words has
/// one of all its words. Equal runs of words have equal shingles.
class Shingler {
 public:
  explicit Shingler(size_t num_words);

  /// Adds the next word. Returns the shingle that ends with it, where there are enough words.
  std::optional<uint64_t> add(uint64_t word) {
    uint64_t& oldest = words_[num_seen_ % words_.size()];
    sum_ = sum_ * kBase + word - (num_seen_ >= words_.size() ? oldest * oldest_factor_ : 0);
    oldest = word;
    if (++num_seen_ < words_.size()) return std::nullopt;
    return mix_bits(sum_, words_.size());
  }
  /// The one shingle of a text that has ended with fewer words; nullopt for a longer one and for no words.
  std::optional<uint64_t> finish() const {
    if (num_seen_ == 0 || num_seen_ >= words_.size()) return std::nullopt;
    return mix_bits(sum_, num_seen_);
  }

 private:
  static constexpr uint64_t kBase = 0x9ddfea08eb382d69u;  // odd, so that no word gets lost in 64 bits

  std::vector<uint64_t> words_;  // the last ones, in a ring
  uint64_t oldest_factor_ = 1;   // kBase to the power of num_words
  uint64_t sum_ = 0;  // of the words in the ring, the newest times 1, the one before times kBase …
  size_t num_seen_ = 0;
};

/// A set of hashes. Beyond a number of members it keeps those alone that are below a limit, so that memory
/// stays bounded; two sets are then compared by what both could keep.
class HashSet {
 public:
  static constexpr size_t kMostMembers = size_t{1} << 20;

  /// `expected` members have room from the beginning.
  explicit HashSet(size_t expected = 0);
  void insert(uint64_t hash);
  bool contains(uint64_t hash) const { return slots_[find(hash)] == hash; }
  size_t size() const { return size_; }

  /// Jaccard's similarity: members of both by members of either. 1 for two empty sets.
  friend double jaccard(const HashSet& a, const HashSet& b);

 private:
  size_t find(uint64_t hash) const;
  void rebuild(size_t num_slots);

  std::vector<uint64_t> slots_;  // a power of two of them, at most half full; 0 is an empty one
  size_t size_ = 0;
  uint64_t limit_ = ~uint64_t{0};
};

double jaccard(const HashSet& a, const HashSet& b);

/// Texts that are at least this similar count as alike.
inline constexpr double kSimilar = 0.8;
inline constexpr size_t kShingleWords = 5;

/// A sketch of a set of shingles by which similar sets are found without comparing all with all: fast
/// similarity sketching (Dahlgaard, Knudsen, Thorup, FOCS 2017), in each place of which two sets agree with
/// the probability of their Jaccard similarity. Places are joined into bands (Broder; Leskovec, Rajaraman,
/// Ullman, "Mining of Massive Datasets", §3.4): two sets with similarity s share one of the bands with
/// probability 1 - (1 - s^6)^20, which is 0.998 for s = 0.8, 0.62 for 0.6 and 0.08 for 0.4.
class Sketch {
 public:
  static constexpr size_t kBands = 20, kRows = 6;
  using Bands = std::array<uint32_t, kBands>;

  Sketch();
  void add(uint64_t shingle);
  /// The bands of what was added; nullopt where nothing was.
  std::optional<Bands> finish();

 private:
  static constexpr size_t kPlaces = kBands * kRows;
  // With as many different shingles, each place has one after the first round, but for a chance of 5e-6.
  static constexpr size_t kManyShingles = 2048;

  void offer(size_t place, uint64_t value) {
    if (value < places_[place]) places_[place] = value;
  }

  std::array<uint64_t, kPlaces> places_;
  HashSet few_;                   // the shingles, as long as they are few
  std::vector<uint64_t> listed_;  // the same in the order in which they came
};

}  // namespace longlora::inspect
