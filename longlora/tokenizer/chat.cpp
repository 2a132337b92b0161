#include "longlora/tokenizer/chat.h"

#include <fmt/format.h>

#include "longlora/core/error.h"

namespace longlora::tokenizer {

Conversation ask(PromptForm form, const std::string& question, const std::string& material) {
  Turn asked = {Role::kUser, question};
  if (form == PromptForm::kAlpaca)
    asked.input = material;
  else if (!material.empty())
    asked.text = fmt::format("{}\n{}", material, question);
  return {asked};
}

std::vector<int64_t> tokenize_question(const Tokenizer& tokenizer, const Prompt& prompt,
                                       const Conversation& conversation) {
  const auto eos = tokenizer.eos_id();
  if (!eos && prompt.form() != PromptForm::kTemplate && conversation.size() > 3)
    throw UsageError(
        "[question] expected a tokenizer with an end-of-sequence token, which ends the earlier answers of a "
        "conversation, got one without");
  std::vector<int64_t> ids;
  for (const PromptPiece& piece : prompt.question(conversation, tokenizer)) {
    if (piece.bos && begins_with_bos(tokenizer)) ids.push_back(*tokenizer.bos_id());
    const Ids text = encode_piece(tokenizer, piece);
    ids.insert(ids.end(), text.begin(), text.end());
    if (piece.eos) ids.push_back(*eos);
  }
  return ids;
}

std::vector<int64_t> encode_for_model(const Tokenizer& tokenizer, std::string_view text,
                                      bool add_special_tokens) {
  const Ids ids = tokenizer.encode(text, add_special_tokens);
  return {ids.begin(), ids.end()};
}

bool begins_with_bos(const Tokenizer& tokenizer) {
  const auto bos = tokenizer.bos_id();
  if (!bos) return false;
  const Ids ids = tokenizer.encode("", true);
  return !ids.empty() && ids.front() == *bos;
}

bool has_text(const Tokenizer& tokenizer, int64_t id) {
  return id >= 0 && id < tokenizer.vocab_size();
}

std::string decode_written(const Tokenizer& tokenizer, std::span<const int64_t> ids) {
  Ids known;
  for (const int64_t id : ids)
    if (has_text(tokenizer, id)) known.push_back(static_cast<int32_t>(id));
  return tokenizer.decode(known);
}

}  // namespace longlora::tokenizer
