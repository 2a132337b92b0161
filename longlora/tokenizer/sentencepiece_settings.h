// What a SentencePiece model file says about the text it expects.
#pragma once

#include <string>
#include <string_view>

namespace longlora::tokenizer {

/// The NormalizerSpec of sentencepiece_model.proto, with the defaults of that file, and the kind of the
/// model.
struct SentencePieceSettings {
  bool is_bpe = false;             // model_type of the TrainerSpec; unigram otherwise
  bool has_character_map = false;  // precompiled_charsmap: text is rewritten (NFKC or the like)
  bool add_dummy_prefix = true;
  bool remove_extra_whitespaces = true;
  bool escape_whitespaces = true;
};

/// Reads the settings from a serialized model; `source` names it in the
/// InputError for bytes that are no such model.
SentencePieceSettings read_sentencepiece_settings(std::string_view model, const std::string& source);

/// The same model with add_dummy_prefix switched off.
std::string without_dummy_prefix(std::string model);

}  // namespace longlora::tokenizer
