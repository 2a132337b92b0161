// The `report` verb: tables and pictures of runs and evaluations as one HTML file.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "longlora/report/inputs.h"
#include "longlora/report/table.h"

namespace longlora::report {

struct ReportOptions {
  /// Run directories, training logs and JSON results of `eval`, `passkey`, `answer` and `score`.
  /// The first model named is the one that the others are compared with.
  std::vector<InputPath> inputs;
  /// The HTML file; its pictures are written beside it as STEM-loss.png and so on.
  std::filesystem::path output;
  std::string title = "longlora report";
  /// All inputs in one JSON file; empty: none is written.
  std::filesystem::path results_json;
  /// Shown under "How this was made", one line each.
  std::vector<std::string> commands;
  /// Of this program; shown there too.
  std::string version;
  /// The program that draws: a name on the PATH, or a path.
  std::string gnuplot = "gnuplot";
};

/// The parts of a report, in their order.
enum class Topic { kPerplexity, kPasskey, kAnswers, kScores, kTraining };

/// A table of the report, for the terminal too.
struct NamedTable {
  Topic topic = Topic::kTraining;
  std::string name;
  Table table;
};

struct ReportResult {
  std::filesystem::path html;
  std::vector<std::filesystem::path> pictures;
  std::vector<std::string> summary;  // sentences computed from the data
  std::vector<NamedTable> tables;
  std::vector<std::string> notes;
};

/// Reads the inputs, draws, and writes everything; the HTML file last. Throws
/// UsageError for options that contradict, InputError for a file that cannot be
/// used, Error when gnuplot is missing, ResourceError when writing fails.
ReportResult write_report(const ReportOptions& options);

/// What the data say, in sentences: the best perplexity at the longest length
/// and against the first model, whether more context helps, pass keys found,
/// questions answered, which model finds a text likeliest, how training went.
std::vector<std::string> summarize(const Inputs& inputs);

/// One table for each kind of result in the inputs, models in their order, the
/// best value of each length marked.
std::vector<NamedTable> make_tables(const Inputs& inputs);

/// All inputs, model by model, as one JSON file. Throws ResourceError.
void write_results_json(const Inputs& inputs, const std::filesystem::path& path);

}  // namespace longlora::report
