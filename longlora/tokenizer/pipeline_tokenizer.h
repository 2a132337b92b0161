// A tokenizer made of steps, as Hugging Face's tokenizers library runs tokenizer.json: added tokens,
// normalizers, pre-tokenizers, BPE and the template on the way to ids, decoders on the way back.
#pragma once

#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "longlora/tokenizer/added_tokens.h"
#include "longlora/tokenizer/bpe.h"
#include "longlora/tokenizer/decoders.h"
#include "longlora/tokenizer/normalizers.h"
#include "longlora/tokenizer/pipeline_spec.h"
#include "longlora/tokenizer/splitters.h"
#include "longlora/tokenizer/tokenizer.h"

namespace longlora::tokenizer {

/// Runs a PipelineSpec. Bytes that are no UTF-8 become U+FFFD, as with Python's errors="replace". Time is
/// linear in the text, and n log n within a word of n bytes. Words are remembered from call to call, which
/// takes some megabytes for each thread.
class PipelineTokenizer : public Tokenizer {
 public:
  /// Throws InputError naming spec.source for parts that do not fit together.
  explicit PipelineTokenizer(const PipelineSpec& spec);

  Ids encode(std::string_view text, bool add_special_tokens) const override;
  /// A text that is no UTF-8 is plain as a whole.
  Ids encode_around(std::string_view text, std::span<const TextRange> plain) const override;
  std::string decode(const Ids& ids) const override { return decode(ids, true); }
  std::string decode_with_special_tokens(const Ids& ids) const override { return decode(ids, false); }
  std::string token_bytes(int32_t id) const override;
  int64_t vocab_size() const override { return static_cast<int64_t>(tokens_.size()); }
  std::optional<int32_t> bos_id() const override { return bos_id_; }
  std::optional<int32_t> eos_id() const override { return eos_id_; }
  const std::string& fingerprint() const override { return fingerprint_; }

  /// The added tokens with the ids that they have here, special ones first.
  const std::vector<AddedToken>& added_tokens() const { return all_added_; }

 private:
  /// What decode() writes for an id.
  struct Token {
    std::string text;  // in the form that the decoder takes
    bool exists = false;
    bool special = false;
  };
  class BpeSink;
  class ChainSink;

  const Token& token(int32_t id) const;
  void add_pre_tokenizers(const PipelineSpec& spec);
  std::vector<AddedToken> resolve_added_tokens(const PipelineSpec& spec) const;
  /// Unless `splits_special`, texts are searched for special tokens, too.
  void add_tokens(const std::vector<AddedToken>& added, bool splits_special);
  void set_token(int32_t id, const std::string& token, bool special);
  void check_template() const;
  std::string make_fingerprint(const PipelineSpec& spec, const std::vector<AddedToken>& added) const;
  std::string normalize(std::string_view text) const;

  void encode_bytes(std::string_view text, std::span<const TextRange> plain, Ids* ids) const;
  void encode_text(std::string_view text, std::span<const TextRange> plain, BpeScratch* scratch,
                   Ids* ids) const;
  void encode_stretch(std::string_view text, bool at_start, std::span<const TextRange> plain, PieceSink* sink,
                      Ids* ids) const;
  bool spells_special_token(std::string_view text, std::span<const TextRange> plain) const;
  void pre_tokenize_normalized(std::string_view text, bool at_start, PieceSink* sink) const;
  void pre_tokenize(size_t step, Piece piece, PieceSink* sink) const;
  std::string decode(const Ids& ids, bool skip_special_tokens) const;

  std::string source_;
  std::vector<std::unique_ptr<Normalizer>> normalizers_;
  std::vector<std::unique_ptr<PreTokenizer>> pre_tokenizers_;
  Bpe bpe_;
  DecoderChain decoder_;
  AddedTokenSplitter added_tokens_;             // those that are looked for in the text as it is
  AddedTokenSplitter normalized_added_tokens_;  // those that are looked for in normalized text
  std::vector<AddedToken> all_added_;
  std::vector<int32_t> prefix_ids_, suffix_ids_;
  std::vector<Token> tokens_;  // by id
  std::optional<int32_t> bos_id_, eos_id_;
  std::string fingerprint_;

  mutable std::mutex scratches_mutex_;
  mutable std::vector<std::unique_ptr<BpeScratch>> scratches_;  // those that no call uses at the moment
};

}  // namespace longlora::tokenizer
