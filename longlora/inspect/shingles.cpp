#include "longlora/inspect/shingles.h"

#include <algorithm>
#include <bit>

namespace longlora::inspect {

namespace {

constexpr size_t kFirstSlots = 64;
constexpr uint64_t kEmpty = ~uint64_t{0};  // a place of a sketch that has no shingle

// A place and a value in one round of a sketch. Values of earlier rounds are smaller.
struct Draw {
  size_t place;
  uint64_t value;
};

Draw draw(uint64_t shingle, size_t round, size_t num_places) {
  const uint64_t bits = round == 0 ? shingle : mix_bits(shingle, round);
  const uint64_t value = uint64_t{round} << 32 | (bits & 0xFFFFFFFFu);
  if (round >= num_places) return {round - num_places, value};
  return {static_cast<size_t>((bits >> 32) * num_places >> 32), value};
}

}  // namespace

Shingler::Shingler(size_t num_words) : words_(num_words) {
  for (size_t i = 0; i < num_words; ++i) oldest_factor_ *= kBase;
}

HashSet::HashSet(size_t expected)
    : slots_(std::max(kFirstSlots, std::bit_ceil(2 * std::min(expected, kMostMembers)))) {}

size_t HashSet::find(uint64_t hash) const {
  const size_t mask = slots_.size() - 1;
  size_t at = hash & mask;
  while (slots_[at] != 0 && slots_[at] != hash) at = (at + 1) & mask;
  return at;
}

void HashSet::rebuild(size_t num_slots) {
  std::vector<uint64_t> old(num_slots);
  old.swap(slots_);
  size_ = 0;
  for (const uint64_t hash : old) {
    if (hash == 0 || hash > limit_) continue;
    slots_[find(hash)] = hash;
    ++size_;
  }
}

void HashSet::insert(uint64_t hash) {
  if (hash == 0 || hash > limit_) return;
  const size_t at = find(hash);
  if (slots_[at] == hash) return;
  slots_[at] = hash;
  ++size_;
  if (size_ > kMostMembers) {
    limit_ /= 2;
    rebuild(slots_.size());
  } else if (size_ * 2 > slots_.size()) {
    rebuild(slots_.size() * 2);
  }
}

double jaccard(const HashSet& a, const HashSet& b) {
  const uint64_t limit = std::min(a.limit_, b.limit_);
  size_t num_both = 0, num_a = 0, num_b = 0;
  for (const uint64_t hash : b.slots_) num_b += hash != 0 && hash <= limit ? 1 : 0;
  for (const uint64_t hash : a.slots_) {
    if (hash == 0 || hash > limit) continue;
    ++num_a;
    num_both += b.contains(hash) ? 1 : 0;
  }
  const size_t num_either = num_a + num_b - num_both;
  return num_either == 0 ? 1.0 : static_cast<double>(num_both) / static_cast<double>(num_either);
}

Sketch::Sketch() {
  places_.fill(kEmpty);
}

void Sketch::add(uint64_t shingle) {
  const Draw first = draw(shingle, 0, kPlaces);
  offer(first.place, first.value);
  if (listed_.size() >= kManyShingles || few_.contains(shingle)) return;
  few_.insert(shingle);
  listed_.push_back(shingle);
}

std::optional<Sketch::Bands> Sketch::finish() {
  if (listed_.empty()) return std::nullopt;
  const auto is_full = [&] { return std::find(places_.begin(), places_.end(), kEmpty) == places_.end(); };
  for (size_t round = 1; round < 2 * kPlaces && !is_full(); ++round) {
    for (const uint64_t shingle : listed_) {
      const Draw next = draw(shingle, round, kPlaces);
      offer(next.place, next.value);
    }
  }
  Bands bands{};
  for (size_t band = 0; band < kBands; ++band) {
    uint64_t hash = band;
    for (size_t row = 0; row < kRows; ++row) hash = mix_bits(hash, places_[band * kRows + row]);
    bands[band] = static_cast<uint32_t>(hash >> 32);
  }
  return bands;
}

}  // namespace longlora::inspect
