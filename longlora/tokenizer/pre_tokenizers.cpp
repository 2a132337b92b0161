#include <algorithm>
#include <utility>
#include <vector>

#include "longlora/tokenizer/splitters.h"
#include "longlora/tokenizer/text_pattern.h"
#include "longlora/tokenizer/unicode.h"

namespace longlora::tokenizer {

namespace {

// A stretch of a piece: a match of the pattern, or what lies between two.
struct Stretch {
  size_t begin, end;
  bool is_match;
};

void take_part(Piece piece, size_t begin, size_t end, PieceSink* sink) {
  if (begin < end) sink->take({piece.text.substr(begin, end - begin), piece.at_start && begin == 0});
}

// Joins each match with the part before it, unless that ended with a match.
std::vector<Stretch> merge_with_previous(const std::vector<Stretch>& stretches) {
  std::vector<Stretch> merged;
  bool after_match = false;
  for (const Stretch& stretch : stretches) {
    if (stretch.is_match && !after_match && !merged.empty())
      merged.back().end = stretch.end;
    else
      merged.push_back(stretch);
    after_match = stretch.is_match;
  }
  return merged;
}

// Joins each match with the part behind it, unless that begins with a match.
std::vector<Stretch> merge_with_next(const std::vector<Stretch>& stretches) {
  std::vector<Stretch> merged;
  bool before_match = false;
  for (size_t i = stretches.size(); i-- > 0;) {
    const Stretch& stretch = stretches[i];
    if (stretch.is_match && !before_match && !merged.empty())
      merged.back().begin = stretch.begin;
    else
      merged.push_back(stretch);
    before_match = stretch.is_match;
  }
  std::reverse(merged.begin(), merged.end());
  return merged;
}

std::vector<Stretch> merge_alike(const std::vector<Stretch>& stretches) {
  std::vector<Stretch> merged;
  for (const Stretch& stretch : stretches) {
    if (!merged.empty() && merged.back().is_match == stretch.is_match)
      merged.back().end = stretch.end;
    else
      merged.push_back(stretch);
  }
  return merged;
}

void take_stretches(Piece piece, std::vector<Stretch> stretches, SplitBehavior behavior, PieceSink* sink) {
  switch (behavior) {
    case SplitBehavior::kMergedWithPrevious:
      stretches = merge_with_previous(stretches);
      break;
    case SplitBehavior::kMergedWithNext:
      stretches = merge_with_next(stretches);
      break;
    case SplitBehavior::kContiguous:
      stretches = merge_alike(stretches);
      break;
    case SplitBehavior::kRemoved:
    case SplitBehavior::kIsolated:
      break;
  }
  for (const Stretch& stretch : stretches) {
    if (behavior == SplitBehavior::kRemoved && stretch.is_match) continue;
    take_part(piece, stretch.begin, stretch.end, sink);
  }
}

void take_words(Piece piece, WordScanner scanner, PieceSink* sink) {
  const char* const begin = piece.text.data();
  const char* const end = begin + piece.text.size();
  for (const char* at = begin; at < end;) {
    const char* const word_end = scanner(at, end);
    sink->take({{at, static_cast<size_t>(word_end - at)}, piece.at_start && at == begin});
    at = word_end;
  }
}

class ScannerSplit : public PreTokenizer {
 public:
  explicit ScannerSplit(WordScanner scanner) : scanner_(scanner) {}
  void split(Piece piece, PieceSink* sink) const override { take_words(piece, scanner_, sink); }

 private:
  WordScanner scanner_;
};

class PatternSplit : public PreTokenizer {
 public:
  PatternSplit(const PreTokenizerStep& step, const std::string& source)
      : pattern_(step.pattern, source), behavior_(step.behavior), invert_(step.invert) {}

  void split(Piece piece, PieceSink* sink) const override {
    std::vector<Stretch> stretches;
    size_t done = 0;
    pattern_.for_each_match(piece.text, [&](size_t begin, size_t end) {
      if (begin > done) stretches.push_back({done, begin, invert_});
      stretches.push_back({begin, end, !invert_});
      done = end;
    });
    if (done < piece.text.size()) stretches.push_back({done, piece.text.size(), invert_});
    take_stretches(piece, std::move(stretches), behavior_, sink);
  }

 private:
  TextPattern pattern_;
  SplitBehavior behavior_;
  bool invert_;
};

class DigitsSplit : public PreTokenizer {
 public:
  explicit DigitsSplit(bool individual) : individual_(individual) {}

  void split(Piece piece, PieceSink* sink) const override {
    const uint8_t* classes = character_classes();
    size_t done = 0;
    bool in_digits = false;
    for (size_t at = 0; at < piece.text.size();) {
      size_t length = 0;
      const bool is_digit = (classes[read_character(piece.text.data() + at, &length)] & kNumber) != 0;
      if (is_digit != in_digits || (is_digit && individual_)) {
        take_part(piece, done, at, sink);
        done = at;
      }
      in_digits = is_digit;
      at += length;
    }
    take_part(piece, done, piece.text.size(), sink);
  }

 private:
  bool individual_;
};

class MetaspaceSplit : public PreTokenizer {
 public:
  explicit MetaspaceSplit(const PreTokenizerStep& step)
      : replacement_(step.replacement), prepend_(step.prepend), splits_(step.split) {}

  void split(Piece piece, PieceSink* sink) const override {
    std::string text;
    text.reserve(piece.text.size() + piece.text.size() / 2);
    const bool may_prepend =
        prepend_ == PrependScheme::kAlways || (prepend_ == PrependScheme::kFirst && piece.at_start);
    if (may_prepend && !piece.text.starts_with(' ') && !piece.text.starts_with(replacement_))
      text += replacement_;
    for (size_t at = 0;;) {
      const size_t space = piece.text.find(' ', at);
      text += piece.text.substr(at, space - at);
      if (space == std::string_view::npos) break;
      text += replacement_;
      at = space + 1;
    }
    const Piece replaced{text, piece.at_start};
    if (!splits_) return take_part(replaced, 0, text.size(), sink);
    // A part begins at every replacement.
    size_t done = 0;
    for (size_t at = text.find(replacement_); at != std::string::npos;
         at = text.find(replacement_, at + replacement_.size())) {
      take_part(replaced, done, at, sink);
      done = at;
    }
    take_part(replaced, done, text.size(), sink);
  }

 private:
  std::string replacement_;
  PrependScheme prepend_;
  bool splits_;
};

class ByteLevelSplit : public PreTokenizer {
 public:
  explicit ByteLevelSplit(const PreTokenizerStep& step)
      : adds_prefix_(step.add_prefix_space), splits_(step.use_regex) {}

  void split(Piece piece, PieceSink* sink) const override {
    std::string with_prefix;
    if (adds_prefix_ && !piece.text.starts_with(' ')) {
      with_prefix.reserve(piece.text.size() + 1);
      with_prefix.append(" ").append(piece.text);
      piece.text = with_prefix;
    }
    if (splits_)
      take_words(piece, scan_gpt2_word, sink);
    else
      sink->take(piece);
  }

 private:
  bool adds_prefix_, splits_;
};

}  // namespace

std::unique_ptr<PreTokenizer> make_pre_tokenizer(const PreTokenizerStep& step, const std::string& source) {
  switch (step.kind) {
    case PreTokenizerStep::Kind::kDigits:
      return std::make_unique<DigitsSplit>(step.individual_digits);
    case PreTokenizerStep::Kind::kMetaspace:
      return std::make_unique<MetaspaceSplit>(step);
    case PreTokenizerStep::Kind::kByteLevel:
      return std::make_unique<ByteLevelSplit>(step);
    case PreTokenizerStep::Kind::kSplit:
      break;
  }
  // The known expressions match everything, so that isolating the matches and keeping only them is the same.
  const bool is_plain =
      step.behavior == SplitBehavior::kIsolated || (step.behavior == SplitBehavior::kRemoved && step.invert);
  const WordScanner scanner = step.pattern.is_regex && is_plain ? find_scanner(step.pattern.text) : nullptr;
  if (scanner != nullptr) return std::make_unique<ScannerSplit>(scanner);
  return std::make_unique<PatternSplit>(step, source);
}

}  // namespace longlora::tokenizer
