#include "longlora/report/report.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <memory>

#include "longlora/cli/flags.h"
#include "longlora/cli/verbs.h"
#include "longlora/cli/version.h"
#include "longlora/core/log.h"

namespace longlora::cli {
namespace {

struct ReportArguments {
  std::vector<std::filesystem::path> inputs;
  report::ReportOptions options;
};

// Reads "LABEL=PATH" or a path alone.
report::InputPath parse_input(const std::string& text) {
  const size_t equals = text.find('=');
  if (equals == std::string::npos || std::filesystem::exists(text)) return {text, ""};
  return {text.substr(equals + 1), text.substr(0, equals)};
}

void run_report(ReportArguments& arguments) {
  for (const auto& path : arguments.inputs) arguments.options.inputs.push_back(parse_input(path.string()));
  arguments.options.version = version();
  report::prepare_report(arguments.options);
  const report::ReportResult result = report::write_report(arguments.options);
  for (const report::NamedTable& table : result.tables)
    fmt::print("{}\n{}\n", table.name, report::to_text(table.table));
  for (const std::string& sentence : result.summary) fmt::print("{}\n", sentence);
  for (const std::string& note : result.notes) log_warning(note);
  log_info(fmt::format("report: {}, {} pictures beside it", result.html.string(), result.pictures.size()));
}

}  // namespace

void add_report_verb(CLI::App& app) {
  CLI::App& verb = *app.add_subcommand(
      "report", "Turn run directories and result files into one HTML page with tables and pictures");
  auto arguments = std::make_shared<ReportArguments>();
  add_paths(verb, "inputs,--input", arguments->inputs,
            fmt::format("Run directories, train_log.jsonl, and JSON results of {}; LABEL=PATH names a run",
                        report::list_result_verbs("", "and")))
      ->required();
  verb.add_option("--output", arguments->options.output, "The HTML file to write; pictures go beside it")
      ->required();
  verb.add_option("--title", arguments->options.title, "Title of the page")->capture_default_str();
  verb.add_option("--json", arguments->options.results_json, "Collect all inputs in this JSON file");
  verb.add_option("--command", arguments->options.commands,
                  "A command to show under \"How this was made\"; repeatable");
  verb.callback([arguments] { run_report(*arguments); });
}

}  // namespace longlora::cli
