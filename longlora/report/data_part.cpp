#include <fmt/format.h>

#include <filesystem>

#include "longlora/core/format.h"
#include "longlora/report/inputs.h"
#include "longlora/report/inspection.h"
#include "longlora/report/plots.h"

namespace longlora::report {
namespace {

GroupedBars length_bars(const results::InspectedFile& file) {
  GroupedBars bars;
  bars.title = fmt::format("Lengths in {}", std::filesystem::path(file.path).filename().string());
  bars.group_axis = file.unit;
  bars.value_axis = "samples";
  BarSeries samples{"whole samples", 0, {}, {}}, answers{"answers", 1, {}, {}};
  bool any_answers = false;
  const auto add = [](int64_t count, BarSeries* series) {
    series->values.push_back(static_cast<double>(count));
    series->labels.push_back(count == 0 ? "" : format_count(count));
  };
  for (const results::LengthBin& bin : file.histogram) {
    bars.groups.push_back(format_count(bin.from));
    add(bin.num_samples, &samples);
    add(bin.num_answers, &answers);
    any_answers = any_answers || bin.num_answers > 0;
  }
  bars.series.push_back(std::move(samples));
  if (any_answers) bars.series.push_back(std::move(answers));
  return bars;
}

}  // namespace

std::vector<std::string> DataPart::sentences(const Inputs& inputs) {
  std::vector<std::string> sentences;
  for (const ResultFile<results::Inspection>& file : inputs.files<results::Inspection>())
    for (const std::string& finding : inspection_findings(file.result)) sentences.push_back(finding);
  return sentences;
}

std::vector<NamedTable> DataPart::tables(const Inputs& inputs) {
  std::vector<NamedTable> tables;
  const auto add = [&](const std::vector<NamedTable>& more) {
    tables.insert(tables.end(), more.begin(), more.end());
  };
  for (const ResultFile<results::Inspection>& file : inputs.files<results::Inspection>()) {
    for (const results::InspectedFile& inspected : file.result.files) add(file_tables(inspected));
    add(duplicate_tables(file.result.duplicates));
    add(overlap_tables(file.result.overlaps));
    add(expectation_tables(file.result.expectations));
  }
  return tables;
}

std::vector<Picture> DataPart::pictures(const Gnuplot& gnuplot, const Inputs& inputs) {
  std::vector<Picture> pictures;
  for (const ResultFile<results::Inspection>& file : inputs.files<results::Inspection>()) {
    for (const results::InspectedFile& inspected : file.result.files) {
      if (inspected.histogram.empty()) continue;
      const std::string suffix = pictures.empty() ? "" : fmt::format("-{}", pictures.size() + 1);
      pictures.push_back(
          {"lengths" + suffix, plot_bars(gnuplot, length_bars(inspected)),
           fmt::format("How many samples of “{}”, and how many of their answers, have at least "
                       "so many {} and fewer than the next bar's.",
                       inspected.path, inspected.unit),
           fmt::format("Bars of samples by length for {}", inspected.path)});
    }
  }
  return pictures;
}

}  // namespace longlora::report
