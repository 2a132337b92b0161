#include "longlora/data/chat_messages.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <optional>
#include <utility>

#include "longlora/data/json_samples.h"

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
std::string join_parts(const SampleFields& message, const Json& parts) {
  std::string text;
  for (const Json& part : parts) {
    if (part.is_string()) {
      text += part.get<std::string>();
      continue;
    }
    const auto inside = part.is_object() ? part.find("text") : part.end();
    if (!part.is_object() || inside == part.end() || !inside->is_string())
      message.refuse("a message's parts to be texts",
                     part.is_object() && part.contains("type") && part["type"].is_string()
                         ? fmt::format("one of type \"{}\"", part["type"].get<std::string>())
                         : kind_of(part));
    text += inside->get<std::string>();
  }
  return text;
}

std::string read_content(SampleFields& message) {
  std::optional<std::string> text;
  for (const std::string_view name : {"content", "value", "text"}) {
    const Json* value = message.take(name);
    if (value == nullptr) continue;
    if (!value->is_string() && !value->is_array())
      message.refuse(fmt::format("a message's field \"{}\" to be a text", name), kind_of(*value));
    std::string found = value->is_array() ? join_parts(message, *value) : value->get<std::string>();
    if (text && *text != found)
      message.refuse("a message's text under one name", fmt::format("another one in \"{}\"", name));
    text = std::move(found);
  }
  if (!text) message.refuse("a message's text in the field \"content\" (or \"value\")", message.names());
  return *text;
}

// Whether a flag of the message says that it is learned; nullopt where there is no flag.
std::optional<bool> read_learn_flag(SampleFields& message) {
  std::optional<bool> learn;
  for (const std::string_view name : {"weight", "train", "training", "loss"}) {
    const Json* value = message.take(name);
    if (value == nullptr) continue;
    const bool is_bit = value->is_boolean() || (value->is_number() && (*value == 0 || *value == 1));
    if (!is_bit)
      message.refuse(fmt::format("a message's \"{}\" to be 0, 1, true or false", name),
                     value->is_number() && is_finite(*value) ? value->dump() : kind_of(*value));
    const bool asked = value->is_boolean() ? value->get<bool>() : *value == 1;
    if (learn && *learn != asked)
      message.refuse("a message's flags to agree whether it is learned",
                     fmt::format("another word in \"{}\"", name));
    learn = asked;
  }
  return learn;
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
  Turn turn{role, read_content(message)};
  const std::optional<bool> learn = read_learn_flag(message);
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
