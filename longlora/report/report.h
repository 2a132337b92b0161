// What the verb `report` does: tables and pictures of runs and evaluations become one HTML file.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "longlora/report/inputs.h"
#include "longlora/report/parts.h"

namespace longlora::report {

struct ReportOptions {
  /// Run directories, training logs and JSON results of the verbs that list_result_verbs() names. The first
  /// model that is named is the one with which the others are compared.
  std::vector<InputPath> inputs;
  /// The HTML file. Its pictures are written beside it as STEM-loss.png and so on.
  std::filesystem::path output;
  std::string title = "longlora report";
  /// A JSON file for all inputs; empty: none is written.
  std::filesystem::path results_json;
  /// Commands that are shown under "How this was made", one line each.
  std::vector<std::string> commands;
  /// The version of this program, which is shown there, too.
  std::string version;
  /// The program that draws: a name on the PATH, or a path.
  std::string gnuplot = "gnuplot";
};

struct ReportResult {
  std::filesystem::path html;
  std::vector<std::filesystem::path> pictures;
  std::vector<std::string> summary;  // sentences computed from the data
  std::vector<NamedTable> tables;
  std::vector<std::string> notes;
};

/// Makes sure before any work that the page and the file of --json can be written (prepare_output_files), and
/// makes their folders. Throws UsageError for options that contradict, too.
void prepare_report(const ReportOptions& options);

/// Reads the inputs, draws, and writes everything; the HTML file last. Throws
/// UsageError for options that contradict and for files in the way, InputError for a file that cannot be
/// used, ResourceError when writing fails. Where gnuplot is missing the report has no pictures, and a note
/// says so.
ReportResult write_report(const ReportOptions& options);

/// Says in sentences what the data show: the best perplexity at the longest length and its relation to that
/// of the first model, whether more context helps, pass keys found, questions answered, which model finds a
/// text likeliest, and how training went.
std::vector<std::string> summarize(const Inputs& inputs);

/// Writes all inputs, model by model, into one JSON file. Throws ResourceError.
void write_results_json(const Inputs& inputs, const std::filesystem::path& path);

}  // namespace longlora::report
