#include "longlora/tokenizer/llama_tokenizer.h"

#include <fmt/core.h>
#include <sentencepiece_processor.h>

#include <algorithm>
#include <exception>
#include <new>
#include <set>
#include <unordered_map>
#include <utility>

#include "longlora/core/error.h"
#include "longlora/core/file.h"
#include "longlora/core/json.h"
#include "longlora/core/utf8.h"
#include "longlora/tokenizer/sentencepiece_settings.h"

namespace longlora::tokenizer {

namespace {

constexpr std::string_view kSpaceMark = "\xE2\x96\x81";  // U+2581, a space inside pieces
constexpr size_t kLongestRemembered = 48;                // in bytes; longer words rarely come again

std::string replace_all(std::string_view text, std::string_view from, std::string_view to) {
  std::string result;
  while (true) {
    const size_t at = text.find(from);
    result += text.substr(0, at);
    if (at == std::string_view::npos) return result;
    result += to;
    text.remove_prefix(at + from.size());
  }
}

// Whether the piece could reach across the end of a word: a space mark follows something else than a space
// mark, or a newline stands beside something else.
bool joins_words(std::string_view piece) {
  if (piece.find('\n') != std::string_view::npos && piece.find_first_not_of('\n') != std::string_view::npos)
    return true;
  while (piece.starts_with(kSpaceMark)) piece.remove_prefix(kSpaceMark.size());
  return piece.find(kSpaceMark) != std::string_view::npos;
}

// The end of the word that starts at `at`: of a run of newlines, or of spaces and what follows them up to the
// next space or newline.
size_t find_word_end(std::string_view text, size_t at) {
  if (at < text.size() && text[at] == '\n') return std::min(text.find_first_not_of('\n', at), text.size());
  while (at < text.size()) {
    if (text[at] == ' ')
      ++at;
    else if (text.substr(at, kSpaceMark.size()) == kSpaceMark)
      at += kSpaceMark.size();
    else
      break;
  }
  while (true) {
    at = text.find_first_of(" \n", at);
    if (at == std::string_view::npos) return text.size();
    if (text[at] == '\n' || !text.substr(0, at).ends_with(kSpaceMark)) return at;
    ++at;  // a run of spaces may begin with a mark that was written in the text
  }
}

int hex_digit(char c) {
  return c <= '9' ? c - '0' : (c | 0x20) - 'a' + 10;
}

// What the library says against the model; "" where it accepted it. It throws where a piece begins with a
// zero byte.
std::string load_error(const std::string& model, sentencepiece::SentencePieceProcessor* processor) {
  try {
    const auto status = processor->LoadFromSerializedProto(model);
    return status.ok() ? "" : status.ToString();
  } catch (const std::bad_alloc&) {
    throw;
  } catch (const std::exception& error) {
    return error.what();
  }
}

// The byte of a piece like <0x0A>.
char byte_of_piece(const std::string& piece) {
  return static_cast<char>(hex_digit(piece[3]) * 16 + hex_digit(piece[4]));
}

}  // namespace

LlamaTokenizer::LlamaTokenizer(std::string model, const LlamaSettings& settings, const std::string& source)
    : settings_(settings),
      source_(source),
      processor_(std::make_unique<sentencepiece::SentencePieceProcessor>()) {
  const SentencePieceSettings normalizer = read_sentencepiece_settings(model, source);
  keeps_text_ =
      !normalizer.has_character_map && !normalizer.remove_extra_whitespaces && normalizer.escape_whitespaces;
  is_bpe_ = normalizer.is_bpe;
  model_adds_prefix_ = normalizer.add_dummy_prefix;
  model_trims_text_ = normalizer.remove_extra_whitespaces;
  const std::string model_hash = sha256_hex(model);
  const bool keeps_prefix = settings_.legacy && !keeps_text_;
  const std::string error =
      load_error(keeps_prefix ? std::move(model) : without_dummy_prefix(std::move(model)), processor_.get());
  if (!error.empty()) {
    throw InputError(
        fmt::format("[{}] expected a SentencePiece model, got: {}; fetch the file again", source, error));
  }
  load_pieces();
  splits_into_words_ = keeps_text_ && words_are_independent();
  for (Piece& piece : pieces_) {
    if (piece.kind != Kind::kByte)
      piece.text = replace_invalid_utf8(replace_all(piece.text, kSpaceMark, " "));
  }

  special_tokens_ = SpecialTokenFinder(resolve_special_tokens());
  bos_id_ = find_id(settings_.bos_token);
  eos_id_ = find_id(settings_.eos_token);
  if (settings_.unk_token) num_unknown_pieces_ = processor_->EncodeAsIds(*settings_.unk_token).size();
  fingerprint_ = make_fingerprint(model_hash);
}

LlamaTokenizer::~LlamaTokenizer() = default;

void LlamaTokenizer::load_pieces() {
  const int num_pieces = processor_->GetPieceSize();
  pieces_.resize(static_cast<size_t>(num_pieces));
  for (int id = 0; id < num_pieces; ++id) {
    Piece& piece = pieces_[static_cast<size_t>(id)];
    piece.text = processor_->IdToPiece(id);
    piece.kind = Kind::kText;
    if (processor_->IsControl(id) || processor_->IsUnknown(id)) piece.kind = Kind::kSkipped;
    if (processor_->IsByte(id)) {
      piece.kind = Kind::kByte;
      piece.text = byte_of_piece(piece.text);
    }
  }
}

// Whether neither a piece nor a run of unknown characters can reach from one word into the next.
bool LlamaTokenizer::words_are_independent() const {
  for (const std::string_view separator : {kSpaceMark, std::string_view("\n")}) {
    const std::vector<int> ids = processor_->EncodeAsIds(separator);
    if (ids.empty() || std::any_of(ids.begin(), ids.end(), [&](int id) { return processor_->IsUnknown(id); }))
      return false;
  }
  return std::none_of(pieces_.begin(), pieces_.end(), [](const Piece& piece) {
    return piece.kind == Kind::kText && joins_words(piece.text);
  });
}

// Gives every special token its id: that of the files, or that of a piece with the same text, or the next one
// behind the last id.
std::vector<SpecialToken> LlamaTokenizer::resolve_special_tokens() {
  std::vector<SpecialToken> tokens = settings_.added_tokens;
  std::vector<std::string> named = settings_.other_special_tokens;
  for (const auto* token : {&settings_.unk_token, &settings_.eos_token, &settings_.bos_token})
    if (token->has_value()) named.insert(named.begin(), **token);
  int32_t next_id = static_cast<int32_t>(pieces_.size());
  for (const SpecialToken& token : tokens) next_id = std::max(next_id, token.id + 1);
  for (const std::string& content : named) {
    const auto known = std::find_if(tokens.begin(), tokens.end(),
                                    [&](const SpecialToken& token) { return token.content == content; });
    if (known != tokens.end()) {
      known->special = known->named = true;
      continue;
    }
    const int piece_id = processor_->PieceToId(content);
    const bool is_piece = processor_->IdToPiece(piece_id) == content;
    tokens.push_back({.content = content, .id = is_piece ? piece_id : next_id++, .named = true});
  }
  pieces_.resize(static_cast<size_t>(next_id));
  for (const SpecialToken& token : tokens)
    pieces_[static_cast<size_t>(token.id)] = {token.content, token.special ? Kind::kSkipped : Kind::kText};
  return tokens;
}

std::optional<int32_t> LlamaTokenizer::find_id(const std::optional<std::string>& token) const {
  if (!token) return std::nullopt;
  for (const SpecialToken& special : special_tokens_.tokens())
    if (special.content == *token) return special.id;
  return std::nullopt;
}

// A hash that is equal for folders whose files differ only in what does not change the ids of a text.
std::string LlamaTokenizer::make_fingerprint(const std::string& model_hash) const {
  Json json;
  json["model"] = model_hash;
  json["legacy"] = settings_.legacy;
  json["add_prefix_space"] = settings_.add_prefix_space;
  json["eos_id"] = eos_id_.value_or(-1);
  std::set<std::string> tokens;
  for (const SpecialToken& token : special_tokens_.tokens()) {
    tokens.insert(fmt::format("{} {}{}{} {}", token.id, token.lstrip ? "l" : "", token.rstrip ? "r" : "",
                              token.single_word ? "w" : "", token.content));
  }
  json["special_tokens"] = tokens;
  return sha256_hex(json.dump(-1, ' ', false, Json::error_handler_t::replace));
}

Ids LlamaTokenizer::encode(std::string_view text, bool add_special_tokens) const {
  Ids ids;
  ids.reserve(text.size() / 4 + 2);
  if (add_special_tokens && settings_.add_bos_token && bos_id_) ids.push_back(*bos_id_);
  encode_normalized(text, {}, &ids);
  if (add_special_tokens && settings_.add_eos_token && eos_id_) ids.push_back(*eos_id_);
  return ids;
}

Ids LlamaTokenizer::encode_around(std::string_view text, std::span<const TextRange> plain) const {
  Ids ids;
  ids.reserve(text.size() / 4 + 2);
  encode_normalized(text, plain, &ids);
  return ids;
}

void LlamaTokenizer::encode_normalized(std::string_view text, std::span<const TextRange> plain,
                                       Ids* ids) const {
  if (settings_.legacy || text.find(kSpaceMark) == std::string_view::npos)
    return encode_text(text, plain, ids);
  // A place moves to the front by two bytes for every space mark before it, which becomes a space.
  std::vector<TextRange> moved;
  size_t counted = 0, shorter = 0;
  const auto move = [&](size_t place) {
    for (size_t mark = text.find(kSpaceMark, counted); mark < place; mark = text.find(kSpaceMark, counted)) {
      counted = mark + kSpaceMark.size();
      shorter += kSpaceMark.size() - 1;
    }
    return place - shorter;
  };
  for (const TextRange& range : plain) {
    const size_t begin = move(range.begin);
    moved.push_back({begin, move(range.end)});
  }
  encode_text(replace_all(text, kSpaceMark, " "), moved, ids);
}

void LlamaTokenizer::encode_text(std::string_view text, std::span<const TextRange> plain, Ids* ids) const {
  size_t at = 0;
  while (const auto match = special_tokens_.find(text, at, plain)) {
    // Like Hugging Face, this drops a prefix that would stand alone before a named token.
    if (match->begin > at || (at == 0 && !match->token->named))
      encode_stretch(text.substr(at, match->begin - at), at == 0, ids);
    ids->push_back(match->token->id);
    at = match->end;
  }
  if (at < text.size()) encode_stretch(text.substr(at), at == 0, ids);
}

// Encodes one stretch of text between special tokens.
void LlamaTokenizer::encode_stretch(std::string_view text, bool at_start, Ids* ids) const {
  const bool add_prefix = settings_.legacy ? model_adds_prefix_ : at_start && settings_.add_prefix_space;
  if (text.empty() && (settings_.legacy || !add_prefix)) return;
  if (splits_into_words_) {
    encode_words(text, add_prefix, ids);
    return;
  }
  // A model that rewrites text was loaded with its own prefix in legacy mode.
  const bool prefix_by_hand = add_prefix && (keeps_text_ || !settings_.legacy);
  const std::string stretch = std::string(prefix_by_hand ? kSpaceMark : "").append(text);
  const bool starts_with_space = stretch.starts_with(kSpaceMark) || stretch.starts_with(' ');
  if (settings_.legacy || !starts_with_space || num_unknown_pieces_ == 0) {
    append_pieces(stretch, 0, ids);
  } else {
    // Hugging Face does the same: the unknown token in front keeps a model that trims its input from trimming
    // the space, and its pieces are dropped again.
    append_pieces(*settings_.unk_token + stretch, num_unknown_pieces_, ids);
  }
}

void LlamaTokenizer::encode_words(std::string_view text, bool add_prefix, Ids* ids) const {
  size_t at = 0;
  if (add_prefix) {
    at = find_word_end(text, 0);
    append_pieces(std::string(kSpaceMark).append(text.substr(0, at)), 0, ids);
  }
  struct Range {
    size_t begin, end;  // where in *ids the word's ids were written first
  };
  std::unordered_map<std::string_view, Range> seen;
  while (at < text.size()) {
    const size_t end = find_word_end(text, at);
    const std::string_view word = text.substr(at, end - at);
    at = end;
    const auto known = seen.find(word);
    if (known != seen.end()) {
      for (size_t i = known->second.begin; i < known->second.end; ++i) ids->push_back(int32_t{(*ids)[i]});
      continue;
    }
    const size_t begin = ids->size();
    append_pieces(word, 0, ids);
    if (word.size() <= kLongestRemembered) seen.emplace(word, Range{begin, ids->size()});
  }
}

void LlamaTokenizer::append_pieces(std::string_view text, size_t num_skipped, Ids* ids) const {
  std::vector<int> pieces;
  const auto status = processor_->Encode(text, &pieces);
  if (!status.ok()) {
    throw Error(fmt::format("[{}] expected SentencePiece to encode {} bytes, got: {}", source_, text.size(),
                            status.ToString()));
  }
  const size_t first = pieces.size() >= num_skipped ? num_skipped : 0;
  ids->insert(ids->end(), pieces.begin() + static_cast<std::ptrdiff_t>(first), pieces.end());
}

const LlamaTokenizer::Piece& LlamaTokenizer::piece(int32_t id) const {
  if (id < 0 || static_cast<size_t>(id) >= pieces_.size()) {
    throw InputError(
        fmt::format("[{}] expected ids from 0 to {}, got {}; the ids belong to another tokenizer", source_,
                    pieces_.size() - 1, id));
  }
  return pieces_[static_cast<size_t>(id)];
}

std::string LlamaTokenizer::decode(const Ids& ids, bool skip_special_tokens) const {
  std::string text, bytes;
  const auto finish_bytes = [&] {
    text += replace_invalid_utf8(bytes);
    bytes.clear();
  };
  for (const int32_t id : ids) {
    const Piece& each = piece(id);
    if (each.kind == Kind::kSkipped && skip_special_tokens) continue;
    if (each.kind == Kind::kByte) {
      bytes += each.text;
      continue;
    }
    finish_bytes();
    text += each.text;
  }
  finish_bytes();
  const bool has_prefix = settings_.legacy ? model_adds_prefix_ : settings_.add_prefix_space;
  if (model_trims_text_)
    text.erase(0, text.find_first_not_of(' '));
  else if (has_prefix && text.starts_with(' '))
    text.erase(0, 1);
  return text;
}

}  // namespace longlora::tokenizer
