// The turns of one sample of questions and answers.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "longlora/core/json.h"
#include "longlora/tokenizer/chat.h"

namespace longlora::data {

/// The turns of a sample, none of whose answers is empty.
using tokenizer::Conversation;

/// The turns of one JSON object, which has one of two forms; docs/sft.md lists their fields:
///   a question and its answer (Alpaca's instruction, input, output and other names for them), with history;
///   a list of messages (role and content, or ShareGPT's from and value).
/// A system prompt may stand beside either. A question at the end that nobody answered is left out. `place`
/// names the sample in the InputError that says what is wrong: missing or ambiguous fields, other types,
/// empty answers, roles and contents that no prompt form has a place for (tools, images), samples of
/// preferences, invalid UTF-8. The names of fields that were not read are added to `unread` where that is
/// given.
Conversation parse_conversation(std::string_view json, const std::string& place,
                                std::vector<std::string>* unread = nullptr);

/// Whether an object has the fields of a question with its answer.
bool is_question_and_answer(const Json& object);

}  // namespace longlora::data
