// Renders chat templates, which are written in the language of jinja2, as transformers renders them.
//
// The language is that of jinja2 in transformers' sandbox: trim_blocks, lstrip_blocks, break and continue,
// {% generation %}, its tojson, raise_exception and strftime_now. What chat templates do not use of it
// (includes, inheritance, imports, call and filter blocks, recursive loops, escaping, formatting) is refused
// by name when a template is read. docs/chat-templates.md lists what there is. Templates are strangers'
// programs: they reach nothing but the values that they are given, and their steps, nesting and bytes are
// limited.
#pragma once

#include <cstddef>
#include <cstdint>
#include <ctime>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "longlora/jinja/text.h"
#include "longlora/jinja/value.h"

namespace longlora::jinja {

struct Limits {
  /// How many expressions and statements are evaluated. Each byte of the data allows one more.
  int64_t steps = 200'000;
  /// The bytes of all texts and lists that are made or searched on the way. Each byte of the data allows 64
  /// more.
  int64_t bytes = int64_t{16} << 20;
  /// How deep evaluations nest, also those of macros that call themselves.
  int depth = 800;
};

struct RenderOptions {
  /// The local time that strftime_now writes.
  std::tm now = {};
  Limits limits = {};
};

/// The bytes [begin, end) of a text.
struct ByteRange {
  size_t begin = 0;
  size_t end = 0;

  bool operator==(const ByteRange&) const = default;
};

struct Rendered {
  Text text;
  /// What was written in {% generation %} blocks, which is what the template takes for the assistant's words.
  /// The ranges ascend.
  std::vector<ByteRange> generated;
};

/// The names that a template finds, with their values.
using Variables = std::vector<std::pair<std::string, Value>>;

struct ParsedTemplate;

/// A template that was read. It is immutable, and safe to use from several threads.
class Template {
 public:
  /// `name` stands for the template in messages. Throws InputError "[NAME, line L, column C] expected …" for
  /// what is no template, and for what is not supported.
  Template(std::string name, std::string_view source);
  ~Template();
  Template(Template&&) noexcept;
  Template& operator=(Template&&) noexcept;

  /// Runs the template with these names. Throws InputError with the place of what fails on the way:
  /// raise_exception, an operation that a value does not have, a limit.
  Rendered render(const Variables& variables, const RenderOptions& options) const;
  /// Whether there is a {% generation %} block in it.
  bool marks_generation() const;

 private:
  std::unique_ptr<const ParsedTemplate> parsed_;
};

/// The local time now, for RenderOptions.
std::tm local_time_now();

}  // namespace longlora::jinja
