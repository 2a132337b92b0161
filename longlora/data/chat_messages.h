// Reads a list of messages as turns. Internal to this room.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "longlora/data/conversation.h"
#include "longlora/data/sample_fields.h"

namespace longlora::data {

/// The turns of a list of messages. A message has a role under "role" or "from", its text under "content",
/// "value" or "text" (a list of parts of text is joined), and may have a flag that says whether an answer is
/// learned. `name` is what the list is called in `fields`, whose place the messages of InputError name. The
/// names of fields that were not read are added to `unread`.
Conversation read_messages(const SampleFields& fields, std::string_view name, const Json& list,
                           std::vector<std::string>* unread);

}  // namespace longlora::data
