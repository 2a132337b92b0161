// SentencePiece models as Hugging Face's LlamaTokenizer uses them.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "longlora/tokenizer/llama_settings.h"
#include "longlora/tokenizer/special_tokens.h"
#include "longlora/tokenizer/tokenizer.h"

namespace sentencepiece {
class SentencePieceProcessor;
}

namespace longlora::tokenizer {

/// Gives the same ids as the SentencePiece-backed LlamaTokenizer of transformers 4: a text is cut at special
/// tokens, and SentencePiece encodes what lies between. Bytes that are no UTF-8 become U+FFFD. Decoding takes
/// off the one leading space that encoding put on. In most models (all of Llama's) no piece reaches from one
/// word into the next; then words are encoded one by one and remembered within a call, and time is linear in
/// the text.
class LlamaTokenizer : public Tokenizer {
 public:
  /// `model` is the content of tokenizer.model; `source` names it in errors.
  LlamaTokenizer(std::string model, const LlamaSettings& settings, const std::string& source);
  ~LlamaTokenizer() override;

  Ids encode(std::string_view text, bool add_special_tokens) const override;
  Ids encode_around(std::string_view text, std::span<const TextRange> plain) const override;
  std::string decode(const Ids& ids) const override { return decode(ids, true); }
  std::string decode_with_special_tokens(const Ids& ids) const override { return decode(ids, false); }
  std::string token_bytes(int32_t id) const override { return piece(id).text; }
  int64_t vocab_size() const override { return static_cast<int64_t>(pieces_.size()); }
  std::optional<int32_t> bos_id() const override { return bos_id_; }
  std::optional<int32_t> eos_id() const override { return eos_id_; }
  const std::string& fingerprint() const override { return fingerprint_; }

  /// The pieces and their scores.
  const sentencepiece::SentencePieceProcessor& model() const { return *processor_; }
  /// Whether pieces are joined pair by pair; otherwise the likeliest cut of a text is taken.
  bool is_bpe() const { return is_bpe_; }
  /// Whether text is encoded as it is.
  bool keeps_text() const { return keeps_text_; }
  /// Whether a space is put in front of a text.
  bool adds_space() const { return settings_.legacy ? model_adds_prefix_ : settings_.add_prefix_space; }
  /// Special and added tokens with their ids.
  const std::vector<SpecialToken>& special_tokens() const { return special_tokens_.tokens(); }

 private:
  enum class Kind : uint8_t { kText, kByte, kSkipped };
  /// What decode() writes for an id.
  struct Piece {
    std::string text;
    Kind kind = Kind::kSkipped;
  };

  const Piece& piece(int32_t id) const;
  void load_pieces();
  bool words_are_independent() const;
  std::vector<SpecialToken> resolve_special_tokens();
  std::optional<int32_t> find_id(const std::optional<std::string>& token) const;
  std::string make_fingerprint(const std::string& model_hash) const;

  void encode_normalized(std::string_view text, std::span<const TextRange> plain, Ids* ids) const;
  void encode_text(std::string_view text, std::span<const TextRange> plain, Ids* ids) const;
  void encode_stretch(std::string_view text, bool at_start, Ids* ids) const;
  void encode_words(std::string_view text, bool add_prefix, Ids* ids) const;
  std::string decode(const Ids& ids, bool skip_special_tokens) const;
  void append_pieces(std::string_view text, size_t num_skipped, Ids* ids) const;

  LlamaSettings settings_;
  std::string source_;
  std::unique_ptr<sentencepiece::SentencePieceProcessor> processor_;
  bool is_bpe_ = true;
  bool model_adds_prefix_ = true;   // add_dummy_prefix in the model file
  bool model_trims_text_ = false;   // remove_extra_whitespaces in the model file
  bool keeps_text_ = false;         // the model encodes text as it is, without rewriting it
  bool splits_into_words_ = false;  // words can be encoded one by one
  size_t num_unknown_pieces_ = 0;   // how many pieces the text of the unknown token has
  std::vector<Piece> pieces_;       // by id
  SpecialTokenFinder special_tokens_;
  std::optional<int32_t> bos_id_, eos_id_;
  std::string fingerprint_;
};

}  // namespace longlora::tokenizer
