// Written by scripts/references/chat_templates.py.
#include <gtest/gtest.h>

#include <ctime>

#include "tests/jinja/render.h"

namespace longlora::jinja {
namespace {

const std::filesystem::path kFolder =
    std::filesystem::path(LONGLORA_SOURCE_DIR) / "tests/data/goldens/chat_templates";

Json merged(Json base, const Json& more) {
  base.update(more);
  return base;
}

TEST(JinjaGolden, FamiliesTemplatesRenderAsTransformersRendersThem) {
  const Json templates = read_json(kFolder / "templates.json"), golden = read_json(kFolder / "golden.json");
  RenderOptions options;
  const std::time_t now = golden["now"];
  gmtime_r(&now, &options.now);
  for (const Json& wanted : golden["cases"]) {
    SCOPED_TRACE(wanted.dump());
    Json variables = merged(golden["common"], golden["options"][wanted["options"].get<std::string>()]);
    variables["messages"] = golden["conversations"][wanted["conversation"].get<size_t>()];
    const auto source = templates[wanted["template"].get<std::string>()].get<std::string>();
    if (wanted.contains("fails")) {
      EXPECT_THROW(render(source, variables, options), InputError);
      continue;
    }
    const Rendered rendered = render(source, variables, options);
    EXPECT_EQ(rendered.text.bytes(), wanted["text"]);
    Json generated = Json::array();
    for (const ByteRange& range : rendered.generated) generated.push_back({range.begin, range.end});
    EXPECT_EQ(generated, wanted["generated"]);
  }
}

}  // namespace
}  // namespace longlora::jinja
