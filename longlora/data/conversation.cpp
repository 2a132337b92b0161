#include "longlora/data/conversation.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <iterator>
#include <span>
#include <utility>

#include "longlora/data/chat_messages.h"
#include "longlora/data/json_samples.h"
#include "longlora/data/learn_flags.h"
#include "longlora/data/sample_fields.h"
#include "longlora/data/sample_form.h"

namespace longlora::data {

namespace {

using tokenizer::Role;
using tokenizer::Turn;

// The names that one thing has in the data that people use, the most usual one first.
using Names = std::span<const std::string_view>;
constexpr auto kQuestions = std::to_array<std::string_view>({"instruction", "question", "query", "prompt"});
constexpr auto kMaterials = std::to_array<std::string_view>({"input", "context"});
constexpr auto kAnswers = std::to_array<std::string_view>({"output", "response", "answer", "completion"});
constexpr auto kSystems = std::to_array<std::string_view>({"system", "system_prompt", "system_message"});
constexpr auto kLists = std::to_array<std::string_view>({"messages", "conversations", "conversation"});
constexpr auto kPreferences =
    std::to_array<std::string_view>({"chosen", "rejected", "rejected_response", "rejected_messages",
                                     "preferred_output", "non_preferred_output"});
constexpr auto kMedia =
    std::to_array<std::string_view>({"images", "image", "videos", "video", "audios", "audio"});
constexpr std::string_view kQuestionAndAnswer = "question and answer";
constexpr std::string_view kPromptAndCompletion = "prompt and completion";
constexpr std::string_view kUnknownForm = "unknown";
constexpr const char* kForms =
    "\"instruction\" and \"output\" (or other names of a question and an answer), \"messages\" or "
    "\"conversations\", as docs/sft.md lists them";

bool is_blank(const std::string& text) {
  return text.find_first_not_of(" \t\r\n") == std::string::npos;
}

// Refuses what no prompt form has a place for, and samples that show what not to answer.
void refuse_unsupported(SampleFields& fields) {
  for (const std::string_view name : {"tools", "functions"}) {
    const Json* tools = fields.take(name);
    if (tools != nullptr && fields.holds(name) && *tools != "[]")
      fields.refuse(
          "no tools, for which prompt forms have no place (write them into the system prompt, or take the "
          "field out)",
          fmt::format("the field \"{}\"", name));
  }
  const std::string_view medium = fields.first_held(kMedia);
  if (!medium.empty()) fields.refuse("text alone", fmt::format("the field \"{}\"", medium));
  const Json* label = fields.look_at("label");
  if (fields.look_at("kto_tag") != nullptr || (label != nullptr && label->is_boolean()))
    fields.refuse("answers to learn (take out the samples that are not, and the label of the others)",
                  "a sample that is marked as good or bad (KTO)");
}

// Refuses a sample of preferences that has no answer to learn beside its question.
void refuse_preference(const SampleFields& fields) {
  const std::string_view name = fields.first_held(kPreferences);
  if (!name.empty())
    fields.refuse("an answer to learn (put the preferred one into \"output\", or behind the other messages)",
                  fmt::format("a sample of preferences with \"{}\"", name));
}

// The name, among several, whose field holds something; "" where none does. Throws where two do.
std::string_view only_one(const SampleFields& fields, Names names, const char* what) {
  std::string_view found;
  for (const std::string_view name : names) {
    // An Alpaca sample may have its whole prompt as well, which is made of the other fields.
    if (!fields.holds(name) || (found == "instruction" && name == "prompt")) continue;
    if (!found.empty())
      fields.refuse(fmt::format("one {} (take out or rename the other)", what),
                    fmt::format("both \"{}\" and \"{}\"", found, name));
    found = name;
  }
  return found;
}

std::string read_system(SampleFields& fields) {
  std::string system;
  for (const std::string_view name : kSystems) {
    std::string text = fields.take_text(name);
    if (!system.empty() && !text.empty() && text != system)
      fields.refuse("one system prompt", fmt::format("another one in \"{}\"", name));
    if (!text.empty()) system = std::move(text);
  }
  return system;
}

// Reads earlier questions and answers, which are pairs or messages.
Conversation read_history(SampleFields& fields, std::vector<std::string>* unread) {
  const Json* history = fields.take("history");
  if (history == nullptr || (history->is_string() && history->get_ref<const std::string&>().empty()))
    return {};
  if (!history->is_array()) fields.refuse("the field \"history\" to be a list", kind_of(*history));
  if (!history->empty() && history->front().is_object())
    return read_messages(fields, "history", *history, unread);
  Conversation turns;
  for (const Json& pair : *history) {
    if (!pair.is_array() || pair.size() != 2 || !pair[0].is_string() || !pair[1].is_string())
      fields.refuse("the field \"history\" to hold pairs of texts", kind_of(pair));
    turns.push_back({Role::kUser, pair[0].get<std::string>()});
    turns.push_back({Role::kAssistant, pair[1].get<std::string>()});
  }
  return turns;
}

void append(Conversation turns, Conversation* all) {
  std::move(turns.begin(), turns.end(), std::back_inserter(*all));
}

bool has_one(const SampleFields& fields, Names names) {
  return std::any_of(names.begin(), names.end(), [&](auto name) { return fields.look_at(name) != nullptr; });
}

// Reads the question. Where there is none, the input is the question.
Turn read_question(SampleFields& fields) {
  const std::string_view question = only_one(fields, kQuestions, "question");
  const std::string_view material = only_one(fields, kMaterials, "text that the question is about");
  Turn turn{Role::kUser};
  if (!question.empty()) turn.text = fields.take_text(question);
  if (!material.empty()) turn.input = fields.take_text(material);
  for (const std::string_view name : {"instruction", "input"})
    fields.take_text(name);  // this checks that the field is a text, even an empty one
  if (question.empty() && material == "input") std::swap(turn.text, turn.input);
  if (is_blank(turn.text) && (question.empty() || is_blank(turn.input))) {
    const bool is_there = has_one(fields, kQuestions) || fields.look_at("input") != nullptr;
    fields.refuse("a question in \"instruction\" or \"input\"", is_there ? "an empty one" : fields.names());
  }
  return turn;
}

std::string read_answer(SampleFields& fields) {
  std::string_view answer = only_one(fields, kAnswers, "answer");
  if (answer.empty()) answer = "output";
  for (const std::string_view name : kAnswers)
    if (!fields.holds(answer) && fields.look_at(name) != nullptr) answer = name;
  if (fields.look_at(answer) == nullptr) {
    if (fields.has(answer)) fields.refuse(fmt::format("the field \"{}\" to be a text", answer), "null");
    fields.refuse("the field \"output\" (or \"response\", \"answer\", \"completion\")", fields.names());
  }
  return fields.take_text(answer);
}

// Says which forms there are, and which of them is near: a whole text, or a list of samples inside an object.
[[noreturn]] void refuse_form(const SampleFields& fields, const Json& object) {
  std::string got = fields.names();
  if (fields.holds("text"))
    got += "; whole texts are learned by fine-tune";
  else if (object.size() == 1 && object.front().is_array() && !object.front().empty() &&
           object.front().front().is_object())
    got += ", which holds a list; make that list the file";
  fields.refuse(kForms, got);
}

Conversation read_pair(SampleFields& fields, std::vector<std::string>* unread) {
  if (!has_one(fields, kAnswers)) refuse_preference(fields);
  Conversation turns = read_history(fields, unread);
  turns.push_back(read_question(fields));
  turns.push_back({Role::kAssistant, read_answer(fields)});
  return turns;
}

// Reads a prompt and its completion, each of which is a list of messages. Nothing is learned of the prompt.
Conversation read_prompt_messages(SampleFields& fields, std::vector<std::string>* unread) {
  Conversation turns = read_messages(fields, "prompt", *fields.take("prompt"), unread);
  for (Turn& turn : turns) turn.learn = false;
  append(read_messages(fields, "completion", *fields.take("completion"), unread), &turns);
  return turns;
}

Conversation read_chat(SampleFields& fields, std::string_view list, std::vector<std::string>* unread) {
  Conversation turns = read_messages(fields, list, *fields.take(list), unread);
  if (turns.empty() || turns.back().role != Role::kAssistant) refuse_preference(fields);
  // A question at the end has no answer to learn.
  if (!turns.empty() && turns.back().role == Role::kUser) turns.pop_back();
  return turns;
}

bool is_list(const Json& object, std::string_view name) {
  const auto found = object.find(name);
  return found != object.end() && found->is_array();
}

const char* role_name(Role role) {
  constexpr const char* kNames[] = {"the system", "the user", "the assistant"};
  return kNames[static_cast<size_t>(role)];
}

void check_order(const Conversation& turns, const SampleFields& fields) {
  const size_t first = !turns.empty() && turns[0].role == Role::kSystem ? 1 : 0;
  if (turns.size() == first) fields.refuse("an answer", "no turn of the assistant");
  for (size_t i = first; i < turns.size(); ++i) {
    const Role expected = (i - first) % 2 == 0 ? Role::kUser : Role::kAssistant;
    if (turns[i].role != expected)
      fields.refuse("a user's and an assistant's turns in alternation",
                    fmt::format("another order at turn {}, which is {}'s", i, role_name(turns[i].role)));
    if (expected == Role::kAssistant && is_blank(turns[i].text))
      fields.refuse("an answer", fmt::format("an empty one at turn {}", i));
  }
  if (turns.back().role != Role::kAssistant) fields.refuse("an answer", "a question at the end");
}

void put_system_first(std::string system, const SampleFields& fields, Conversation* turns) {
  if (system.empty()) return;
  if (!turns->empty() && turns->front().role == Role::kSystem) {
    if (turns->front().text != system)
      fields.refuse("one system prompt", "one beside the messages and another one among them");
    return;
  }
  turns->insert(turns->begin(), {Role::kSystem, std::move(system)});
}

}  // namespace

Conversation parse_conversation(std::string_view json, const std::string& place,
                                std::vector<std::string>* unread) {
  return read_conversation(parse_sample(json, place), place, unread);
}

Conversation read_conversation(const Json& object, const std::string& place,
                               std::vector<std::string>* unread) {
  SampleFields fields(object, place);
  refuse_unsupported(fields);
  std::vector<std::string> names;
  Conversation turns;
  const std::string_view form = sample_form(object);
  if (form == kPromptAndCompletion)
    turns = read_prompt_messages(fields, &names);
  else if (form == kQuestionAndAnswer)
    turns = read_pair(fields, &names);
  else if (form == kUnknownForm)
    refuse_form(fields, object);
  else
    turns = read_chat(fields, form, &names);
  put_system_first(read_system(fields), fields, &turns);
  if (!read_learn_flag(fields, "a sample").value_or(true))
    for (Turn& turn : turns) turn.learn = false;
  // These say what is done anyway: questions are not learned, and earlier answers are.
  for (const std::string_view name : {"train_on_input", "train_on_inputs", "mask_history"})
    if (const Json* flag = fields.look_at(name); flag != nullptr && *flag == false) fields.take(name);
  check_order(turns, fields);
  if (unread == nullptr) return turns;
  fields.add_unread(&names);
  std::sort(names.begin(), names.end());
  unread->insert(unread->end(), names.begin(), std::unique(names.begin(), names.end()));
  return turns;
}

std::string_view sample_form(const Json& object) {
  const SampleFields fields(object, "");
  std::string_view list = fields.first_held(kLists);
  for (const std::string_view name : kLists)
    if (list.empty() && fields.look_at(name) != nullptr) list = name;
  if (!list.empty()) return list;
  if (is_list(object, "prompt") && is_list(object, "completion")) return kPromptAndCompletion;
  const bool is_pair = has_one(fields, kQuestions) || has_one(fields, kMaterials) ||
                       has_one(fields, kAnswers) || has_one(fields, kPreferences);
  return is_pair ? kQuestionAndAnswer : kUnknownForm;
}

std::vector<std::string> held_fields(const Json& object) {
  std::vector<std::string> names;
  SampleFields(object, "").add_unread(&names);  // nothing has been taken
  return names;
}

bool is_question_and_answer(const Json& object) {
  const SampleFields fields(object, "");
  return has_one(fields, kLists) || ((has_one(fields, kQuestions) || has_one(fields, kMaterials)) &&
                                     (has_one(fields, kAnswers) || has_one(fields, kPreferences)));
}

}  // namespace longlora::data
