#include "longlora/inspect/overlap.h"

#include <algorithm>
#include <limits>
#include <span>
#include <string>
#include <unordered_set>

#include "longlora/core/error.h"

namespace longlora::inspect {

namespace {

// N-grams that more held-out samples have than these belong to a form that all samples share: they do not say
// which sample is the nearest.
constexpr uint32_t kCommon = 64;

void sort_unique(std::vector<uint64_t>* values) {
  std::sort(values->begin(), values->end());
  values->erase(std::unique(values->begin(), values->end()), values->end());
}

// Calls `visit(gram, is_answer)` for every n-gram of a sample.
template <typename Visit>
void for_each_gram(const Sample& sample, const Visit& visit) {
  Shingler prompt(kGramWords), answer(kGramWords);
  for_each_word_of(sample, [&](uint64_t word, bool is_answer) {
    if (const auto gram = (is_answer ? answer : prompt).add(word)) visit(*gram, is_answer);
  });
}

std::vector<uint32_t> numbers_of(const std::vector<std::pair<Digest, uint32_t>>& sorted,
                                 const Digest& digest) {
  std::vector<uint32_t> numbers;
  for (auto at = std::lower_bound(sorted.begin(), sorted.end(), std::pair(digest, uint32_t{0}));
       at != sorted.end() && at->first == digest; ++at)
    numbers.push_back(at->second);
  return numbers;
}

}  // namespace

Grams make_grams(const Sample& sample) {
  Grams grams;
  for_each_gram(sample, [&](uint64_t gram, bool is_answer) {
    (is_answer ? grams.answer : grams.prompt).push_back(gram);
  });
  sort_unique(&grams.prompt);
  sort_unique(&grams.answer);
  return grams;
}

void HeldOutIndex::add(const Fingerprint& fingerprint, const Grams& grams) {
  if (postings_.size() + grams.prompt.size() + grams.answer.size() > std::numeric_limits<uint32_t>::max() / 4)
    throw InputError(
        "[--against] expected held-out data of at most 1,000 million words, got more; name fewer files");
  const auto number = static_cast<uint32_t>(samples_.size());
  HeldOutSample sample;
  sample.fingerprint = fingerprint;
  sample.num_answer_grams = std::ssize(grams.answer);
  sample.num_grams = std::ssize(grams.prompt) + std::ssize(grams.answer);
  samples_.push_back(sample);
  for (const uint64_t gram : grams.prompt) postings_.push_back({gram, number, false});
  for (const uint64_t gram : grams.answer) postings_.push_back({gram, number, true});
  wholes_.emplace_back(fingerprint.whole, number);
  if (fingerprint.question != Digest{}) questions_.emplace_back(fingerprint.question, number);
}

void HeldOutIndex::build() {
  std::sort(postings_.begin(), postings_.end());
  std::sort(wholes_.begin(), wholes_.end());
  std::sort(questions_.begin(), questions_.end());
  for (size_t i = 0; i < postings_.size(); ++i)
    if (i == 0 || postings_[i].gram != postings_[i - 1].gram) starts_.push_back(static_cast<uint32_t>(i));
  const size_t num_grams = starts_.size();
  starts_.push_back(static_cast<uint32_t>(postings_.size()));
  size_t num_slots = 2;
  while (num_slots < 2 * num_grams) num_slots *= 2;
  slots_.assign(num_slots, 0);
  for (size_t gram = 0; gram < num_grams; ++gram) {
    size_t at = postings_[starts_[gram]].gram & (num_slots - 1);
    while (slots_[at] != 0) at = (at + 1) & (num_slots - 1);
    slots_[at] = static_cast<uint32_t>(gram) + 1;
  }
  found_.assign(num_grams, false);
  tally_.assign(samples_.size(), 0);
  most_shared_.assign(samples_.size(), 0);
}

// The number of an n-gram plus one; 0 where no held-out sample has it.
uint32_t HeldOutIndex::find(uint64_t gram) const {
  const size_t mask = slots_.size() - 1;
  size_t at = gram & mask;
  while (slots_[at] != 0 && postings_[starts_[slots_[at] - 1]].gram != gram) at = (at + 1) & mask;
  return slots_[at];
}

HeldOutIndex::Match HeldOutIndex::match(const Fingerprint& fingerprint, const Sample& sample) const {
  Match match;
  for_each_gram(sample, [&](uint64_t gram, bool) {
    if (const uint32_t number = find(gram)) match.grams.push_back(number - 1);
  });
  std::sort(match.grams.begin(), match.grams.end());
  match.grams.erase(std::unique(match.grams.begin(), match.grams.end()), match.grams.end());
  match.same = numbers_of(wholes_, fingerprint.whole);
  if (fingerprint.question != Digest{}) match.same_question = numbers_of(questions_, fingerprint.question);
  return match;
}

void HeldOutIndex::note(const Match& match, int64_t number) {
  std::vector<uint32_t> touched;
  for (const uint32_t gram : match.grams) {
    found_[gram] = true;
    if (starts_[gram + 1] - starts_[gram] > kCommon) continue;
    for (uint32_t i = starts_[gram]; i < starts_[gram + 1]; ++i)
      if (tally_[postings_[i].sample]++ == 0) touched.push_back(postings_[i].sample);
  }
  for (const uint32_t sample : touched) {
    if (tally_[sample] > most_shared_[sample]) {
      most_shared_[sample] = tally_[sample];
      samples_[sample].nearest = number;
    }
    tally_[sample] = 0;
  }
  for (const uint32_t sample : match.same)
    if (samples_[sample].same == HeldOutSample::kNone) samples_[sample].same = number;
  for (const uint32_t sample : match.same_question)
    if (samples_[sample].same_question == HeldOutSample::kNone) samples_[sample].same_question = number;
}

std::vector<HeldOutSample> HeldOutIndex::results() const {
  std::vector<HeldOutSample> results = samples_;
  for (size_t gram = 0; gram < found_.size(); ++gram) {
    if (!found_[gram]) continue;
    for (uint32_t i = starts_[gram]; i < starts_[gram + 1]; ++i) {
      HeldOutSample& sample = results[postings_[i].sample];
      ++sample.num_found;
      if (postings_[i].is_answer) ++sample.num_answer_found;
    }
  }
  return results;
}

namespace {

// A run of words all of whose n-grams are shared.
struct Run {
  size_t begin = 0, end = 0;  // bytes of the stretch
  int64_t num_words = 0;
};

// The longest such run of one text.
Run longest_run(std::string_view text, const std::unordered_set<uint64_t>& other) {
  Shingler shingler(kGramWords);
  ScriptCounts unused;
  std::vector<size_t> begins;
  Run longest, current;
  for_each_word(text, &unused, [&](uint64_t word, size_t begin, size_t end) {
    begins.push_back(begin);
    const auto gram = shingler.add(word);
    if (!gram) return;
    if (!other.contains(*gram)) {
      current = {};
      return;
    }
    if (current.num_words == 0) current = {begins[begins.size() - kGramWords], end, kGramWords - 1};
    ++current.num_words;
    current.end = end;
    if (current.num_words > longest.num_words) longest = current;
  });
  return longest;
}

}  // namespace

SharedPassage find_shared_passage(const Sample& held_out, const Sample& other) {
  std::unordered_set<uint64_t> grams;
  for_each_gram(other, [&](uint64_t gram, bool) { grams.insert(gram); });
  SharedPassage passage;
  for (const Stretch& stretch : stretches_of(held_out)) {
    const Run run = longest_run(stretch.text, grams);
    if (run.num_words <= passage.num_words) continue;
    passage.num_words = run.num_words;
    passage.text = stretch.text.substr(run.begin, run.end - run.begin);
  }
  const Grams own = make_grams(held_out);
  int64_t num_shared = 0;
  for (const auto* part : {&own.prompt, &own.answer})
    num_shared +=
        std::count_if(part->begin(), part->end(), [&](uint64_t gram) { return grams.contains(gram); });
  const int64_t num_own = std::ssize(own.prompt) + std::ssize(own.answer);
  passage.in_sample = num_own == 0 ? 0.0 : static_cast<double>(num_shared) / static_cast<double>(num_own);
  return passage;
}

}  // namespace longlora::inspect
