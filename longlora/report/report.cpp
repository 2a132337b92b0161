#include "longlora/report/report.h"

#include <fmt/chrono.h>
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <optional>
#include <set>

#include "longlora/core/error.h"
#include "longlora/core/file.h"
#include "longlora/core/output_paths.h"
#include "longlora/report/gnuplot.h"
#include "longlora/report/html.h"
#include "longlora/report/text.h"

namespace longlora::report {
namespace {

void validate(const ReportOptions& options) {
  std::vector<std::string> problems;
  if (options.inputs.empty())
    problems.emplace_back("[report] expected at least one run directory or result file, got none");
  if (!options.output.has_filename()) {
    problems.push_back(
        fmt::format("[report output] expected the path of an HTML file, got '{}'", options.output.string()));
  }
  if (!problems.empty()) throw UsageError(fmt::format("{}", fmt::join(problems, "\n")));
}

template <typename Item>
void append(std::vector<Item>& list, const std::vector<Item>& items) {
  list.insert(list.end(), items.begin(), items.end());
}

constexpr const char* kMadeBy = "Made by longlora report on ";

// Whether the file is a page of an earlier report: its footer says so.
bool is_own_page(const std::filesystem::path& file) {
  constexpr size_t kFooterBytes = 256;  // more than the end of a page has
  const std::string page = read_file(file);
  return page.starts_with("<!DOCTYPE html>") &&
         page.find(std::string("<footer>") + kMadeBy, page.size() - std::min(page.size(), kFooterBytes)) !=
             std::string::npos;
}

// Throws where the files of a report may not be written (prepare_output_files). A picture there is an
// earlier result where the page there, an earlier one, shows it.
void prepare_files(const ReportOptions& options, const std::vector<std::filesystem::path>& pictures) {
  std::vector<OutputFile> files = {{"--output", options.output, is_own_page},
                                   {"--json", options.results_json}};
  const auto is_shown = [page = options.output](const std::filesystem::path& picture) {
    return std::filesystem::exists(page) && is_own_page(page) &&
           read_file(page).find(encode_base64(read_file(picture))) != std::string::npos;
  };
  for (const std::filesystem::path& picture : pictures) files.push_back({"--output", picture, is_shown});
  std::vector<NamedPath> inputs;
  for (const InputPath& input : options.inputs) inputs.push_back({"--input", input.path});
  prepare_output_files(files, inputs);
}

// "optimizer.learning_rate" | "2e-05" for every value in nested objects.
void flatten(const Json& json, const std::string& prefix, Table& table) {
  for (const auto& [key, value] : json.items()) {
    const std::string name = prefix.empty() ? key : fmt::format("{}.{}", prefix, key);
    if (value.is_object() && !value.empty()) {
      flatten(value, name, table);
    } else {
      table.rows.push_back(
          {{name},
           {value.is_string() ? value.get<std::string>()
                              : value.dump(-1, ' ', false, Json::error_handler_t::replace)}});
    }
  }
}

Table inputs_table(const Inputs& inputs) {
  Table table{{{"model", Align::kLeft}, {"kind", Align::kLeft}, {"file", Align::kLeft}}, {}};
  for (const TrainingRun& run : inputs.runs)
    table.rows.push_back({{run.label}, {"training run"}, {run.path.string()}});
  for_each_result_part([&](auto part) {
    for (const auto& file : inputs.files<typename decltype(part)::Result>())
      table.rows.push_back({{file.label}, {part.kFileKind}, {file.path.string()}});
  });
  return table;
}

// The commands that the user gave and those that the inputs carry, each once.
std::vector<std::string> all_commands(const ReportOptions& options, const Inputs& inputs) {
  std::vector<std::string> commands = options.commands;
  const auto add = [&](const Json& source) {
    const auto found = source.is_object() ? source.find("command") : source.end();
    if (found != source.end() && found->is_string()) commands.push_back(found->get<std::string>());
  };
  for (const TrainingRun& run : inputs.runs) add(run.config);
  for_each_result_part([&](auto part) {
    for (const auto& file : inputs.files<typename decltype(part)::Result>()) add(file.source);
  });
  std::set<std::string> seen;
  std::erase_if(commands, [&](const std::string& command) { return !seen.insert(command).second; });
  return commands;
}

void add_details(HtmlDocument& document, const ReportOptions& options, const Inputs& inputs,
                 const std::string& gnuplot_version) {
  document.begin_details("How this was made");
  if (const std::vector<std::string> commands = all_commands(options, inputs); !commands.empty())
    document.preformatted(fmt::format("{}", fmt::join(commands, "\n")));
  document.paragraph(fmt::format("Versions: {}{}.",
                                 options.version.empty() ? "" : "longlora " + options.version + ", ",
                                 gnuplot_version));
  document.table(inputs_table(inputs), "What was read");
  for (const TrainingRun& run : inputs.runs) {
    if (run.config.is_object()) {
      Table table{{{"option", Align::kLeft}, {"value", Align::kLeft}}, {}};
      flatten(run.config, "", table);
      document.table(table, "Options of the run “" + run.label + "”");
    }
  }
  document.end_details();
}

// A part of the report, drawn.
struct Section {
  std::string heading;
  std::vector<NamedTable> tables;
  std::vector<Picture> pictures;
};

std::vector<Section> make_sections(const std::optional<Gnuplot>& gnuplot, const Inputs& inputs) {
  std::vector<Section> sections;
  for_each_part([&](auto part) {
    sections.push_back({part.kHeading, part.tables(inputs),
                        gnuplot ? part.pictures(*gnuplot, inputs) : std::vector<Picture>()});
  });
  return sections;
}

// Nothing, and a note, where the program is missing: tables and sentences need none.
std::optional<Gnuplot> find_gnuplot(const std::string& program, std::vector<std::string>& notes) {
  try {
    return Gnuplot(program);
  } catch (const MissingGnuplot& missing) {
    notes.push_back(
        fmt::format("The pictures are left out, and the same command adds them later: {}", missing.what()));
    return std::nullopt;
  }
}

void add_section(HtmlDocument& document, const Section& section) {
  if (section.tables.empty() && section.pictures.empty()) return;
  document.heading(section.heading);
  for (const NamedTable& table : section.tables) document.table(table.table, table.name);
  for (const Picture& picture : section.pictures)
    document.picture(picture.png, picture.caption, picture.alternative);
}

std::string render(const ReportOptions& options, const Inputs& inputs, const ReportResult& result,
                   const std::vector<Section>& sections, const std::string& gnuplot_version) {
  HtmlDocument document(options.title);
  document.summary(result.summary);
  for (const Section& section : sections) add_section(document, section);
  if (!result.notes.empty()) {
    document.heading("Notes");
    document.notes(result.notes);
  }
  add_details(document, options, inputs, gnuplot_version);
  const auto now = std::chrono::system_clock::to_time_t(std::chrono::system_clock::now());
  return document.render(fmt::format("{}{:%Y-%m-%d %H:%M} UTC.", kMadeBy, fmt::gmtime(now)));
}

}  // namespace

std::vector<std::string> summarize(const Inputs& inputs) {
  std::vector<std::string> sentences;
  for_each_part([&](auto part) { append(sentences, part.sentences(inputs)); });
  return sentences;
}

void prepare_report(const ReportOptions& options) {
  validate(options);
  prepare_files(options, {});
}

ReportResult write_report(const ReportOptions& options) {
  validate(options);
  Inputs inputs = read_inputs(options.inputs);
  for_each_result_part([&](auto part) { append(inputs.notes, part.notes(inputs)); });
  const std::optional<Gnuplot> gnuplot = find_gnuplot(options.gnuplot, inputs.notes);
  const std::vector<Section> sections = make_sections(gnuplot, inputs);

  ReportResult result;
  result.html = options.output;
  result.summary = summarize(inputs);
  for (const Section& section : sections) append(result.tables, section.tables);
  result.notes = inputs.notes;
  const std::string html =
      render(options, inputs, result, sections, gnuplot ? gnuplot->version() : "no gnuplot");

  std::vector<Picture> pictures;
  for (const Section& section : sections) append(pictures, section.pictures);
  for (const Picture& picture : pictures)
    result.pictures.push_back(options.output.parent_path() /
                              fmt::format("{}-{}.png", options.output.stem().string(), picture.name));
  prepare_files(options, result.pictures);
  for (size_t i = 0; i < pictures.size(); ++i) write_file_atomic(result.pictures[i], pictures[i].png);
  if (!options.results_json.empty()) write_results_json(inputs, options.results_json);
  write_file_atomic(options.output, html);
  return result;
}

}  // namespace longlora::report
