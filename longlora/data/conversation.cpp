#include <fmt/core.h>

#include <optional>
#include <utility>

#include "longlora/core/error.h"
#include "longlora/core/json.h"
#include "longlora/core/utf8.h"
#include "longlora/data/instruction_file.h"

namespace longlora::data {

namespace {

using tokenizer::Role;
using tokenizer::Turn;

[[noreturn]] void refuse(const std::string& place, const std::string& expected, const std::string& got) {
  throw InputError(fmt::format("[{}] expected {}, got {}", place, expected, got));
}

std::string field_names(const Json& object) {
  std::string names;
  for (const auto& [name, value] : object.items()) names += (names.empty() ? "" : ", ") + name;
  return names.empty() ? "no fields" : names;
}

bool is_blank(const std::string& text) {
  return text.find_first_not_of(" \t\r\n") == std::string::npos;
}

// The text of a field; a missing or null one is empty.
std::string optional_text(const Json& object, const char* field, const std::string& place) {
  const auto found = object.find(field);
  if (found == object.end() || found->is_null()) return "";
  if (!found->is_string())
    refuse(place, fmt::format("the field \"{}\" to be a text", field), found->type_name());
  return found->get<std::string>();
}

std::string required_text(const Json& object, const char* field, const std::string& place) {
  if (!object.contains(field)) refuse(place, fmt::format("the field \"{}\"", field), field_names(object));
  if (object[field].is_null()) refuse(place, fmt::format("the field \"{}\" to be a text", field), "null");
  return optional_text(object, field, place);
}

const Json& element_list(const Json& object, const char* field, const std::string& place) {
  if (!object[field].is_array())
    refuse(place, fmt::format("the field \"{}\" to be a list", field), object[field].type_name());
  return object[field];
}

// Earlier questions and answers, as pairs.
void add_history(const Json& object, const std::string& place, Conversation* turns) {
  const auto found = object.find("history");
  if (found == object.end() || found->is_null()) return;
  for (const Json& pair : element_list(object, "history", place)) {
    if (!pair.is_array() || pair.size() != 2 || !pair[0].is_string() || !pair[1].is_string())
      refuse(place, "the field \"history\" to hold pairs of texts", pair.type_name());
    turns->push_back({Role::kUser, pair[0].get<std::string>()});
    turns->push_back({Role::kAssistant, pair[1].get<std::string>()});
  }
}

Conversation alpaca_turns(const Json& object, const std::string& place) {
  Conversation turns;
  if (std::string system = optional_text(object, "system", place); !system.empty())
    turns.push_back({Role::kSystem, std::move(system)});
  add_history(object, place, &turns);
  Turn question{Role::kUser, optional_text(object, "instruction", place),
                optional_text(object, "input", place)};
  // Without an instruction the input is the question.
  if (question.text.empty()) question = {Role::kUser, std::move(question.input), {}};
  if (is_blank(question.text) && is_blank(question.input)) {
    const bool has_field = object.contains("instruction") || object.contains("input");
    refuse(place, "a question in \"instruction\" or \"input\"",
           has_field ? "an empty one" : field_names(object));
  }
  turns.push_back(std::move(question));
  turns.push_back({Role::kAssistant, required_text(object, "output", place)});
  return turns;
}

std::optional<Role> role_from_name(const std::string& name) {
  if (name == "system") return Role::kSystem;
  if (name == "user" || name == "human") return Role::kUser;
  if (name == "assistant" || name == "gpt") return Role::kAssistant;
  return std::nullopt;
}

Conversation chat_turns(const Json& object, const char* list, const std::string& place) {
  Conversation turns;
  turns.reserve(object[list].size());
  for (const Json& message : element_list(object, list, place)) {
    if (!message.is_object()) refuse(place, fmt::format("objects in \"{}\"", list), message.type_name());
    // ShareGPT's names, or OpenAI's.
    const bool share_gpt = message.contains("from");
    const std::string name = required_text(message, share_gpt ? "from" : "role", place);
    const auto role = role_from_name(name);
    if (!role)
      refuse(place, "turns of system, user (human) or assistant (gpt)", fmt::format("one of \"{}\"", name));
    turns.push_back({*role, required_text(message, share_gpt ? "value" : "content", place)});
  }
  // A question at the end has no answer to learn.
  if (!turns.empty() && turns.back().role == Role::kUser) turns.pop_back();
  return turns;
}

void check_order(const Conversation& turns, const std::string& place) {
  const size_t first = !turns.empty() && turns[0].role == Role::kSystem ? 1 : 0;
  if (turns.size() == first) refuse(place, "an answer", "no turn of the assistant");
  for (size_t i = first; i < turns.size(); ++i) {
    const Role expected = (i - first) % 2 == 0 ? Role::kUser : Role::kAssistant;
    if (turns[i].role != expected)
      refuse(place, "a user's and an assistant's turns in alternation",
             fmt::format("another order at turn {}", i));
    if (expected == Role::kAssistant && is_blank(turns[i].text))
      refuse(place, "an answer", fmt::format("an empty one at turn {}", i));
  }
}

}  // namespace

Conversation parse_conversation(std::string_view json, const std::string& place) {
  if (const size_t at = find_invalid_utf8(json); at != std::string_view::npos)
    refuse(
        place, "UTF-8",
        fmt::format("the byte 0x{:02X} at byte {} of the sample", static_cast<unsigned char>(json[at]), at));
  const Json object = parse_json(std::string(json), place);
  if (!object.is_object()) refuse(place, "a JSON object", object.type_name());
  Conversation turns;
  if (object.contains("messages"))
    turns = chat_turns(object, "messages", place);
  else if (object.contains("conversations"))
    turns = chat_turns(object, "conversations", place);
  else
    turns = alpaca_turns(object, place);
  check_order(turns, place);
  return turns;
}

}  // namespace longlora::data
