// A tokenizer as plain data: what tokenizer.json says, step by step. The readers of files fill it, and
// PipelineTokenizer runs it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace longlora::tokenizer {

/// The text or expression that a Replace or Split step looks for.
struct PatternSpec {
  std::string text;
  bool is_regex = false;

  bool operator==(const PatternSpec&) const = default;
};

struct NormalizerStep {
  enum class Kind : uint8_t { kNfc, kNfd, kNfkc, kNfkd, kPrepend, kReplace, kLowercase, kStrip };
  Kind kind = Kind::kNfc;
  PatternSpec pattern;      // kReplace
  std::string content;      // kPrepend, kReplace
  bool strip_left = true;   // kStrip
  bool strip_right = true;  // kStrip
};

/// What becomes of the matches of a Split step; the names are Hugging Face's.
enum class SplitBehavior : uint8_t { kRemoved, kIsolated, kMergedWithPrevious, kMergedWithNext, kContiguous };

enum class PrependScheme : uint8_t { kAlways, kFirst, kNever };

struct PreTokenizerStep {
  enum class Kind : uint8_t { kSplit, kDigits, kMetaspace, kByteLevel };
  Kind kind = Kind::kSplit;
  PatternSpec pattern;                                // kSplit
  SplitBehavior behavior = SplitBehavior::kIsolated;  // kSplit
  bool invert = false;             // kSplit: what lies between the matches counts as the matches
  bool individual_digits = false;  // kDigits
  std::string replacement;         // kMetaspace
  PrependScheme prepend = PrependScheme::kAlways;  // kMetaspace
  bool split = true;                               // kMetaspace: cut the text at every replacement
  bool add_prefix_space = false;                   // kByteLevel
  bool use_regex = true;                           // kByteLevel: split as GPT-2 does

  bool operator==(const PreTokenizerStep&) const = default;
};

struct DecoderStep {
  enum class Kind : uint8_t { kByteLevel, kByteFallback, kFuse, kReplace, kStrip, kMetaspace };
  Kind kind = Kind::kFuse;
  PatternSpec pattern;       // kReplace
  std::string content;       // kReplace, kStrip; the replacement of kMetaspace
  bool drops_first = false;  // kMetaspace: the first token's mark is dropped and does not become a space
  int64_t start = 0;         // kStrip: how many are taken off at most, at the beginning
  int64_t stop = 0;          // the same at the end of each token
};

/// A token that is found in text as it is written (Hugging Face's AddedToken).
struct AddedToken {
  std::string content;
  int32_t id = -1;           // as the file states it; where the vocabulary has another, that one holds
  bool special = false;      // decode() skips it
  bool lstrip = false;       // it takes the whitespace before it
  bool rstrip = false;       // it takes the whitespace after it
  bool single_word = false;  // it is found only where no letter or digit touches it
  bool normalized = false;   // it is looked for in the normalized text
};

/// Byte pair encoding. Merges are strings until the model resolves them.
struct BpeSpec {
  std::vector<std::pair<std::string, int32_t>> vocab;
  std::vector<std::pair<std::string, std::string>> merges;  // those that are done first come first
  std::vector<uint32_t> merge_ranks;  // the rank of each merge; empty: its position is its rank
  std::optional<std::string> unk_token;
  bool fuse_unk = false;
  bool byte_fallback = false;
  bool ignore_merges = false;  // a word that is in the vocabulary becomes one token without merging
};

struct PipelineSpec {
  std::string source;  // names the file in errors
  std::vector<AddedToken> added_tokens;
  bool split_special_tokens = false;  // special tokens are not looked for in texts
  std::vector<NormalizerStep> normalizers;
  std::vector<PreTokenizerStep> pre_tokenizers;
  BpeSpec model;
  std::vector<int32_t> prefix_ids;  // the ids that the template puts before a text
  std::vector<int32_t> suffix_ids;  // the ids that it puts after a text
  std::vector<DecoderStep> decoders;
  bool has_decoder = false;  // where there is none, decoding joins tokens with spaces
  std::optional<std::string> bos_token, eos_token;
};

}  // namespace longlora::tokenizer
