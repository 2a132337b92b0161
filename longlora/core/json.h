// JSON: the one place that names the JSON library (nlohmann-json).
#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>

#include "longlora/core/json_fwd.h"

namespace longlora {

/// Reads and parses a JSON file. Throws InputError naming the file and, for a
/// syntax error, the byte at which it was found.
Json read_json(const std::filesystem::path& path);

/// Parses text; `source` names it in the InputError. Nesting beyond 512 is refused.
Json parse_json(const std::string& text, const std::string& source);

/// Writes `value` indented by two, atomically (see write_file_atomic).
void write_json(const std::filesystem::path& path, const Json& value);

}  // namespace longlora
