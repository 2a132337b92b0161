#include "longlora/core/json.h"

#include <fmt/core.h>

#include "longlora/core/error.h"
#include "longlora/core/file.h"
#include "longlora/core/foreign_content.h"

namespace longlora {

namespace {

// Refuses deep nesting, because copying, writing and destroying a value recurse into it: without this a file
// of a million '[' would end the process.
void check_depth(const std::string& text, const std::string& source) {
  constexpr int kMaxDepth = 512;
  int depth = 0;
  bool in_string = false;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (in_string) {
      if (c == '\\') ++i;
      if (c == '"') in_string = false;
      continue;
    }
    if (c == '"') in_string = true;
    if (c == '[' || c == '{') ++depth;
    if (c == ']' || c == '}') --depth;
    if (depth > kMaxDepth)
      throw InputError(fmt::format("[{}] expected JSON nested at most {} deep, got more at byte {}", source,
                                   kMaxDepth, i));
  }
}

}  // namespace

Json parse_json(const std::string& text, const std::string& source) {
  check_depth(text, source);
  try {
    return Json::parse(text);
  } catch (const Json::parse_error& error) {
    if (const std::string other = foreign_content(text); !other.empty())
      throw InputError(fmt::format("[{}] expected JSON, got {}", source, other));
    throw InputError(fmt::format("[{}] expected JSON, got a syntax error at byte {} of {}: {}", source,
                                 error.byte, text.size(), error.what()));
  } catch (const Json::exception& error) {  // a number beyond a double
    throw InputError(fmt::format("[{}] expected JSON, got: {}", source, error.what()));
  }
}

Json read_json(const std::filesystem::path& path) {
  return parse_json(read_file(path), path.string());
}

void write_json(const std::filesystem::path& path, const Json& value) {
  // A stray byte in a message or path becomes U+FFFD; it must not cost the file.
  write_file_atomic(path, value.dump(2, ' ', false, Json::error_handler_t::replace) + "\n");
}

}  // namespace longlora
