// Words of a text, as hashes, and the scripts that its letters belong to.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "longlora/core/random.h"
#include "longlora/core/utf8.h"
#include "longlora/results/inspection.h"

namespace longlora::inspect {

/// What a character is to words.
enum class WordPart : uint8_t {
  kNone,   // it stands between words
  kPart,   // a letter, mark or digit
  kWhole,  // a letter of a script that puts no spaces between words: a word by itself
};

struct CharacterKind {
  uint8_t script = 0;  // ICU's UScriptCode
  WordPart part = WordPart::kNone;
};

/// The kinds of all code points, in a table of 0x110000 entries that is made on first use, from ICU.
const CharacterKind* character_kinds();

/// The letter without its case, by Unicode's simple case folding.
char32_t fold_case(char32_t letter);

/// Letters by script.
class ScriptCounts {
 public:
  void add_letter(uint8_t script) { ++counts_[script]; }
  void add(const ScriptCounts& others);
  /// The names of the scripts that occur, the most frequent first. What belongs to no script of its own
  /// (digits, marks, symbols) is not among them.
  std::vector<results::NamedCount> named() const;

 private:
  std::array<int64_t, 256> counts_{};
};

/// The hash by which a word, or a token id that stands for one, takes part in shingles.
constexpr uint64_t hash_word(uint64_t value) {
  return mix_bits(0x6c6f6e676c6f7261u, value);
}

/// Calls `visit(hash, begin, end)` for every word of a text with the bytes [begin, end): runs of letters,
/// marks and digits without their case, and each letter of Han, Kana, Thai, Lao, Khmer and Myanmar by itself.
/// Equal words have equal hashes. Counts the letters in `scripts`. Bytes that are no UTF-8 stand between
/// words.
template <typename Visit>
void for_each_word(std::string_view text, ScriptCounts* scripts, const Visit& visit) {
  constexpr uint64_t kStart = 0xcbf29ce484222325u, kFactor = 0x100000001b3u;  // of FNV-1a
  const CharacterKind* kinds = character_kinds();
  uint64_t hash = kStart;
  size_t begin = std::string_view::npos;
  const auto end_word = [&](size_t end) {
    if (begin == std::string_view::npos) return;
    visit(hash_word(hash), begin, end);
    hash = kStart;
    begin = std::string_view::npos;
  };
  for (size_t at = 0; at < text.size();) {
    const size_t start = at;
    const auto byte = static_cast<unsigned char>(text[at]);
    const char32_t code = byte < 0x80 ? (++at, char32_t{byte}) : next_character(text, at);
    const CharacterKind kind = kinds[code];
    scripts->add_letter(kind.script);
    if (kind.part != WordPart::kPart) end_word(start);
    if (kind.part == WordPart::kNone) continue;
    if (begin == std::string_view::npos) begin = start;
    hash = (hash ^ fold_case(code)) * kFactor;
    if (kind.part == WordPart::kWhole) end_word(at);
  }
  end_word(text.size());
}

}  // namespace longlora::inspect
