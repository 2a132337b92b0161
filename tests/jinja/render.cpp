// Renders templates of a stream: each line of standard input is a JSON object of "template" and "variables"
// (and "now", seconds since 1970, UTC), each line of standard output one of "text" and "generated" or of
// "error". scripts/references/jinja_fuzz.py compares that with jinja2.
#include <ctime>
#include <iostream>
#include <string>

#include "longlora/core/json.h"
#include "longlora/jinja/template.h"

namespace {

using namespace longlora;

Json render(const Json& request) {
  jinja::Variables variables;
  for (const auto& [name, value] : request.at("variables").items())
    variables.emplace_back(name, jinja::Value::from_json(value, 1));
  jinja::RenderOptions options;
  const std::time_t now = request.value("now", std::time_t{0});
  gmtime_r(&now, &options.now);
  const jinja::Template parsed("template", request.at("template").get<std::string>());
  const jinja::Rendered rendered = parsed.render(variables, options);
  Json ranges = Json::array();
  for (const jinja::ByteRange& range : rendered.generated) ranges.push_back({range.begin, range.end});
  return {{"text", rendered.text.bytes()}, {"generated", ranges}};
}

}  // namespace

int main() {
  std::ios::sync_with_stdio(false);
  for (std::string line; std::getline(std::cin, line);) {
    Json answer;
    try {
      answer = render(parse_json(line, "standard input"));
    } catch (const std::exception& error) {
      answer = {{"error", error.what()}};
    }
    std::cout << answer.dump() << "\n" << std::flush;
  }
}
