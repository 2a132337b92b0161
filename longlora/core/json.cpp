#include "longlora/core/json.h"

#include <fmt/core.h>

#include "longlora/core/error.h"
#include "longlora/core/file.h"

namespace longlora {

Json parse_json(const std::string& text, const std::string& source) {
  try {
    return Json::parse(text);
  } catch (const Json::parse_error& error) {
    throw InputError(fmt::format("[{}] expected JSON, got a syntax error at byte {} of {}: {}", source,
                                 error.byte, text.size(), error.what()));
  }
}

Json read_json(const std::filesystem::path& path) {
  return parse_json(read_file(path), path.string());
}

void write_json(const std::filesystem::path& path, const Json& value) {
  // A stray byte in a message or path must not cost the file: it becomes U+FFFD.
  write_file_atomic(path, value.dump(2, ' ', false, Json::error_handler_t::replace) + "\n");
}

}  // namespace longlora
