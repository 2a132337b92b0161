// One interface over every tokenizer the program reads.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "longlora/tokenizer/text_range.h"

namespace longlora::tokenizer {

using Ids = std::vector<int32_t>;

/// Turns text into ids and back, as Hugging Face's tokenizer does for the same files. Immutable; safe to use
/// from several threads.
class Tokenizer {
 public:
  virtual ~Tokenizer() = default;
  /// The ids of `text` (UTF-8). With `add_special_tokens` they are those that tokenizer(text).input_ids
  /// gives: BOS stands in front where the model's configuration says so.
  virtual Ids encode(std::string_view text, bool add_special_tokens) const = 0;
  /// The ids of encode(text, false), except that a control token is not found where one of its bytes lies in
  /// one of the ranges `plain` (ascending and disjoint): what strangers wrote stays text.
  virtual Ids encode_around(std::string_view text, std::span<const TextRange> plain) const = 0;
  /// The text of `ids`, in which control tokens (BOS, EOS, padding) are skipped. Throws InputError for an id
  /// outside the vocabulary.
  /// For streaming: the text of a sequence begins with the text of each of its beginnings, except that the
  /// latter may end in U+FFFD, for a character whose bytes are not all there yet. So print what decode(all
  /// ids so far) adds to what was printed, and hold back a trailing U+FFFD. Decode a continuation together
  /// with what it continues: alone it would lose its first space.
  virtual std::string decode(const Ids& ids) const = 0;
  /// Does the same, with control tokens written as they are spelled.
  virtual std::string decode_with_special_tokens(const Ids& ids) const { return decode(ids); }
  /// The bytes of text that a token stands for by itself: a space where the file writes U+2581, the byte of a
  /// byte token, and the spelling of a control token. Throws InputError for an id outside the vocabulary.
  virtual std::string token_bytes(int32_t id) const = 0;
  /// The number of ids, added tokens included. Every id is in [0, vocab_size()).
  virtual int64_t vocab_size() const = 0;
  virtual std::optional<int32_t> bos_id() const = 0;
  virtual std::optional<int32_t> eos_id() const = 0;
  /// The SHA-256, in hexadecimal, of what the files say about the ids of a text. It is equal for folders that
  /// differ only in other settings (a chat template, BOS).
  virtual const std::string& fingerprint() const = 0;
};

/// Opens the tokenizer of a Hugging Face directory as transformers' AutoTokenizer does, for which
/// tokenizer.json goes before tokenizer.model. `path` may also be one such file by itself (tokenizer.json,
/// SentencePiece's tokenizer.model, tiktoken's); then the settings beside it say what BOS and EOS are; or a
/// GGUF file. docs/data-formats.md has the rules. Throws InputError naming what was looked for.
std::unique_ptr<Tokenizer> load_tokenizer(const std::filesystem::path& path);

/// Whether load_tokenizer would find one of its files in a folder, or `path` is a GGUF file.
bool has_tokenizer(const std::filesystem::path& path);

}  // namespace longlora::tokenizer
