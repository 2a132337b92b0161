// Byte pair encoding of one word at a time, by Hugging Face's rules.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "longlora/tokenizer/pipeline_spec.h"
#include "longlora/tokenizer/tokenizer.h"
#include "longlora/tokenizer/word_cache.h"

namespace longlora::tokenizer {

/// A hash that lets a table of strings be searched by string_view.
struct TextHash {
  using is_transparent = void;  // NOLINT(readability-identifier-naming): the standard's name
  size_t operator()(std::string_view text) const { return std::hash<std::string_view>()(text); }
};
using TokenIds = std::unordered_map<std::string, int32_t, TextHash, std::equal_to<>>;

/// What a word is made of before merging.
enum class BpeAlphabet : uint8_t {
  kCharacters,  // code points, as the vocabulary spells them
  kBytes,       // bytes; the vocabulary spells each as one character (byte-level BPE)
};

/// Working memory of one call. It may be reused from call to call, but not by two threads at once.
struct BpeScratch {
  WordCache cache;
  std::vector<int32_t> symbols;
  struct Candidate {
    uint32_t rank, position;
    int32_t left, right, merged;
  };
  std::vector<Candidate> heap;
  std::vector<uint32_t> previous, next;
};

/// A vocabulary with its merges. Immutable; safe to use from several threads that have a scratch each.
class Bpe {
 public:
  /// Throws InputError naming `source` for merges whose parts or result the
  /// vocabulary lacks.
  Bpe(const BpeSpec& spec, BpeAlphabet alphabet, const std::string& source);

  /// Appends the ids of `word`. Of all neighbouring pairs the one of lowest rank is merged first, and of
  /// equal ones the leftmost. The time is n log n for n bytes; words met before cost a look-up. Throws
  /// InputError for an unknown character where the unknown token itself is not in the vocabulary.
  void encode(std::string_view word, BpeScratch* scratch, Ids* ids) const;

  /// The id of a token as the vocabulary spells it, or -1.
  int32_t find(std::string_view token) const;
  /// The number of distinct tokens.
  size_t size() const { return ids_.size(); }
  const TokenIds& vocab() const { return ids_; }

 private:
  struct Merge {
    uint64_t pair = kNoPair;  // the left id and the right id
    uint32_t rank = 0;
    int32_t merged = 0;
  };
  static constexpr uint64_t kNoPair = ~uint64_t{0};

  void add_vocab(const BpeSpec& spec);
  void add_merges(const BpeSpec& spec);
  void insert_merge(const Merge& merge);
  void find_word_ends(const BpeSpec& spec);
  void add_alphabet();
  std::vector<int32_t> fallback_ids(std::string_view character) const;
  const Merge* find_merge(int32_t left, int32_t right) const;

  size_t word_end(std::string_view text, size_t at) const;
  void encode_whole(std::string_view word, BpeScratch* scratch, Ids* ids) const;
  void encode_uncached(std::string_view word, BpeScratch* scratch, Ids* ids) const;
  void read_symbols(std::string_view word, std::vector<int32_t>* symbols) const;
  void merge_few(std::vector<int32_t>* symbols) const;
  void merge_many(BpeScratch* scratch) const;

  std::string source_;
  BpeAlphabet alphabet_;
  bool fuse_unk_, byte_fallback_, ignore_merges_;
  bool has_unk_ = false;
  int32_t unk_id_ = -1;
  bool splits_at_marks_ = false;         // no merge reaches over a space mark from its left
  bool splits_at_newlines_ = false;      // no merge holds a newline
  TokenIds ids_;                         // of tokens as the file spells them
  TokenIds whole_words_;                 // of whole words by their bytes; filled for ignore_merges only
  std::array<int32_t, 256> byte_ids_{};  // the id of each byte, or of each ASCII character; -1: none
  std::array<std::vector<int32_t>, 256> byte_fallbacks_;  // the ids for a byte that the vocabulary lacks
  std::array<int32_t, 256> byte_tokens_{};                // the ids of <0x00> … <0xFF>; -1: none
  std::vector<int32_t> character_ids_;                    // the ids of code points below 0x10000; -1: none
  std::unordered_map<char32_t, int32_t> rare_characters_;
  std::vector<Merge> merges_;  // a hash table with open addressing, whose size is a power of two
};

/// The character with which byte-level vocabularies spell a byte: the one of the same code where that is
/// printable, otherwise one from U+0100 on.
char32_t character_of_byte(unsigned char byte);
/// Writes the bytes that `token` spells. Returns false where one of its characters spells no byte.
bool bytes_of_token(std::string_view token, std::string* bytes);

}  // namespace longlora::tokenizer
