// Finds what of held-out data other data holds.
#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "longlora/inspect/fingerprint.h"

namespace longlora::inspect {

/// Texts are compared by runs of so many words, as for GPT-3 (Brown et al. 2020, appendix C).
inline constexpr size_t kGramWords = 13;

/// The n-grams of a sample, in which none reaches from a question into an answer.
struct Grams {
  std::vector<uint64_t> prompt;  // each once, ascending
  std::vector<uint64_t> answer;
};
Grams make_grams(const Sample& sample);

/// What was found of one held-out sample.
struct HeldOutSample {
  static constexpr int64_t kNone = -1;

  Fingerprint fingerprint = {};
  int64_t num_grams = 0;  // of prompt and answer
  int64_t num_answer_grams = 0;
  int64_t num_found = 0;  // those of them that the other data hold
  int64_t num_answer_found = 0;
  int64_t same = kNone;           // the number of the first sample with the same texts
  int64_t same_question = kNone;  // with the same question
  int64_t nearest = kNone;        // the number of the sample that has most of its n-grams
};

/// The n-grams of held-out samples. It takes some 30 bytes for each; the other data are only looked up in it.
class HeldOutIndex {
 public:
  /// Adds a held-out sample; its number is how many were added before.
  void add(const Fingerprint& fingerprint, const Grams& grams);
  /// Ends the adding. Then match() may be called from several threads.
  void build();

  /// What a sample of other data shares with held-out ones.
  struct Match {
    std::vector<uint32_t> grams;  // the numbers of the n-grams, ascending
    std::vector<uint32_t> same;   // the numbers of the held-out samples with the same texts
    std::vector<uint32_t> same_question;
  };
  Match match(const Fingerprint& fingerprint, const Sample& sample) const;

  /// Notes the match of sample `number`. Called for one sample after the other.
  void note(const Match& match, int64_t number);

  /// What was found of each held-out sample.
  std::vector<HeldOutSample> results() const;

 private:
  struct Posting {
    uint64_t gram;
    uint32_t sample;
    bool is_answer;
    auto operator<=>(const Posting&) const = default;
  };
  using DigestOf = std::pair<Digest, uint32_t>;

  uint32_t find(uint64_t gram) const;

  std::vector<HeldOutSample> samples_;
  std::vector<int64_t> most_shared_;  // n-grams that each held-out sample shares with its nearest
  std::vector<Posting> postings_;     // sorted by n-gram
  std::vector<uint32_t> starts_;      // the first posting of each n-gram, and one end
  std::vector<uint32_t> slots_;       // a hash table of numbers of n-grams, plus one; 0 is an empty slot
  std::vector<bool> found_;           // of each n-gram
  std::vector<DigestOf> wholes_, questions_;  // sorted
  std::vector<int64_t> tally_;                // of the sample that is being noted, for each held-out sample
};

/// The longest passage of a held-out sample whose n-grams another sample has, with the numbers behind it.
struct SharedPassage {
  std::string text = {};   // from its first word to its last; empty where there is no text
  int64_t num_words = 0;   // 0: nothing is shared
  double in_sample = 0.0;  // the share of the held-out sample's n-grams that the other sample has
};
SharedPassage find_shared_passage(const Sample& held_out, const Sample& other);

}  // namespace longlora::inspect
