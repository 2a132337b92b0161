// A cache of the ids of words met before.
#pragma once

#include <cstdint>
#include <cstring>
#include <memory>
#include <string_view>

namespace longlora::tokenizer {

/// A table of fixed size (2 MiB once it is used) from short words to their ids, with one cache line for each
/// word. A new word takes the place of an old one.
class WordCache {
 public:
  static constexpr size_t kMaxBytes = 34;
  static constexpr size_t kMaxIds = 7;

  struct alignas(64) Entry {
    uint8_t num_bytes = 0;  // 0: free
    uint8_t num_ids = 0;
    char text[kMaxBytes] = {};
    int32_t ids[kMaxIds] = {};
  };
  static_assert(sizeof(Entry) == 64);

  /// The entry of `word`, or null. Requires word.size() to be in [1, kMaxBytes].
  const Entry* find(std::string_view word) const {
    if (entries_ == nullptr) return nullptr;
    const size_t place = place_of(word);
    for (size_t i = 0; i < kWays; ++i) {
      const Entry& entry = entries_[place ^ i];
      if (entry.num_bytes == word.size() && std::memcmp(entry.text, word.data(), word.size()) == 0)
        return &entry;
    }
    return nullptr;
  }

  /// Remembers `num_ids` (at most kMaxIds) ids. Same requirement as find.
  void put(std::string_view word, const int32_t* ids, size_t num_ids) {
    if (entries_ == nullptr) entries_ = std::make_unique<Entry[]>(kNumEntries);
    const size_t place = place_of(word);
    // The newest word stands first, the one it displaces second.
    if (entries_[place].num_bytes != 0) entries_[place ^ 1] = entries_[place];
    Entry& entry = entries_[place];
    entry.num_bytes = static_cast<uint8_t>(word.size());
    entry.num_ids = static_cast<uint8_t>(num_ids);
    std::memcpy(entry.text, word.data(), word.size());
    std::memcpy(entry.ids, ids, num_ids * sizeof(int32_t));
  }

 private:
  static constexpr size_t kNumEntries = size_t{1} << 15;
  static constexpr size_t kWays = 2;

  static uint64_t load(const char* at, size_t num_bytes) {
    uint64_t value = 0;
    std::memcpy(&value, at, num_bytes);
    return value;
  }

  static size_t place_of(std::string_view word) {
    const char* text = word.data();
    const size_t size = word.size();
    uint64_t hash = size * 0x9E3779B97F4A7C15u;
    const auto mix = [&hash](uint64_t value) {
      hash = (hash ^ value) * 0xD6E8FEB86659FD93u;
      hash ^= hash >> 32;
    };
    if (size >= 8) {
      size_t at = 0;
      for (; at + 8 < size; at += 8) mix(load(text + at, 8));
      mix(load(text + size - 8, 8));
    } else if (size >= 4) {
      mix(load(text, 4) | load(text + size - 4, 4) << 32);
    } else {
      mix(load(text, 1) | load(text + size / 2, 1) << 8 | load(text + size - 1, 1) << 16);
    }
    return hash >> 20 & (kNumEntries - 1);
  }

  std::unique_ptr<Entry[]> entries_;
};

}  // namespace longlora::tokenizer
