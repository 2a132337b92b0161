#include "longlora/tokenizer/normalizers.h"

#include <fmt/core.h>
#include <unicode/bytestream.h>
#include <unicode/normalizer2.h>
#include <unicode/uchar.h>
#include <unicode/uniset.h>

#include <algorithm>

#include "longlora/core/error.h"
#include "longlora/core/utf8.h"
#include "longlora/tokenizer/text_pattern.h"
#include "longlora/tokenizer/unicode.h"

namespace longlora::tokenizer {

namespace {

using Kind = NormalizerStep::Kind;

void check_icu(UErrorCode status) {
  if (U_FAILURE(status) != 0)
    throw Error(fmt::format("[Unicode] expected ICU to normalize, got {}", u_errorName(status)));
}

const icu::Normalizer2* find_form(Kind kind, UErrorCode* status) {
  switch (kind) {
    case Kind::kNfd:
      return icu::Normalizer2::getNFDInstance(*status);
    case Kind::kNfkc:
      return icu::Normalizer2::getNFKCInstance(*status);
    case Kind::kNfkd:
      return icu::Normalizer2::getNFKDInstance(*status);
    default:
      return icu::Normalizer2::getNFCInstance(*status);
  }
}

icu::UnicodeSet make_set(const char* pattern) {
  UErrorCode status = U_ZERO_ERROR;
  icu::UnicodeSet set(icu::UnicodeString::fromUTF8(pattern), status);
  check_icu(status);
  set.freeze();
  return set;
}

class NormalForm : public Normalizer {
 public:
  explicit NormalForm(Kind kind)
      : is_nfc_(kind == Kind::kNfc),
        known_(make_set("[:age=9.0:]")),
        changing_(make_set("[[:NFC_QC=No:][:NFC_QC=Maybe:][:^ccc=0:]]")) {
    UErrorCode status = U_ZERO_ERROR;
    form_ = find_form(kind, &status);
    check_icu(status);
  }

  void apply(std::string* text) const override {
    if (is_normal(*text)) return;
    UErrorCode status = U_ZERO_ERROR;
    std::string result;
    icu::StringByteSink<std::string> sink(&result,
                                          static_cast<int32_t>(std::min<size_t>(text->size(), 1 << 30)));
    const icu::FilteredNormalizer2 normalizer(*form_, known_);
    normalizer.normalizeUTF8(0, icu::StringPiece(text->data(), checked_size(*text)), sink, nullptr, status);
    check_icu(status);
    *text = std::move(result);
  }

 private:
  static int32_t checked_size(const std::string& text) {
    if (text.size() > (size_t{1} << 29)) {
      throw InputError(fmt::format(
          "[Unicode] expected texts of at most 512 MiB where the tokenizer normalizes them, got {} "
          "bytes; split the file",
          text.size()));
    }
    return static_cast<int32_t>(text.size());
  }

  // A quick test for the usual text. False means that the text has to be looked at closely.
  bool is_normal(const std::string& text) const {
    for (size_t at = 0; at < text.size();) {
      const auto byte = static_cast<unsigned char>(text[at]);
      if (byte < 0x80) {
        ++at;
        continue;
      }
      if (!is_nfc_) return false;
      size_t length = 0;
      const char32_t code = read_character(text.data() + at, &length);
      if (code >= 0x300 && changing_.contains(static_cast<UChar32>(code)) != 0) return false;
      at += length;
    }
    return true;
  }

  bool is_nfc_;
  icu::UnicodeSet known_;
  icu::UnicodeSet changing_;  // characters that are not by themselves in normal form C
  const icu::Normalizer2* form_ = nullptr;
};

class PrependText : public Normalizer {
 public:
  explicit PrependText(std::string content) : content_(std::move(content)) {}
  void apply(std::string* text) const override {
    if (!text->empty()) text->insert(0, content_);
  }

 private:
  std::string content_;
};

class ReplacePattern : public Normalizer {
 public:
  ReplacePattern(const NormalizerStep& step, const std::string& source)
      : pattern_(step.pattern, source), content_(step.content) {}
  void apply(std::string* text) const override { *text = pattern_.replace(*text, content_); }

 private:
  TextPattern pattern_;
  std::string content_;
};

// Capital letters that are newer than ICU's tables (Unicode 15).
struct NewCapitals {
  char32_t first, last;
  int32_t distance;  // from the capital to the small letter
};
constexpr NewCapitals kNewCapitals[] = {{0x1C89, 0x1C89, 1},      {0xA7CB, 0xA7CB, 0x264 - 0xA7CB},
                                        {0xA7CC, 0xA7CC, 1},      {0xA7CE, 0xA7CE, 1},
                                        {0xA7D2, 0xA7D2, 1},      {0xA7D4, 0xA7D4, 1},
                                        {0xA7DA, 0xA7DA, 1},      {0xA7DC, 0xA7DC, 0x19B - 0xA7DC},
                                        {0x10D50, 0x10D65, 0x20}, {0x16EA0, 0x16EB8, 0x1B}};

char32_t lower_case(char32_t code) {
  for (const NewCapitals& range : kNewCapitals) {
    if (code >= range.first && code <= range.last)
      return static_cast<char32_t>(static_cast<int32_t>(code) + range.distance);
  }
  return static_cast<char32_t>(u_tolower(static_cast<UChar32>(code)));
}

class Lowercase : public Normalizer {
 public:
  void apply(std::string* text) const override {
    std::string lower;
    lower.reserve(text->size());
    for (size_t at = 0, length = 0; at < text->size(); at += length) {
      const char32_t code = read_character(text->data() + at, &length);
      append_character(lower_case(code), &lower);
      if (code == 0x130)
        append_character(0x307, &lower);  // this is the one letter that becomes two characters
    }
    *text = std::move(lower);
  }
};

class StripSpaces : public Normalizer {
 public:
  StripSpaces(bool left, bool right) : left_(left), right_(right) {}
  void apply(std::string* text) const override {
    const uint8_t* classes = character_classes();
    size_t begin = text->size(), end = 0;
    for (size_t at = 0, length = 0; at < text->size(); at += length) {
      if ((classes[read_character(text->data() + at, &length)] & kSpace) != 0) continue;
      begin = std::min(begin, at);
      end = at + length;
    }
    if (!left_) begin = 0;
    if (!right_) end = text->size();
    *text = begin < end ? text->substr(begin, end - begin) : std::string();
  }

 private:
  bool left_, right_;
};

}  // namespace

std::unique_ptr<Normalizer> make_normalizer(const NormalizerStep& step, const std::string& source) {
  switch (step.kind) {
    case Kind::kPrepend:
      return std::make_unique<PrependText>(step.content);
    case Kind::kReplace:
      return std::make_unique<ReplacePattern>(step, source);
    case Kind::kLowercase:
      return std::make_unique<Lowercase>();
    case Kind::kStrip:
      return std::make_unique<StripSpaces>(step.strip_left, step.strip_right);
    default:
      return std::make_unique<NormalForm>(step.kind);
  }
}

}  // namespace longlora::tokenizer
