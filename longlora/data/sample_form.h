// A sample of questions and answers as a parsed object: its form, its fields, its turns.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "longlora/data/conversation.h"

namespace longlora::data {

/// Does what parse_conversation does, for an object that has been parsed already (see parse_sample).
Conversation read_conversation(const Json& object, const std::string& place,
                               std::vector<std::string>* unread = nullptr);

/// The name of the form that an object has: "question and answer", "prompt and completion", the name of its
/// list of messages, or "unknown".
std::string_view sample_form(const Json& object);

/// The names of the fields that hold something; those with null, false, "", [] or {} count as missing.
std::vector<std::string> held_fields(const Json& object);

}  // namespace longlora::data
