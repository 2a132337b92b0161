// Runs a model's own chat template: conversations as it writes them.
#pragma once

#include <ctime>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "longlora/jinja/template.h"
#include "longlora/tokenizer/prompt_form.h"
#include "longlora/tokenizer/tokenizer.h"

namespace longlora::tokenizer {

/// What a template writes behind an answer.
struct TurnEnd {
  /// The control token that ends the turn (EOS, <|im_end|>, <|eot_id|> …); nullopt where the model has none
  /// there.
  std::optional<int32_t> id;
  /// What stands between the answer and that token, or all that is written where there is none, without the
  /// white space around it.
  std::string text;
};

/// A chat template that was read, with the tokens that it may name. It is immutable, and safe to use from
/// several threads. What turns say is plain in every piece (PromptPiece::plain), so that words which look
/// like control tokens stay words; roles and all else is the template's own. BOS and EOS are written by the
/// template, as in transformers' apply_chat_template, and not added.
class ChatTemplate {
 public:
  /// `source` is what read_chat_template returns. bos_token and the other named tokens that the template may
  /// write are those of the settings beside `tokenizer_path`. Where these lack them, and for an empty path or
  /// a GGUF file, they are the tokenizer's BOS and EOS. `now` is the date that a template may write. Throws
  /// InputError with line and column for what is no template, and for what is not supported.
  ChatTemplate(const std::string& source, const std::filesystem::path& tokenizer_path,
               const Tokenizer& tokenizer, const std::tm& now);

  /// Renders the whole conversation. What is learned of an assistant's turn with Turn::learn is
  ///   for a template with {% generation %}: what stands in these blocks, as transformers'
  ///   return_assistant_tokens_mask has it;
  ///   for every other one: what follows the prompt that the model is asked with for this answer, up to the
  ///   control token that ends the turn, or, where none does, to the end of what the template writes.
  /// Where no control token follows the last answer, EOS does, and is learned. Throws InputError for a
  /// conversation that the template refuses.
  PromptPiece conversation(const std::vector<Turn>& turns, const Tokenizer& tokenizer) const;
  /// Renders the turns, with what the template writes in front of an answer (add_generation_prompt). Throws
  /// as conversation() does.
  PromptPiece question(const std::vector<Turn>& turns) const;
  /// What the template writes behind an answer; nothing where it refuses to write one.
  TurnEnd turn_end(const Tokenizer& tokenizer) const;
  /// A hexadecimal hash, equal for templates that write the same: of the source, the named tokens and, where
  /// it is written, the date.
  const std::string& fingerprint() const { return fingerprint_; }
  /// Whether the template may write the date.
  bool writes_date() const { return writes_date_; }
  /// The date that it may write, such as "2026-01-31".
  std::string date() const;

 private:
  jinja::Rendered render(const std::vector<Turn>& turns, size_t count, bool add_generation_prompt) const;
  std::optional<size_t> size_of_prefix(const jinja::Text& text, const std::vector<Turn>& turns, size_t count,
                                       bool add_generation_prompt) const;
  std::vector<TextRange> generated_answers(const jinja::Rendered& rendered,
                                           const std::vector<Turn>& turns) const;
  std::optional<TextRange> answer_of(const jinja::Text& text, const std::vector<Turn>& turns, size_t turn,
                                     const Tokenizer& tokenizer) const;

  jinja::Template template_;
  jinja::Variables tokens_;  // bos_token, eos_token …
  std::tm now_;
  std::string fingerprint_;
  bool writes_date_ = false;
};

}  // namespace longlora::tokenizer
