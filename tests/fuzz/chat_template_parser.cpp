// Templates of chats.
#include <string>

#include "longlora/core/error.h"
#include "longlora/core/utf8.h"
#include "longlora/jinja/template.h"
#include "tests/fuzz/parsers.h"

namespace longlora::fuzz {
namespace {

using jinja::Value;

Value message(const char* role, const char* content, int32_t origin) {
  return Value::dict(
      {{Value::text("role"), Value::text(role)}, {Value::text("content"), Value::text(content, origin)}});
}

void check(const jinja::Rendered& rendered) {
  const jinja::Text& text = rendered.text;
  require(find_invalid_utf8(text.bytes()) == std::string::npos, "what a template writes is UTF-8");
  size_t end = 0;
  for (const jinja::Mark& mark : text.marks()) {
    require(end <= mark.begin && mark.begin < mark.end && mark.end <= text.size(), "marks lie in the text");
    require(mark.origin > 0, "marks have an origin");
    end = mark.end;
  }
  for (const jinja::ByteRange& range : rendered.generated)
    require(range.begin <= range.end && range.end <= text.size(), "what is generated lies in the text");
}

}  // namespace

void parse_chat_template(std::string_view bytes) {
  // Small budgets: what is looked for are faults, not how long a template may run.
  jinja::RenderOptions options;
  options.limits = {.steps = 20'000, .bytes = 1 << 20, .depth = 200};
  try {
    const jinja::Template read("fuzz.jinja", bytes);
    for (const bool prompt : {false, true}) {
      const jinja::Variables variables = {
          {"messages",
           Value::sequence(jinja::Kind::kList, {message("system", "Be brief.", 1),
                                                message("user", " What is \"this\"? \n\xC3\xA9", 2),
                                                message("assistant", "<think>x</think>A, b", 3)})},
          {"tools", Value::none()},
          {"x", Value::integer(3)},
          {"bos_token", Value::text("<s>")},
          {"eos_token", Value::text("</s>")},
          {"add_generation_prompt", Value::boolean(prompt)}};
      try {
        check(read.render(variables, options));
      } catch (const InputError&) {
      }
    }
  } catch (const InputError&) {
  }
}

}  // namespace longlora::fuzz
