// Tables and the picture of an inspection of data, for the terminal and for the page.
#pragma once

#include <string>
#include <vector>

#include "longlora/report/parts.h"
#include "longlora/results/inspection.h"

namespace longlora::report {

/// What one file holds, its lengths, and what stays of it at each length of rows. The first table is named by
/// the file.
std::vector<NamedTable> file_tables(const results::InspectedFile& file);

/// How many samples have which length, as bars of text; without rows where there are no samples.
Table histogram_text(const results::InspectedFile& file);

/// "2,048 – 4,095".
std::string bin_label(const results::LengthBin& bin);

/// What repeats within the files, with examples.
std::vector<NamedTable> duplicate_tables(const results::Duplicates& duplicates);

/// What of held-out files was found, with the samples of which most was.
std::vector<NamedTable> overlap_tables(const std::vector<results::Overlap>& overlaps);

/// What was expected, and what is there.
std::vector<NamedTable> expectation_tables(const std::vector<results::Expectation>& expectations);

/// Findings that matter to who trains on the data: broken samples, repetitions, leaks.
std::vector<std::string> inspection_findings(const results::Inspection& inspection);

}  // namespace longlora::report
