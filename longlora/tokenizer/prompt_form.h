// Turns the turns of a conversation into text, and says which part of the text is the answer.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "longlora/tokenizer/text_range.h"

namespace longlora::tokenizer {

/// The forms in which a model is asked; docs/sft.md writes them out.
enum class PromptForm {
  kLlama2,    // [INST]…[/INST], as LongAlpaca was trained
  kAlpaca,    // ### Instruction: … ### Response:
  kChatml,    // <|im_start|>user … <|im_end|>
  kNone,      // the texts as they are
  kTemplate,  // the model's own chat template, which is run (ChatTemplate)
};

/// The name that a command line gives the form: "llama2", "alpaca", "chatml", "none" or "template".
const char* prompt_form_name(PromptForm form);
const std::vector<std::string>& prompt_form_names();
/// Throws UsageError for a name that is none of them.
PromptForm prompt_form_from_name(const std::string& name);

enum class Role { kSystem, kUser, kAssistant };

/// One message in UTF-8. `input` is the material of an Alpaca sample, and counts in a turn of the user only.
/// `learn` counts in a turn of the assistant only: an answer that is not learned is there to be read.
struct Turn {
  Role role = Role::kUser;
  std::string text = {};
  std::string input = {};
  bool learn = true;
};

/// A stretch of a conversation that is tokenized as one text.
struct PromptPiece {
  bool bos = false;  // BOS goes in front, if the tokenizer has one
  bool eos = false;  // EOS goes behind
  bool eos_is_learned = true;
  std::string text;
  std::vector<TextRange> answers;   // what is learned; ascending and disjoint
  std::vector<TextRange> material;  // what the user has written, without the form around it
  /// The parts in which no control token is found, whatever they look like. The named forms leave this empty:
  /// they look for control tokens everywhere, as the released code does.
  std::vector<TextRange> plain = {};
};

/// The pieces of a conversation in a form that is written out here, so not kTemplate: an optional system
/// turn, then turns of the user and the assistant in alternation. Throws Error for another order. `eos_text`
/// is how EOS is spelled: chatml ends an answer with <|im_end|>, and EOS follows the last answer where it is
/// another token.
std::vector<PromptPiece> render_prompt(PromptForm form, const std::vector<Turn>& turns,
                                       std::string_view eos_text);

}  // namespace longlora::tokenizer
