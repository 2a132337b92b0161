#include "longlora/inspect/words.h"

#include <unicode/uchar.h>
#include <unicode/uscript.h>

#include <algorithm>

namespace longlora::inspect {

namespace {

constexpr char32_t kNumCodes = 0x110000;

bool has_no_spaces(UScriptCode script) {
  constexpr std::array kScripts = {USCRIPT_HAN, USCRIPT_HIRAGANA, USCRIPT_KATAKANA, USCRIPT_THAI,
                                   USCRIPT_LAO, USCRIPT_KHMER,    USCRIPT_MYANMAR};
  return std::find(kScripts.begin(), kScripts.end(), script) != kScripts.end();
}

CharacterKind kind_of(char32_t code) {
  const auto point = static_cast<UChar32>(code);
  const uint32_t category = U_MASK(u_charType(point));
  const bool is_letter = (category & U_GC_L_MASK) != 0;
  CharacterKind kind;
  UErrorCode status = U_ZERO_ERROR;
  UScriptCode script = uscript_getScript(point, &status);
  if (U_FAILURE(status) || !is_letter) script = USCRIPT_COMMON;
  static_assert(USCRIPT_COMMON == 0);
  // Codes beyond a byte would be scripts that this Unicode version does not have yet.
  kind.script = script > 0 && script < 256 ? static_cast<uint8_t>(script) : uint8_t{0};
  if (is_letter && has_no_spaces(script))
    kind.part = WordPart::kWhole;
  else if ((category & (U_GC_L_MASK | U_GC_M_MASK | U_GC_N_MASK)) != 0)
    kind.part = WordPart::kPart;
  return kind;
}

}  // namespace

const CharacterKind* character_kinds() {
  static const std::vector<CharacterKind> kinds = [] {
    std::vector<CharacterKind> made(kNumCodes);
    for (char32_t code = 0; code < kNumCodes; ++code) made[code] = kind_of(code);
    return made;
  }();
  return kinds.data();
}

char32_t fold_case(char32_t letter) {
  if (letter < 0x80) return letter >= 'A' && letter <= 'Z' ? letter + ('a' - 'A') : letter;
  return static_cast<char32_t>(u_foldCase(static_cast<UChar32>(letter), U_FOLD_CASE_DEFAULT));
}

void ScriptCounts::add(const ScriptCounts& others) {
  for (size_t i = 0; i < counts_.size(); ++i) counts_[i] += others.counts_[i];
}

std::vector<results::NamedCount> ScriptCounts::named() const {
  std::vector<results::NamedCount> found;
  for (size_t script = 1; script < counts_.size(); ++script) {
    if (counts_[script] == 0 || script == USCRIPT_INHERITED) continue;
    const char* name = uscript_getName(static_cast<UScriptCode>(script));
    found.push_back({name != nullptr ? name : "Unknown", counts_[script]});
  }
  std::stable_sort(found.begin(), found.end(),
                   [](const auto& a, const auto& b) { return a.count > b.count; });
  return found;
}

}  // namespace longlora::inspect
