#include "longlora/tokenizer/prompt.h"

#include <fmt/format.h>

#include "longlora/core/error.h"

namespace longlora::tokenizer {

namespace {

std::string eos_text(const Tokenizer& tokenizer) {
  const auto eos = tokenizer.eos_id();
  return eos ? tokenizer.token_bytes(*eos) : "";
}

}  // namespace

std::string Prompt::identity() const {
  if (form_ != PromptForm::kTemplate) return prompt_form_name(form_);
  return fmt::format("{} {}", prompt_form_name(form_), chat_template_->fingerprint());
}

std::string Prompt::date() const {
  return chat_template_ != nullptr && chat_template_->writes_date() ? chat_template_->date() : "";
}

std::vector<PromptPiece> Prompt::conversation(const std::vector<Turn>& turns,
                                              const Tokenizer& tokenizer) const {
  if (form_ == PromptForm::kTemplate) return {chat_template_->conversation(turns, tokenizer)};
  return render_prompt(form_, turns, eos_text(tokenizer));
}

std::vector<PromptPiece> Prompt::question(std::vector<Turn> turns, const Tokenizer& tokenizer) const {
  if (form_ == PromptForm::kTemplate) {
    if (!turns.empty() && turns.back().role == Role::kAssistant) turns.pop_back();
    return {chat_template_->question(turns)};
  }
  if (turns.empty() || turns.back().role != Role::kAssistant) turns.push_back({Role::kAssistant, ""});
  turns.back().learn = true;  // what is learned is marked, and so the answer's place
  std::vector<PromptPiece> pieces = render_prompt(form_, turns, eos_text(tokenizer));
  PromptPiece& last = pieces.back();
  last.text.resize(last.answers.back().begin);
  last.eos = false;
  return pieces;
}

Ids encode_piece(const Tokenizer& tokenizer, const PromptPiece& piece) {
  return piece.plain.empty() ? tokenizer.encode(piece.text, false)
                             : tokenizer.encode_around(piece.text, piece.plain);
}

}  // namespace longlora::tokenizer
