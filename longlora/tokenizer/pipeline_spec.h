// A tokenizer as plain data: what tokenizer.json says, step by step. Readers of
// files fill it; PipelineTokenizer runs it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace longlora::tokenizer {

/// What a Replace or Split step looks for.
struct PatternSpec {
  std::string text;
  bool is_regex = false;
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
  bool invert = false;                                // kSplit: the matches are what lies between
  bool individual_digits = false;                     // kDigits
  std::string replacement;                            // kMetaspace
  PrependScheme prepend = PrependScheme::kAlways;     // kMetaspace
  bool split = true;                                  // kMetaspace: at every replacement
  bool add_prefix_space = false;                      // kByteLevel
  bool use_regex = true;                              // kByteLevel: split as GPT-2 does
};

struct DecoderStep {
  enum class Kind : uint8_t { kByteLevel, kByteFallback, kFuse, kReplace, kStrip, kMetaspace };
  Kind kind = Kind::kFuse;
  PatternSpec pattern;       // kReplace
  std::string content;       // kReplace, kStrip; the replacement of kMetaspace
  bool drops_first = false;  // kMetaspace: the mark of the first token is dropped, not a space
  int64_t start = 0;         // kStrip: how often at most, at the beginning
  int64_t stop = 0;          // and at the end of each token
};

/// A token that is found in text as it is written (Hugging Face's AddedToken).
struct AddedToken {
  std::string content;
  int32_t id = -1;           // what the file states; the vocabulary decides
  bool special = false;      // skipped by decode
  bool lstrip = false;       // takes the whitespace before it
  bool rstrip = false;       // takes the whitespace after it
  bool single_word = false;  // only where no letter or digit touches it
  bool normalized = false;   // looked for in the normalized text
};

/// Byte pair encoding. Merges are strings until the model resolves them.
struct BpeSpec {
  std::vector<std::pair<std::string, int32_t>> vocab;
  std::vector<std::pair<std::string, std::string>> merges;  // the most urgent first
  std::vector<uint32_t> merge_ranks;                        // of each merge; empty: its position
  std::optional<std::string> unk_token;
  bool fuse_unk = false;
  bool byte_fallback = false;
  bool ignore_merges = false;  // a word that is in the vocabulary is taken whole
};

struct PipelineSpec {
  std::string source;  // names the file in errors
  std::vector<AddedToken> added_tokens;
  std::vector<NormalizerStep> normalizers;
  std::vector<PreTokenizerStep> pre_tokenizers;
  BpeSpec model;
  std::vector<int32_t> prefix_ids;  // what the template puts before a text
  std::vector<int32_t> suffix_ids;  // and after it
  std::vector<DecoderStep> decoders;
  bool has_decoder = false;  // without one, decoding joins tokens with spaces
  std::optional<std::string> bos_token, eos_token;
};

}  // namespace longlora::tokenizer
