// Renders a template in one line.
#pragma once

#include <string>
#include <string_view>

#include "longlora/core/error.h"
#include "longlora/core/json.h"
#include "longlora/jinja/template.h"

namespace longlora::jinja {

/// With variables of JSON; the texts in them are of origin 1.
inline Rendered render(std::string_view source, const Json& variables = Json::object(),
                       const RenderOptions& options = {}) {
  Variables values;
  for (const auto& [name, value] : variables.items()) values.emplace_back(name, Value::from_json(value, 1));
  return Template("chat template", source).render(values, options);
}

inline std::string render_text(std::string_view source, const Json& variables = Json::object()) {
  return render(source, variables).text.bytes();
}

/// What the InputError of a template says; empty where it renders.
inline std::string failure(std::string_view source, const Json& variables = Json::object()) {
  try {
    render(source, variables);
  } catch (const InputError& error) {
    return error.what();
  }
  return "";
}

}  // namespace longlora::jinja
