#include "longlora/jinja/template.h"

#include <algorithm>

#include "longlora/jinja/evaluator.h"
#include "longlora/jinja/fault.h"
#include "longlora/jinja/parser.h"

namespace longlora::jinja {

struct ParsedTemplate {
  Source source;
  Block block;
};

namespace {

bool holds_generation(const Block& block) {
  return std::any_of(block.begin(), block.end(), [](const Statement& statement) {
    return statement.kind == StatementKind::kGeneration || holds_generation(statement.body) ||
           holds_generation(statement.otherwise) ||
           std::any_of(statement.branches.begin(), statement.branches.end(),
                       [](const Branch& branch) { return holds_generation(branch.body); });
  });
}

}  // namespace

Template::Template(std::string name, std::string_view source) {
  auto parsed = std::make_unique<ParsedTemplate>();
  parsed->source = make_source(std::move(name), source);
  parsed->block = parse(parsed->source);
  parsed_ = std::move(parsed);
}

Template::~Template() = default;
Template::Template(Template&&) noexcept = default;
Template& Template::operator=(Template&&) noexcept = default;

Rendered Template::render(const Variables& variables, const RenderOptions& options) const {
  Evaluator evaluator(variables, options);
  try {
    return evaluator.run(parsed_->block);
  } catch (const Fault& fault) {
    parsed_->source.fail(evaluator.place(), fault.words());
  }
}

bool Template::marks_generation() const {
  return holds_generation(parsed_->block);
}

std::tm local_time_now() {
  const std::time_t now = std::time(nullptr);
  std::tm local = {};
  localtime_r(&now, &local);
  return local;
}

}  // namespace longlora::jinja
