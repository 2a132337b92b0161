#include "longlora/tokenizer/bpe.h"

#include <fmt/core.h>

#include <algorithm>
#include <limits>

#include "longlora/core/error.h"
#include "longlora/core/utf8.h"
#include "longlora/tokenizer/unicode.h"

namespace longlora::tokenizer {

namespace {

constexpr std::string_view kSpaceMark = "\xE2\x96\x81";  // U+2581, a space inside pieces
constexpr size_t kFewSymbols = 40;  // up to so many symbols, scanning all pairs beats a heap
constexpr size_t kMaxSymbols = std::numeric_limits<uint32_t>::max() - 1;
constexpr uint32_t kNoRank = std::numeric_limits<uint32_t>::max();

uint64_t pair_of(int32_t left, int32_t right) {
  return static_cast<uint64_t>(static_cast<uint32_t>(left)) << 32 | static_cast<uint32_t>(right);
}

size_t hash_of(uint64_t pair) {
  const uint64_t hash = pair * 0x9E3779B97F4A7C15u;
  return hash ^ hash >> 29;
}

std::array<char32_t, 256> make_byte_characters() {
  std::array<char32_t, 256> characters{};
  char32_t next = 0x100;
  for (size_t byte = 0; byte < 256; ++byte) {
    const bool printable = (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
    characters[byte] = printable ? static_cast<char32_t>(byte) : next++;
  }
  return characters;
}

const std::array<char32_t, 256>& byte_characters() {
  static const std::array<char32_t, 256> kCharacters = make_byte_characters();
  return kCharacters;
}

bool is_newline_token(std::string_view token) {
  return token.find('\n') != std::string_view::npos || token.find("<0x0A>") != std::string_view::npos;
}

// Whether a space mark follows something else than a space mark in the token.
bool joins_words(std::string_view token) {
  while (token.starts_with(kSpaceMark)) token.remove_prefix(kSpaceMark.size());
  return token.find(kSpaceMark) != std::string_view::npos;
}

}  // namespace

char32_t character_of_byte(unsigned char byte) {
  return byte_characters()[byte];
}

bool bytes_of_token(std::string_view token, std::string* bytes) {
  static const std::array<int16_t, 0x144> kBytes = [] {
    std::array<int16_t, 0x144> table{};
    table.fill(-1);
    for (size_t byte = 0; byte < 256; ++byte) table[byte_characters()[byte]] = static_cast<int16_t>(byte);
    return table;
  }();
  bytes->clear();
  for (size_t at = 0; at < token.size();) {
    size_t length = 0;
    const char32_t code = read_character(token.data() + at, &length);
    if (code >= kBytes.size() || kBytes[code] < 0) return false;
    *bytes += static_cast<char>(kBytes[code]);
    at += length;
  }
  return true;
}

Bpe::Bpe(const BpeSpec& spec, BpeAlphabet alphabet, const std::string& source)
    : source_(source),
      alphabet_(alphabet),
      fuse_unk_(spec.fuse_unk),
      byte_fallback_(spec.byte_fallback),
      ignore_merges_(spec.ignore_merges) {
  add_vocab(spec);
  add_merges(spec);
  add_alphabet();
  find_word_ends(spec);
}

void Bpe::add_vocab(const BpeSpec& spec) {
  ids_.reserve(spec.vocab.size());
  for (const auto& entry : spec.vocab) ids_.insert_or_assign(entry.first, entry.second);
  if (ignore_merges_) {
    std::string bytes;
    for (const auto& entry : ids_) {
      if (alphabet_ == BpeAlphabet::kCharacters)
        whole_words_.emplace(entry.first, entry.second);
      else if (bytes_of_token(entry.first, &bytes))
        whole_words_.emplace(bytes, entry.second);
    }
  }
  if (spec.unk_token) {
    has_unk_ = true;
    unk_id_ = find(*spec.unk_token);
  }
}

int32_t Bpe::find(std::string_view token) const {
  const auto found = ids_.find(token);
  return found == ids_.end() ? -1 : found->second;
}

void Bpe::insert_merge(const Merge& merge) {
  const size_t mask = merges_.size() - 1;
  size_t place = hash_of(merge.pair) & mask;
  while (merges_[place].pair != kNoPair && merges_[place].pair != merge.pair) place = (place + 1) & mask;
  merges_[place] = merge;  // of two rules for one pair the later one holds
}

void Bpe::add_merges(const BpeSpec& spec) {
  size_t capacity = 16;
  while (capacity < spec.merges.size() * 2) capacity *= 2;
  merges_.resize(capacity);
  size_t position = 0;
  for (const auto& rule : spec.merges) {
    const auto checked = [&](const std::string& token) {
      const int32_t id = find(token);
      if (id >= 0) return id;
      throw InputError(
          fmt::format("[{}] expected every part and result of a merge in the vocabulary, got merge {} "
                      "(\"{}\" + \"{}\") without \"{}\"; the file is damaged",
                      source_, position, rule.first, rule.second, token));
    };
    const int32_t left = checked(rule.first), right = checked(rule.second);
    const uint32_t rank =
        spec.merge_ranks.empty() ? static_cast<uint32_t>(position) : spec.merge_ranks[position];
    insert_merge({pair_of(left, right), rank, checked(rule.first + rule.second)});
    ++position;
  }
}

const Bpe::Merge* Bpe::find_merge(int32_t left, int32_t right) const {
  const uint64_t pair = pair_of(left, right);
  const size_t mask = merges_.size() - 1;
  for (size_t place = hash_of(pair) & mask;; place = (place + 1) & mask) {
    if (merges_[place].pair == pair) return &merges_[place];
    if (merges_[place].pair == kNoPair) return nullptr;
  }
}

void Bpe::add_alphabet() {
  byte_ids_.fill(-1);
  for (size_t byte = 0; byte < 256; ++byte) byte_tokens_[byte] = find(fmt::format("<0x{:02X}>", byte));
  if (alphabet_ == BpeAlphabet::kBytes) {
    for (size_t byte = 0; byte < 256; ++byte) {
      std::string character;
      append_character(character_of_byte(static_cast<unsigned char>(byte)), &character);
      byte_ids_[byte] = find(character);
      if (byte_ids_[byte] < 0) byte_fallbacks_[byte] = fallback_ids(character);
    }
    return;
  }
  character_ids_.assign(0x10000, -1);
  for (const auto& entry : ids_) {
    if (entry.first.empty() || entry.first.size() > 4) continue;
    size_t length = 0;
    const char32_t code = read_character(entry.first.data(), &length);
    if (length != entry.first.size()) continue;
    if (code < 0x10000)
      character_ids_[code] = entry.second;
    else
      rare_characters_[code] = entry.second;
  }
}

// The byte tokens for a character that is no token; empty where one of them is missing.
std::vector<int32_t> Bpe::fallback_ids(std::string_view character) const {
  std::vector<int32_t> ids;
  if (!byte_fallback_) return ids;
  for (const char c : character) {
    const int32_t id = byte_tokens_[static_cast<unsigned char>(c)];
    if (id < 0) return {};
    ids.push_back(id);
  }
  return ids;
}

// Finds out where a text of characters can be cut into words that are merged one by one.
void Bpe::find_word_ends(const BpeSpec& spec) {
  if (alphabet_ != BpeAlphabet::kCharacters || ignore_merges_) return;
  const bool all_bytes = byte_fallback_ && std::none_of(byte_tokens_.begin(), byte_tokens_.end(),
                                                        [](int32_t id) { return id < 0; });
  splits_at_marks_ = find(kSpaceMark) >= 0;
  splits_at_newlines_ = find("\n") >= 0 || all_bytes;
  for (const auto& rule : spec.merges) {
    const std::string token = rule.first + rule.second;
    if (splits_at_marks_ && joins_words(token)) splits_at_marks_ = false;
    if (splits_at_newlines_ && is_newline_token(token)) splits_at_newlines_ = false;
  }
}

// The end of the word that starts at `at`: of a run of newlines, or of space marks and what follows them up
// to the next mark or newline.
size_t Bpe::word_end(std::string_view text, size_t at) const {
  const auto is_mark = [&](size_t i) { return text.substr(i, kSpaceMark.size()) == kSpaceMark; };
  if (splits_at_newlines_ && text[at] == '\n') return std::min(text.find_first_not_of('\n', at), text.size());
  if (splits_at_marks_)
    while (at < text.size() && is_mark(at)) at += kSpaceMark.size();
  for (; at < text.size(); ++at) {
    if (text[at] == '\n' && splits_at_newlines_) return at;
    if (text[at] == kSpaceMark[0] && splits_at_marks_ && is_mark(at)) return at;
  }
  return at;
}

void Bpe::encode(std::string_view word, BpeScratch* scratch, Ids* ids) const {
  if (word.empty()) return;
  if (!splits_at_marks_ && !splits_at_newlines_) return encode_whole(word, scratch, ids);
  for (size_t at = 0; at < word.size();) {
    const size_t end = word_end(word, at);
    encode_whole(word.substr(at, end - at), scratch, ids);
    at = end;
  }
}

void Bpe::encode_whole(std::string_view word, BpeScratch* scratch, Ids* ids) const {
  if (word.size() > WordCache::kMaxBytes) return encode_uncached(word, scratch, ids);
  if (const WordCache::Entry* entry = scratch->cache.find(word)) {
    ids->insert(ids->end(), entry->ids, entry->ids + entry->num_ids);
    return;
  }
  const size_t first = ids->size();
  encode_uncached(word, scratch, ids);
  const size_t num_ids = ids->size() - first;
  if (num_ids <= WordCache::kMaxIds) scratch->cache.put(word, ids->data() + first, num_ids);
}

void Bpe::encode_uncached(std::string_view word, BpeScratch* scratch, Ids* ids) const {
  if (ignore_merges_) {
    const auto found = whole_words_.find(word);
    if (found != whole_words_.end()) return ids->push_back(int32_t{found->second});
  }
  std::vector<int32_t>& symbols = scratch->symbols;
  symbols.clear();
  read_symbols(word, &symbols);
  if (symbols.size() <= kFewSymbols)
    merge_few(&symbols);
  else
    merge_many(scratch);
  ids->insert(ids->end(), symbols.begin(), symbols.end());
}

// Reads the symbols of a word. An unknown character waits until the next known one or the end, because that
// is where Hugging Face writes it (behind byte tokens that come in between).
void Bpe::read_symbols(std::string_view word, std::vector<int32_t>* symbols) const {
  int64_t num_waiting = 0;
  const auto add_unknown = [&](const std::vector<int32_t>& fallback) {
    if (!fallback.empty()) {
      symbols->insert(symbols->end(), fallback.begin(), fallback.end());
      return;
    }
    if (!has_unk_) return;  // Hugging Face drops the character
    if (unk_id_ < 0) {
      throw InputError(
          fmt::format("[{}] expected the unknown token in the vocabulary, got none and a text with an "
                      "unknown character; add unk_token to the vocabulary",
                      source_));
    }
    if (num_waiting > 0 && !fuse_unk_) symbols->push_back(unk_id_);
    num_waiting = 1;
  };
  const auto add_known = [&](int32_t id) {
    if (num_waiting > 0) symbols->push_back(unk_id_);
    num_waiting = 0;
    symbols->push_back(id);
  };
  for (size_t at = 0; at < word.size();) {
    const auto byte = static_cast<unsigned char>(word[at]);
    if (alphabet_ == BpeAlphabet::kBytes) {
      ++at;
      byte_ids_[byte] >= 0 ? add_known(byte_ids_[byte]) : add_unknown(byte_fallbacks_[byte]);
      continue;
    }
    size_t length = 0;
    const char32_t code = read_character(word.data() + at, &length);
    int32_t id = -1;
    if (code < 0x10000)
      id = character_ids_[code];
    else if (const auto found = rare_characters_.find(code); found != rare_characters_.end())
      id = found->second;
    id >= 0 ? add_known(id) : add_unknown(fallback_ids(word.substr(at, length)));
    at += length;
  }
  if (num_waiting > 0) symbols->push_back(unk_id_);
}

void Bpe::merge_few(std::vector<int32_t>* symbols) const {
  size_t size = symbols->size();
  if (size < 2) return;
  std::array<uint32_t, kFewSymbols> ranks;  // the rank of the pair that begins at each symbol
  std::array<int32_t, kFewSymbols> merged;  // the symbol that the pair becomes
  const auto look_up = [&](size_t i) {
    const Merge* merge = find_merge((*symbols)[i], (*symbols)[i + 1]);
    ranks[i] = merge == nullptr ? kNoRank : merge->rank;
    merged[i] = merge == nullptr ? -1 : merge->merged;
  };
  for (size_t i = 0; i + 1 < size; ++i) look_up(i);
  while (size > 1) {
    size_t best = 0;
    for (size_t i = 1; i + 1 < size; ++i)
      if (ranks[i] < ranks[best]) best = i;
    if (ranks[best] == kNoRank) break;
    (*symbols)[best] = merged[best];
    for (size_t i = best + 1; i + 1 < size; ++i) {
      (*symbols)[i] = (*symbols)[i + 1];
      ranks[i] = ranks[i + 1];
      merged[i] = merged[i + 1];
    }
    --size;
    if (best > 0) look_up(best - 1);
    if (best + 1 < size) look_up(best);
  }
  symbols->resize(size);
}

// Merges symbols that form a linked list. A candidate whose symbols have changed meanwhile is skipped.
void Bpe::merge_many(BpeScratch* scratch) const {
  std::vector<int32_t>& symbols = scratch->symbols;
  std::vector<uint32_t>&previous = scratch->previous, &next = scratch->next;
  std::vector<BpeScratch::Candidate>& heap = scratch->heap;
  if (symbols.size() > kMaxSymbols) {
    throw InputError(fmt::format("[{}] expected words of at most {} symbols, got {}; split the text", source_,
                                 kMaxSymbols, symbols.size()));
  }
  const auto size = static_cast<uint32_t>(symbols.size());
  previous.resize(size);
  next.resize(size);
  heap.clear();
  const auto is_later = [](const BpeScratch::Candidate& a, const BpeScratch::Candidate& b) {
    return a.rank != b.rank ? a.rank > b.rank : a.position > b.position;
  };
  const auto add = [&](uint32_t position) {
    const int32_t left = symbols[position], right = symbols[next[position]];
    const Merge* merge = find_merge(left, right);
    if (merge != nullptr) heap.push_back({merge->rank, position, left, right, merge->merged});
    return merge != nullptr;
  };
  for (uint32_t i = 0; i < size; ++i) {
    previous[i] = i - 1;  // for the first symbol this is a number beyond every position
    next[i] = i + 1;
  }
  for (uint32_t i = 0; i + 1 < size; ++i) add(i);
  std::make_heap(heap.begin(), heap.end(), is_later);
  while (!heap.empty()) {
    const BpeScratch::Candidate candidate = heap.front();
    std::pop_heap(heap.begin(), heap.end(), is_later);
    heap.pop_back();
    const uint32_t at = candidate.position, after = next[at];
    if (symbols[at] != candidate.left || after >= size || symbols[after] != candidate.right) continue;
    symbols[at] = candidate.merged;
    symbols[after] = -1;
    next[at] = next[after];
    if (next[at] < size) {
      previous[next[at]] = at;
      if (add(at)) std::push_heap(heap.begin(), heap.end(), is_later);
    }
    if (previous[at] < size && add(previous[at])) std::push_heap(heap.begin(), heap.end(), is_later);
  }
  symbols.erase(std::remove(symbols.begin(), symbols.end(), -1), symbols.end());
}

}  // namespace longlora::tokenizer
