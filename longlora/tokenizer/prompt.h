// How a model is asked: in a form that this program knows, or by the model's own chat template.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "longlora/tokenizer/prompt_form.h"
#include "longlora/tokenizer/run_template.h"
#include "longlora/tokenizer/tokenizer.h"

namespace longlora::tokenizer {

/// Turns conversations into text. It is immutable and cheap to copy.
class Prompt {
 public:
  /// A prompt of a named form: one of those that are written out here, so not kTemplate.
  Prompt(PromptForm form) : form_(form) {}  // NOLINT(google-explicit-constructor): a form is a prompt
  explicit Prompt(std::shared_ptr<const ChatTemplate> chat_template)
      : form_(PromptForm::kTemplate), chat_template_(std::move(chat_template)) {}

  PromptForm form() const { return form_; }
  /// A text that is equal for prompts which turn the same conversations into the same text.
  std::string identity() const;
  /// The date that a chat template may write, such as "2026-01-31"; empty where none is written.
  std::string date() const;

  /// The pieces of a conversation, with what is learned of it. Throws Error for an order of turns that the
  /// form has no place for, and InputError for what the template refuses.
  std::vector<PromptPiece> conversation(const std::vector<Turn>& turns, const Tokenizer& tokenizer) const;
  /// The pieces up to the place of the answer to the last question; a last turn of the assistant, the known
  /// answer, is left out. Throws as conversation().
  std::vector<PromptPiece> question(std::vector<Turn> turns, const Tokenizer& tokenizer) const;

 private:
  PromptForm form_;
  std::shared_ptr<const ChatTemplate> chat_template_;  // of kTemplate
};

/// The ids of a piece's text, without the piece's BOS and EOS.
Ids encode_piece(const Tokenizer& tokenizer, const PromptPiece& piece);

}  // namespace longlora::tokenizer
