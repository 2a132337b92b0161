// Cuts text into the words that BPE takes one by one.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "longlora/tokenizer/pipeline_spec.h"

namespace longlora::tokenizer {

/// The rules by which Llama 3 and Qwen2 cut text into words, as regular expressions.
inline constexpr const char* kLlama3Rule =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
inline constexpr const char* kQwenRule =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

/// Gives the end of the word that starts at `at`, in text that ends at `end`
/// (valid UTF-8, at < end).
using WordScanner = const char* (*)(const char* at, const char* end);

/// Follows GPT-2's rule, which ByteLevel's use_regex stands for.
const char* scan_gpt2_word(const char* at, const char* end);
/// Follows Llama 3's rule: contractions in any case, runs of letters with one sign before them, up to three
/// digits.
const char* scan_llama3_word(const char* at, const char* end);
/// Follows Qwen's rule, which is Llama 3's with single digits.
const char* scan_qwen_word(const char* at, const char* end);

/// The scanner that does the same as the regular expression of a Split step, or null for an expression that
/// is not one of the known ones.
WordScanner find_scanner(const std::string& pattern);

/// What a pre-tokenizer hands on: a text, and whether it begins where the whole text does.
struct Piece {
  std::string_view text;
  bool at_start = false;
};
class PieceSink {
 public:
  virtual ~PieceSink() = default;
  /// Takes the next piece, whose text lives only as long as the call.
  virtual void take(Piece piece) = 0;
};

/// Cuts one piece into several. Immutable; safe to use from several threads.
class PreTokenizer {
 public:
  virtual ~PreTokenizer() = default;
  /// Gives `sink` every part that is not empty, in order.
  virtual void split(Piece piece, PieceSink* sink) const = 0;
};

/// `source` names the file in the InputError for a wrong expression.
std::unique_ptr<PreTokenizer> make_pre_tokenizer(const PreTokenizerStep& step, const std::string& source);

}  // namespace longlora::tokenizer
