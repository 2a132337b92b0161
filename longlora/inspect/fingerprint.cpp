#include "longlora/inspect/fingerprint.h"

#include <algorithm>
#include <charconv>
#include <string>

#include "longlora/core/sha256.h"
#include "longlora/tokenizer/prompt_form.h"

namespace longlora::inspect {

namespace {

using tokenizer::Role;
using tokenizer::Turn;

// The hash of texts, each of which is told apart from the next by its role and its length.
class TextHash {
 public:
  void add(char role, std::string_view text) {
    const uint64_t size = text.size();
    hash_.add(&role, 1);
    hash_.add(&size, sizeof size);
    hash_.add(text.data(), text.size());
  }
  Digest digest() {
    const std::string hex = hash_.hex();
    Digest digest{};
    for (size_t i = 0; i < digest.size(); ++i)
      std::from_chars(hex.data() + 16 * i, hex.data() + 16 * (i + 1), digest[i], 16);
    return digest;
  }

 private:
  Sha256 hash_;
};

void add_turn(const Turn& turn, TextHash* hash) {
  hash->add(static_cast<char>('0' + static_cast<int>(turn.role)), turn.text);
  if (!turn.input.empty()) hash->add('i', turn.input);
}

void add_digests(const Sample& sample, Fingerprint* fingerprint) {
  TextHash whole;
  if (!sample.turns.empty()) {
    TextHash question;
    for (size_t i = 0; i + 1 < sample.turns.size(); ++i) add_turn(sample.turns[i], &question);
    fingerprint->question = question.digest();
    whole.add('q', {reinterpret_cast<const char*>(fingerprint->question.data()), sizeof(Digest)});
    add_turn(sample.turns.back(), &whole);
  } else if (!sample.text.empty()) {
    whole.add('t', sample.text);
  } else {
    whole.add('n', {reinterpret_cast<const char*>(sample.ids.data()), sample.ids.size() * sizeof(int64_t)});
  }
  fingerprint->whole = whole.digest();
}

// Shingles of the words that it is given, and what becomes of them.
template <typename Taker>
class ShingledWords {
 public:
  explicit ShingledWords(Taker* taker) : taker_(taker) {}
  void add(uint64_t word) { take(shingler_.add(word)); }
  void finish() { take(shingler_.finish()); }

 private:
  void take(std::optional<uint64_t> shingle) {
    if (!shingle) return;
    if constexpr (requires { taker_->add(*shingle); })
      taker_->add(*shingle);
    else
      taker_->insert(*shingle);
  }
  Taker* taker_;
  Shingler shingler_{kShingleWords};
};

}  // namespace

std::vector<Stretch> stretches_of(const Sample& sample) {
  std::vector<Stretch> stretches;
  for (const Turn& turn : sample.turns) {
    const bool is_answer = turn.role == Role::kAssistant;
    stretches.push_back({turn.text, is_answer, is_answer && turn.learn});
    if (!turn.input.empty()) stretches.push_back({turn.input, false, false});
  }
  if (sample.turns.empty() && !sample.text.empty()) stretches.push_back({sample.text});
  return stretches;
}

Fingerprint make_fingerprint(const Sample& sample, WordCounts* words, ScriptCounts* scripts) {
  Fingerprint fingerprint;
  add_digests(sample, &fingerprint);
  Sketch whole, answers;
  ShingledWords whole_words(&whole), answer_words(&answers);
  for (const Stretch& stretch : stretches_of(sample)) {
    int64_t count = 0;
    for_each_word(stretch.text, scripts, [&](uint64_t hash, size_t, size_t) {
      ++count;
      whole_words.add(hash);
      if (stretch.is_answer) answer_words.add(hash);
    });
    words->whole += count;
    if (stretch.is_learned) words->answers += count;
    if (!stretch.is_answer) words->longest_question = std::max(words->longest_question, count);
  }
  if (sample.turns.empty() && sample.text.empty()) {
    words->whole = static_cast<int64_t>(sample.ids.size());
    for (const int64_t id : sample.ids) whole_words.add(hash_word(static_cast<uint64_t>(id)));
  }
  whole_words.finish();
  answer_words.finish();
  fingerprint.bands = whole.finish();
  fingerprint.answer_bands = answers.finish();
  return fingerprint;
}

ShingleSets make_shingle_sets(const Sample& sample) {
  constexpr size_t kBytesOfWord = 6;  // on average, a space included
  size_t num_bytes = 0;
  for (const Stretch& stretch : stretches_of(sample)) num_bytes += stretch.text.size();
  ShingleSets sets = {HashSet(num_bytes / kBytesOfWord), HashSet()};
  ShingledWords whole(&sets.whole), answers(&sets.answers);
  for_each_word_of(sample, [&](uint64_t hash, bool is_answer) {
    whole.add(hash);
    if (is_answer) answers.add(hash);
  });
  whole.finish();
  answers.finish();
  return sets;
}

}  // namespace longlora::inspect
