#include "longlora/report/inspection.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>

#include "longlora/core/format.h"
#include "longlora/core/text.h"
#include "longlora/report/text.h"

namespace longlora::report {
namespace {

using results::Duplicates;
using results::InspectedFile;
using results::LeakedSample;
using results::NamedCount;
using results::Overlap;

constexpr int kBarWidth = 40;
constexpr size_t kNamesShown = 12;
constexpr int kNameWidth = 40;
constexpr int kProblemWidth = 150;
constexpr const char* kNothing = "—";

std::string share_text(double share) {
  return std::isfinite(share) ? format_percent(share) : kNothing;
}

double part_of(int64_t part, int64_t whole) {
  return whole == 0 ? NAN : static_cast<double>(part) / static_cast<double>(whole);
}

std::string count_text(int64_t count) {
  return count < 0 ? kNothing : format_count(count);
}

// "instruction 12,000, output 12,000": names without what would break a line.
std::string list_counts(const std::vector<NamedCount>& counts) {
  std::vector<std::string> parts;
  for (size_t i = 0; i < std::min(counts.size(), kNamesShown); ++i) {
    std::string name = shorten(counts[i].name, kNameWidth);
    std::replace_if(
        name.begin(), name.end(), [](char c) { return c >= 0 && c < ' '; }, '?');
    parts.push_back(fmt::format("{} {}", name, format_count(counts[i].count)));
  }
  const std::string rest =
      counts.size() > parts.size() ? fmt::format(" and {} more", counts.size() - parts.size()) : "";
  return fmt::format("{}{}", fmt::join(parts, ", "), rest);
}

// "Latin 98.9 %, Greek 0.9 %": shares of letters.
std::string list_scripts(const std::vector<NamedCount>& scripts) {
  constexpr size_t kScriptsShown = 6;
  int64_t total = 0;
  for (const NamedCount& script : scripts) total += script.count;
  std::vector<std::string> parts;
  for (size_t i = 0; i < std::min(scripts.size(), kScriptsShown); ++i) {
    const double share = part_of(scripts[i].count, total);
    parts.push_back(share < 0.0005
                        ? fmt::format("{} {} letters", scripts[i].name, format_count(scripts[i].count))
                        : fmt::format("{} {}", scripts[i].name, format_percent(share)));
  }
  const std::string rest =
      scripts.size() > parts.size() ? fmt::format(" and {} more", scripts.size() - parts.size()) : "";
  return fmt::format("{}{}", fmt::join(parts, ", "), rest);
}

Table content_table(const InspectedFile& file) {
  Table table{{{"", Align::kLeft}, {"", Align::kLeft}}, {}};
  const auto add = [&](const char* what, const std::string& found) {
    if (!found.empty()) table.rows.push_back({{what}, {found}});
  };
  table.columns[0].heading = "content";
  table.columns[1].heading =
      fmt::format("{}, {}{}", file.content, format_bytes(file.num_bytes),
                  file.encoding.empty() || file.encoding == "UTF-8" ? "" : ", " + file.encoding);
  std::string samples = format_count(file.num_samples);
  if (file.num_broken > 0) samples += fmt::format(", {} of them broken", format_count(file.num_broken));
  if (file.num_empty > 0) samples += fmt::format(", {} of them empty", format_count(file.num_empty));
  add("samples", samples);
  add("forms", list_counts(file.forms));
  add("fields", list_counts(file.fields));
  add("not read", list_counts(file.unread));
  add("scripts", list_scripts(file.scripts));
  if (file.num_learned_uncertain > 0)
    add("uncertain", fmt::format("{} samples whose answers were found by comparing ids",
                                 format_count(file.num_learned_uncertain)));
  for (const std::string& problem : file.problems) add("broken", shorten(problem, kProblemWidth));
  if (file.num_broken > static_cast<int64_t>(file.problems.size()))
    add("broken", fmt::format("and {} more",
                              format_count(file.num_broken - static_cast<int64_t>(file.problems.size()))));
  return table;
}

Table length_table(const InspectedFile& file) {
  Table table{{{file.unit, Align::kLeft}, {"min"}, {"5 %"}, {"median"}, {"mean"}, {"95 %"}, {"max"}, {"all"}},
              {}};
  for (const results::LengthSummary& part : file.lengths)
    table.rows.push_back({{part.part},
                          {format_count(part.least)},
                          {format_count(part.p5)},
                          {format_count(part.median)},
                          {format_count(std::llround(part.mean))},
                          {format_count(part.p95)},
                          {format_count(part.most)},
                          {format_count(part.sum)}});
  return table;
}

Table fit_table(const InspectedFile& file) {
  Table table;
  const bool has_rows = file.fits.front().num_rows >= 0;
  if (has_rows)
    table.columns = {{"model_max_length"}, {"rows"}, {"tokens left over"}};
  else
    table.columns = {{"model_max_length"}, {"whole"},    {"shortened"},
                     {"tokens cut off"},   {"too long"}, {"nothing to learn"}};
  for (const results::LengthFit& fit : file.fits) {
    if (has_rows)
      table.rows.push_back(
          {{format_count(fit.max_tokens)}, {count_text(fit.num_rows)}, {count_text(fit.num_tokens_left)}});
    else
      table.rows.push_back({{format_count(fit.max_tokens)},
                            {count_text(fit.num_whole)},
                            {count_text(fit.num_cut)},
                            {count_text(fit.num_tokens_cut)},
                            {count_text(fit.num_too_long)},
                            {count_text(fit.num_without_answer)}});
  }
  return table;
}

NamedTable data_table(std::string name, Table table) {
  return {std::move(name), std::move(table)};
}

std::string repeated(const char* text, int64_t count) {
  std::string all;
  for (int64_t i = 0; i < count; ++i) all += text;
  return all;
}

// The place of a sample beside that of another one: without the name of the file where that is the same.
std::string place_beside(const std::string& place, const std::string& other) {
  const size_t end = other.find_last_of(" :");
  const size_t start = end == std::string::npos || other[end] == ':' ? end : other.rfind(", ", end);
  if (start == std::string::npos || place.compare(0, start + 1, other, 0, start + 1) != 0) return place;
  return trimmed(std::string_view(place).substr(start + 1));
}

Table pair_table(const std::vector<results::SimilarPair>& pairs, bool is_exact) {
  Table table{{{"sample", Align::kLeft}, {"repeats", Align::kLeft}}, {}};
  if (!is_exact) table.columns.insert(table.columns.end(), {{"alike"}, {"answers"}});
  for (const results::SimilarPair& pair : pairs) {
    table.rows.push_back({{pair.second}, {place_beside(pair.first, pair.second)}});
    if (!is_exact)
      table.rows.back().insert(table.rows.back().end(),
                               {{share_text(pair.similarity)}, {share_text(pair.answers)}});
  }
  return table;
}

}  // namespace

std::vector<NamedTable> file_tables(const InspectedFile& file) {
  std::vector<NamedTable> tables = {data_table(file.path, content_table(file))};
  if (file.lengths.empty()) return tables;
  const char* note = file.unit == "words" ? " (in words; --model or --tokenizer counts tokens)" : "";
  tables.push_back(data_table(fmt::format("Lengths{}", note), length_table(file)));
  if (!file.fits.empty())
    tables.push_back(data_table(file.fits.front().num_rows >= 0
                                    ? "Rows of fine-tune, by their length"
                                    : "What sft makes of the samples, by the length of its rows",
                                fit_table(file)));
  return tables;
}

Table histogram_text(const InspectedFile& file) {
  Table table{{{file.unit}, {"samples"}, {"share"}, {"", Align::kLeft}}, {}};
  int64_t highest = 1, total = 0;
  for (const results::LengthBin& bin : file.histogram) {
    highest = std::max(highest, bin.num_samples);
    total += bin.num_samples;
  }
  for (const results::LengthBin& bin : file.histogram) {
    const int64_t eighths = (bin.num_samples * kBarWidth * 2 + highest - 1) / highest;
    table.rows.push_back({{bin_label(bin)},
                          {format_count(bin.num_samples)},
                          {share_text(part_of(bin.num_samples, total))},
                          {repeated("█", eighths / 2) + (eighths % 2 == 1 ? "▌" : "")}});
  }
  // Bins before the first and behind the last sample are those of answers.
  const auto is_empty = [](const results::LengthBin& bin) { return bin.num_samples == 0; };
  const auto first = std::find_if_not(file.histogram.begin(), file.histogram.end(), is_empty);
  table.rows.erase(table.rows.begin(), table.rows.begin() + (first - file.histogram.begin()));
  const auto last = std::find_if_not(file.histogram.rbegin(), file.histogram.rend(), is_empty);
  table.rows.erase(table.rows.end() - std::min(last - file.histogram.rbegin(), std::ssize(table.rows)),
                   table.rows.end());
  return table;
}

std::string bin_label(const results::LengthBin& bin) {
  return bin.from == bin.to ? format_count(bin.from)
                            : fmt::format("{} – {}", format_count(bin.from), format_count(bin.to));
}

std::vector<NamedTable> duplicate_tables(const Duplicates& duplicates) {
  Table table{{{"samples that repeat an earlier one", Align::kLeft}, {"samples"}, {"share"}}, {}};
  const auto add = [&](const std::string& what, int64_t count) {
    table.rows.push_back(
        {{what}, {format_count(count)}, {share_text(part_of(count, duplicates.num_compared))}});
  };
  add("exactly", duplicates.num_exact);
  add(fmt::format("nearly: {:.0f} % of the runs of {} words in common, and of those of the answers",
                  duplicates.threshold * 100, duplicates.shingle_words),
      duplicates.num_near);
  add("the same question, with another answer", duplicates.num_same_question);
  add("nearly the same material, with another answer", duplicates.num_same_material);
  std::vector<NamedTable> tables = {data_table("Duplicates", std::move(table))};
  if (!duplicates.exact_pairs.empty())
    tables.push_back(
        data_table("Exact duplicates, the first ones", pair_table(duplicates.exact_pairs, true)));
  if (!duplicates.near_pairs.empty())
    tables.push_back(
        data_table("Near duplicates, the most similar ones", pair_table(duplicates.near_pairs, false)));
  return tables;
}

std::vector<NamedTable> overlap_tables(const std::vector<Overlap>& overlaps) {
  std::vector<NamedTable> tables;
  for (const Overlap& overlap : overlaps) {
    Table table{{{"held-out samples", Align::kLeft}, {"samples"}, {"share"}}, {}};
    const auto add = [&](const std::string& what, int64_t count) {
      table.rows.push_back(
          {{what}, {format_count(count)}, {share_text(part_of(count, overlap.num_samples))}});
    };
    add("all", overlap.num_samples);
    if (overlap.num_broken > 0) add("broken, not compared", overlap.num_broken);
    add("found exactly", overlap.num_exact);
    add("found with the same question and another answer", overlap.num_same_question);
    add(fmt::format("with a run of {} words found", overlap.ngram_words), overlap.num_any);
    add("with 20 % of such runs found", overlap.num_fifth);
    add("with 50 %", overlap.num_half);
    add("with 80 %", overlap.num_most);
    if (overlap.num_short > 0) add("too short for such a run, compared as a whole", overlap.num_short);
    tables.push_back(data_table("Overlap with " + overlap.path, std::move(table)));
    if (overlap.worst.empty()) continue;
    Table worst{{{"held-out sample", Align::kLeft},
                 {"found"},
                 {"of its answer"},
                 {"nearest sample", Align::kLeft},
                 {"holds"},
                 {"longest passage in both", Align::kLeft}},
                {}};
    for (const LeakedSample& leak : overlap.worst)
      worst.rows.push_back(
          {{leak.held_out},
           {leak.exact ? "exactly" : share_text(leak.contained)},
           {share_text(leak.answer)},
           {leak.sample},
           {share_text(leak.in_sample)},
           {leak.quote.empty() ? kNothing
                               : fmt::format("{} words: “{}”", format_count(leak.quote_words), leak.quote)}});
    tables.push_back(data_table("Held-out samples of which most was found", std::move(worst)));
  }
  return tables;
}

std::vector<NamedTable> expectation_tables(const std::vector<results::Expectation>& expectations) {
  if (expectations.empty()) return {};
  Table table{{{"expected", Align::kLeft}, {"", Align::kLeft}, {"found", Align::kLeft}}, {}};
  for (const results::Expectation& expectation : expectations)
    table.rows.push_back({{expectation.expected}, {expectation.holds ? "yes" : "NO"}, {expectation.found}});
  return {data_table("Expected form", std::move(table))};
}

std::vector<std::string> inspection_findings(const results::Inspection& inspection) {
  std::vector<std::string> findings;
  for (const InspectedFile& file : inspection.files)
    if (file.num_broken > 0)
      findings.push_back(
          fmt::format("{} of {} samples of {} cannot be read: sft refuses them, or leaves them "
                      "out with --skip_bad_samples.",
                      format_count(file.num_broken), format_count(file.num_samples), file.path));
  const Duplicates& duplicates = inspection.duplicates;
  if (duplicates.num_exact + duplicates.num_near > 0)
    findings.push_back(fmt::format("{} of {} samples repeat an earlier one exactly, and {} nearly.",
                                   format_count(duplicates.num_exact), format_count(duplicates.num_compared),
                                   format_count(duplicates.num_near)));
  for (const Overlap& overlap : inspection.overlaps)
    findings.push_back(
        overlap.num_half == 0
            ? fmt::format("Nothing of {} has leaked: no sample of it is found exactly, or half of it.",
                          overlap.path)
            : fmt::format("{} of {} samples of {} have leaked: at least half of each is in the data, and {} "
                          "are there exactly.",
                          format_count(overlap.num_half), format_count(overlap.num_samples), overlap.path,
                          format_count(overlap.num_exact)));
  for (const results::Expectation& expectation : inspection.expectations)
    if (!expectation.holds)
      findings.push_back(fmt::format("Expected {}, found {}.", expectation.expected, expectation.found));
  return findings;
}

}  // namespace longlora::report
