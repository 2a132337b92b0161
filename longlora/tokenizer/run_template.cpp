#include "longlora/tokenizer/run_template.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "longlora/core/error.h"
#include "longlora/core/file.h"
#include "longlora/core/text.h"
#include "longlora/core/utf8.h"
#include "longlora/gguf/gguf_model.h"
#include "longlora/tokenizer/settings_file.h"

namespace longlora::tokenizer {

namespace fs = std::filesystem;

namespace {

// The origins of what a turn says and of its material (jinja::Mark).
int32_t text_origin(size_t turn) {
  return static_cast<int32_t>(2 * turn + 1);
}
int32_t input_origin(size_t turn) {
  return static_cast<int32_t>(2 * turn + 2);
}
size_t turn_of(int32_t origin) {
  return static_cast<size_t>(origin - 1) / 2;
}

const char* role_name(Role role) {
  constexpr std::array kNames = {"system", "user", "assistant"};
  return kNames[static_cast<size_t>(role)];
}

jinja::Value message_of(const Turn& turn, size_t index) {
  jinja::Text content(replace_invalid_utf8(turn.text), text_origin(index));
  if (!turn.input.empty()) {
    content.append("\n", text_origin(index));
    content.append(replace_invalid_utf8(turn.input), input_origin(index));
  }
  using jinja::Value;
  return Value::dict({{Value::text("role"), Value::text(role_name(turn.role))},
                      {Value::text("content"), Value::text(std::move(content))}});
}

// The named tokens as transformers hands them to a template: those of the settings, else the tokenizer's own.
jinja::Variables named_tokens(const fs::path& tokenizer_path, const Tokenizer& tokenizer) {
  std::optional<SettingsFile> config, map;
  // What lies beside a GGUF file is not its own: the tokenizer has read its BOS and EOS.
  if (!tokenizer_path.empty() && !gguf::find_model(tokenizer_path)) {
    std::error_code ignored;
    const fs::path folder =
        fs::is_directory(tokenizer_path, ignored) ? tokenizer_path : tokenizer_path.parent_path();
    config.emplace(folder / "tokenizer_config.json");
    map.emplace(folder / "special_tokens_map.json");
  }
  jinja::Variables tokens;
  for (const std::string name :
       {"bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"}) {
    std::optional<std::string> token;
    if (map) map->read(name, &token);
    if (config) config->read(name, &token);
    std::optional<int32_t> id;
    if (name == "bos_token") id = tokenizer.bos_id();
    if (name == "eos_token") id = tokenizer.eos_id();
    if (!token && id) token = tokenizer.token_bytes(*id);
    if (token) tokens.emplace_back(name, jinja::Value::text(*token));
  }
  return tokens;
}

// Whether a token is a control token, or spelled like a marker. Tags of thoughts and tool calls end no turn.
bool is_marker(const Tokenizer& tokenizer, int32_t id) {
  const std::string text = tokenizer.token_bytes(id);
  if (text.size() < 3 || text.find("think") != std::string::npos || text.find("tool") != std::string::npos)
    return false;
  return tokenizer.decode({id}).empty() || (text.front() == '<' && text.back() == '>');
}

struct Marker {
  int32_t id = -1;
  size_t begin = 0, end = 0;  // in the text
};

// The first marker in what a template writes; EOS counts as one.
std::optional<Marker> first_marker(std::string_view written, const Tokenizer& tokenizer) {
  for (const int32_t id : tokenizer.encode(written, false)) {
    if (!is_marker(tokenizer, id)) continue;
    const std::string text = tokenizer.token_bytes(id);
    const size_t at = written.find(text);
    if (at != std::string_view::npos) return Marker{id, at, at + text.size()};
  }
  return std::nullopt;
}

// The range from the first to the last byte of what a turn says, or nullopt where the template leaves it out.
std::optional<TextRange> words_of(const jinja::Text& text, size_t turn) {
  std::optional<TextRange> words;
  for (const jinja::Mark& mark : text.marks()) {
    if (turn_of(mark.origin) != turn) continue;
    if (!words) words = TextRange{mark.begin, mark.end};
    words->end = mark.end;
  }
  return words;
}

// What the template writes behind a place, up to where a turn is heard again.
std::string_view written_behind(const jinja::Text& text, size_t place) {
  const auto next = std::find_if(text.marks().begin(), text.marks().end(),
                                 [&](const jinja::Mark& mark) { return mark.begin >= place; });
  const size_t end = next == text.marks().end() ? text.size() : next->begin;
  return std::string_view(text.bytes()).substr(place, end - place);
}

std::vector<TextRange> plain_ranges(const jinja::Text& text) {
  std::vector<TextRange> ranges;
  for (const jinja::Mark& mark : text.marks()) ranges.push_back({mark.begin, mark.end});
  return ranges;
}

}  // namespace

ChatTemplate::ChatTemplate(const std::string& source, const fs::path& tokenizer_path,
                           const Tokenizer& tokenizer, const std::tm& now)
    : template_("chat template", source),
      tokens_(named_tokens(tokenizer_path, tokenizer)),
      now_(now),
      writes_date_(source.find("strftime_now") != std::string::npos) {
  std::string identity = source;
  for (const auto& [name, token] : tokens_) identity += fmt::format("\n{} {}", name, token.bytes());
  if (writes_date_) identity += fmt::format("\n{}", date());
  fingerprint_ = sha256_hex(identity);
}

std::string ChatTemplate::date() const {
  return fmt::format("{:04}-{:02}-{:02}", now_.tm_year + 1900, now_.tm_mon + 1, now_.tm_mday);
}

jinja::Rendered ChatTemplate::render(const std::vector<Turn>& turns, size_t count,
                                     bool add_generation_prompt) const {
  using jinja::Value;
  jinja::Values messages;
  for (size_t i = 0; i < count; ++i) messages.push_back(message_of(turns[i], i));
  jinja::Variables variables = tokens_;
  variables.emplace_back("messages", Value::sequence(jinja::Kind::kList, std::move(messages)));
  variables.emplace_back("tools", Value::none());
  variables.emplace_back("documents", Value::none());
  variables.emplace_back("add_generation_prompt", Value::boolean(add_generation_prompt));
  return template_.render(variables, {.now = now_});
}

PromptPiece ChatTemplate::question(const std::vector<Turn>& turns) const {
  const jinja::Text text = render(turns, turns.size(), true).text;
  PromptPiece piece;
  piece.text = text.bytes();
  piece.plain = plain_ranges(text);
  return piece;
}

PromptPiece ChatTemplate::conversation(const std::vector<Turn>& turns, const Tokenizer& tokenizer) const {
  const jinja::Rendered rendered = render(turns, turns.size(), false);
  PromptPiece piece;
  piece.text = rendered.text.bytes();
  piece.plain = plain_ranges(rendered.text);
  for (const jinja::Mark& mark : rendered.text.marks()) {
    const Turn& turn = turns[turn_of(mark.origin)];
    const bool is_material = turn.input.empty() || mark.origin == input_origin(turn_of(mark.origin));
    if (turn.role == Role::kUser && is_material) piece.material.push_back({mark.begin, mark.end});
  }
  if (template_.marks_generation()) {
    piece.answers = generated_answers(rendered, turns);
    return piece;
  }
  for (size_t i = 0; i < turns.size(); ++i) {
    if (turns[i].role != Role::kAssistant || !turns[i].learn) continue;
    auto answer = answer_of(rendered.text, turns, i, tokenizer);
    // A template may write the same words twice: what one answer has taken is no other's.
    if (answer && !piece.answers.empty()) answer->begin = std::max(answer->begin, piece.answers.back().end);
    if (answer && answer->begin < answer->end) piece.answers.push_back(*answer);
  }
  const auto last = turns.empty() ? std::nullopt : words_of(rendered.text, turns.size() - 1);
  if (last && turns.back().role == Role::kAssistant &&
      !first_marker(written_behind(rendered.text, last->end), tokenizer)) {
    piece.eos = true;
    piece.eos_is_learned = turns.back().learn;
  }
  return piece;
}

std::vector<TextRange> ChatTemplate::generated_answers(const jinja::Rendered& rendered,
                                                       const std::vector<Turn>& turns) const {
  std::vector<TextRange> answers;
  for (const jinja::ByteRange& range : rendered.generated) {
    const auto is_left = [&](const jinja::Mark& mark) {
      return mark.begin < range.end && mark.end > range.begin && !turns[turn_of(mark.origin)].learn;
    };
    const auto& marks = rendered.text.marks();
    if (range.begin < range.end && std::none_of(marks.begin(), marks.end(), is_left))
      answers.push_back({range.begin, range.end});
  }
  return answers;
}

std::optional<size_t> ChatTemplate::size_of_prefix(const jinja::Text& text, const std::vector<Turn>& turns,
                                                   size_t count, bool add_generation_prompt) const {
  try {
    const jinja::Text prefix = render(turns, count, add_generation_prompt).text;
    if (text.bytes().starts_with(prefix.bytes())) return prefix.size();
  } catch (const InputError&) {
    // A template may take a whole conversation, and refuse its beginning.
  }
  return std::nullopt;
}

std::optional<TextRange> ChatTemplate::answer_of(const jinja::Text& text, const std::vector<Turn>& turns,
                                                 size_t turn, const Tokenizer& tokenizer) const {
  const auto words = words_of(text, turn);
  if (!words) return std::nullopt;
  TextRange answer = *words;
  const auto prompt = size_of_prefix(text, turns, turn, true);
  if (prompt && *prompt <= words->begin) answer.begin = *prompt;
  // What is written in front of the next turn is not the answer's, except for an EOS that stands there.
  std::string_view behind = written_behind(text, words->end);
  const auto next = first_marker(behind, tokenizer);
  const auto whole =
      turn + 1 == turns.size() ? std::optional(text.size()) : size_of_prefix(text, turns, turn + 1, false);
  if (whole && *whole >= words->end) behind = behind.substr(0, *whole - words->end);
  const auto marker = next && next->id == tokenizer.eos_id() ? next : first_marker(behind, tokenizer);
  if (marker)
    answer.end += marker->end;
  else if (whole && *whole >= words->end)
    answer.end += behind.size();
  return answer;
}

TurnEnd ChatTemplate::turn_end(const Tokenizer& tokenizer) const {
  TurnEnd end;
  try {
    const std::vector<Turn> turns = {{Role::kUser, "question"}, {Role::kAssistant, "answer"}};
    const jinja::Text text = render(turns, turns.size(), false).text;
    const auto words = words_of(text, 1);
    if (!words) return end;
    const std::string_view behind = written_behind(text, words->end);
    const auto marker = first_marker(behind, tokenizer);
    if (marker) end.id = marker->id;
    end.text = trimmed(std::string(behind.substr(0, marker ? marker->begin : behind.size())));
  } catch (const InputError&) {
    // A template that refuses this conversation says nothing of its end.
  }
  return end;
}

}  // namespace longlora::tokenizer
