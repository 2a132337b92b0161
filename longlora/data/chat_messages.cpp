#include "longlora/data/chat_messages.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <optional>
#include <utility>

#include "longlora/data/json_samples.h"
#include "longlora/data/learn_flags.h"

namespace longlora::data {

namespace {

using tokenizer::Role;
using tokenizer::Turn;

struct RoleName {
  std::string_view name;
  Role role;
};

constexpr std::array kRoles = {
    RoleName{"system", Role::kSystem},  RoleName{"developer", Role::kSystem},
    RoleName{"user", Role::kUser},      RoleName{"human", Role::kUser},
    RoleName{"prompter", Role::kUser},  RoleName{"assistant", Role::kAssistant},
    RoleName{"gpt", Role::kAssistant},  RoleName{"chatgpt", Role::kAssistant},
    RoleName{"bing", Role::kAssistant}, RoleName{"bard", Role::kAssistant},
    RoleName{"bot", Role::kAssistant},  RoleName{"model", Role::kAssistant},
    RoleName{"ai", Role::kAssistant},
};

constexpr auto kRoleFields = std::to_array<std::string_view>({"role", "from"});
constexpr auto kUnsupported =
    std::to_array<std::string_view>({"tool_calls", "function_call", "tool_call", "images", "image", "audio",
                                     "audios", "video", "videos", "train_detail", "training_detail"});

std::string lower(std::string text) {
  for (char& c : text)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  return text;
}

Role read_role(SampleFields& message) {
  const std::string_view field = message.first_held(kRoleFields);
  if (field.empty()) message.refuse("a message's field \"role\" (or \"from\")", message.names());
  if (message.holds("role") && message.holds("from") &&
      message.take_text("role") != message.take_text("from"))
    message.refuse("a message's role under one name", "both \"role\" and \"from\"");
  const std::string name = message.take_text(field);
  const auto* found =
      std::find_if(kRoles.begin(), kRoles.end(), [&](const RoleName& r) { return r.name == lower(name); });
  if (found == kRoles.end())
    message.refuse(
        "turns of system, user (human) or assistant (gpt), as prompt forms have no place for others",
        fmt::format("one of \"{}\"", name));
  return found->role;
}

// The text of a list of parts, as messages of OpenAI have them.
std::string join_parts(const SampleFields& message, std::string_view name, const Json& parts,
                       std::vector<std::string>* unread) {
  std::string text;
  for (const Json& object : parts) {
    if (object.is_string()) {
      text += object.get<std::string>();
      continue;
    }
    if (!object.is_object()) message.refuse("a message's parts to be texts", kind_of(object));
    SampleFields part(object, message.place(), fmt::format("{}{}[].", message.prefix(), name));
    const Json* type = part.take("type");
    const Json* inside = part.take("text");
    if (inside == nullptr || !inside->is_string())
      message.refuse("a message's parts to be texts", type != nullptr && type->is_string()
                                                          ? fmt::format("one of type {}", type->dump())
                                                          : kind_of(object));
    refuse_learn_flag(part);
    text += inside->get<std::string>();
    if (unread != nullptr) part.add_unread(unread);
  }
  return text;
}

std::string read_content(SampleFields& message, std::vector<std::string>* unread) {
  std::optional<std::string> text;
  for (const std::string_view name : {"content", "value", "text"}) {
    const Json* value = message.take(name);
    if (value == nullptr) continue;
    if (!value->is_string() && !value->is_array())
      message.refuse(fmt::format("a message's field \"{}\" to be a text", name), kind_of(*value));
    std::string found =
        value->is_array() ? join_parts(message, name, *value, unread) : value->get<std::string>();
    if (text && *text != found)
      message.refuse("a message's text under one name", fmt::format("another one in \"{}\"", name));
    text = std::move(found);
  }
  if (!text) message.refuse("a message's text in the field \"content\" (or \"value\")", message.names());
  return *text;
}

void refuse_unsupported(const SampleFields& message) {
  const std::string_view found = message.first_held(kUnsupported);
  if (!found.empty())
    message.refuse(
        "messages of text alone (tool calls, pictures and weights of parts have no place in a prompt form)",
        fmt::format("one with \"{}\"", found));
}

Turn read_message(const SampleFields& fields, std::string_view name, size_t index, const Json& object,
                  std::vector<std::string>* unread) {
  if (!object.is_object()) fields.refuse(fmt::format("objects in \"{}\"", name), kind_of(object));
  SampleFields message(object, fmt::format("{}, message {}", fields.place(), index),
                       fmt::format("{}[].", name));
  refuse_unsupported(message);
  const Role role = read_role(message);
  Turn turn{role, read_content(message, unread)};
  const std::optional<bool> learn = read_learn_flag(message, "a message");
  if (learn.value_or(false) && role != Role::kAssistant)
    message.refuse("answers alone to be learned", "a flag that asks to learn a turn of another role");
  turn.learn = learn.value_or(true);
  if (unread != nullptr) message.add_unread(unread);
  return turn;
}

}  // namespace

Conversation read_messages(const SampleFields& fields, std::string_view name, const Json& list,
                           std::vector<std::string>* unread) {
  if (!list.is_array()) fields.refuse(fmt::format("the field \"{}\" to be a list", name), kind_of(list));
  Conversation turns;
  turns.reserve(list.size());
  for (const Json& message : list) turns.push_back(read_message(fields, name, turns.size(), message, unread));
  return turns;
}

}  // namespace longlora::data
