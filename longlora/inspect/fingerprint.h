// What is kept of a sample to find others like it: hashes, not its text.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "longlora/inspect/shingles.h"
#include "longlora/inspect/sources.h"
#include "longlora/inspect/words.h"

namespace longlora::inspect {

/// A text of a sample.
struct Stretch {
  std::string_view text;
  bool is_answer = false;
  bool is_learned = false;
};

/// The texts of a sample in their order; none of a sample that has ids alone. They are views into it.
std::vector<Stretch> stretches_of(const Sample& sample);

/// Calls `visit(hash, is_answer)` for every word of a sample, or for every id where it has no text.
template <typename Visit>
void for_each_word_of(const Sample& sample, const Visit& visit) {
  ScriptCounts unused;
  for (const Stretch& stretch : stretches_of(sample))
    for_each_word(stretch.text, &unused,
                  [&](uint64_t hash, size_t, size_t) { visit(hash, stretch.is_answer); });
  if (!sample.text.empty() || !sample.turns.empty()) return;
  for (const int64_t id : sample.ids) visit(hash_word(static_cast<uint64_t>(id)), false);
}

/// The first 128 bits of a SHA-256.
using Digest = std::array<uint64_t, 2>;

struct Fingerprint {
  Digest whole = {};                          // of all texts with their roles
  Digest question = {};                       // of all but the last answer; zeros where there is none
  std::optional<Sketch::Bands> bands;         // nullopt: there are no words
  std::optional<Sketch::Bands> answer_bands;  // of the answers together
};

/// The lengths of a sample in words.
struct WordCounts {
  int64_t whole = 0;
  int64_t longest_question = 0;  // the longest text of the user
  int64_t answers = 0;           // those that are learned
};

/// Makes the fingerprint and counts words, and letters by script.
Fingerprint make_fingerprint(const Sample& sample, WordCounts* words, ScriptCounts* scripts);

/// The shingles by which two samples are compared.
struct ShingleSets {
  HashSet whole;
  HashSet answers;
};
ShingleSets make_shingle_sets(const Sample& sample);

}  // namespace longlora::inspect
