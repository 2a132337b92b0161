// The parts of a report: one for each kind of result, and that of the training runs. Kinds of results are
// listed here alone: a new one is a struct here, its place in ResultParts, and a file that defines its
// functions.
#pragma once

#include <string>
#include <tuple>
#include <vector>

#include "longlora/report/table.h"
#include "longlora/results/answers.h"
#include "longlora/results/inspection.h"
#include "longlora/results/passkey.h"
#include "longlora/results/perplexity.h"
#include "longlora/results/score.h"

namespace longlora::report {

class Gnuplot;
struct Inputs;

/// A table of the report, which the terminal shows, too.
struct NamedTable {
  std::string name;
  Table table;
};

struct Picture {
  std::string name;  // of the file, without the report's stem: "loss"
  std::string png;   // the bytes of the file
  std::string caption;
  std::string alternative;  // what it shows, in words
};

/// The part about results of `eval`. All parts have the same members; where there is nothing of its kind in
/// the inputs, a part is empty.
struct PerplexityPart {
  using Result = results::Perplexity;                     // the kind of result
  static constexpr const char* kHeading = "Perplexity";   // stands above the part
  static constexpr const char* kFileKind = "perplexity";  // what the list of inputs calls a file of this kind

  /// What a reader should know about the results: which of them are not shown.
  static std::vector<std::string> notes(const Inputs& inputs);
  /// What the results show, in sentences for the summary.
  static std::vector<std::string> sentences(const Inputs& inputs);
  /// The tables, in which models keep their order and the best values are marked.
  static std::vector<NamedTable> tables(const Inputs& inputs);
  /// The pictures. Throws as Gnuplot::draw does.
  static std::vector<Picture> pictures(const Gnuplot& gnuplot, const Inputs& inputs);
};

/// The part about results of `passkey`.
struct PasskeyPart {
  using Result = results::Passkey;
  static constexpr const char* kHeading = "Pass key retrieval";
  static constexpr const char* kFileKind = "pass keys";

  static std::vector<std::string> notes(const Inputs& inputs);
  static std::vector<std::string> sentences(const Inputs& inputs);
  static std::vector<NamedTable> tables(const Inputs& inputs);
  static std::vector<Picture> pictures(const Gnuplot& gnuplot, const Inputs& inputs);
};

/// The part about results of `answer`.
struct AnswersPart {
  using Result = results::Answers;
  static constexpr const char* kHeading = "Answers";
  static constexpr const char* kFileKind = "answers";

  static std::vector<std::string> notes(const Inputs& inputs);
  static std::vector<std::string> sentences(const Inputs& inputs);
  static std::vector<NamedTable> tables(const Inputs& inputs);
  static std::vector<Picture> pictures(const Gnuplot& gnuplot, const Inputs& inputs);
};

/// The part about results of `score`. It has no pictures.
struct ScorePart {
  using Result = results::Score;
  static constexpr const char* kHeading = "Scores of texts";
  static constexpr const char* kFileKind = "scores";

  static std::vector<std::string> notes(const Inputs& inputs);
  static std::vector<std::string> sentences(const Inputs& inputs);
  static std::vector<NamedTable> tables(const Inputs& inputs);
  static std::vector<Picture> pictures(const Gnuplot&, const Inputs&) { return {}; }
};

/// The part about results of `inspect`, which are about data and no model.
struct DataPart {
  using Result = results::Inspection;
  static constexpr const char* kHeading = "Data";
  static constexpr const char* kFileKind = "data";

  static std::vector<std::string> notes(const Inputs&) { return {}; }
  static std::vector<std::string> sentences(const Inputs& inputs);
  static std::vector<NamedTable> tables(const Inputs& inputs);
  static std::vector<Picture> pictures(const Gnuplot& gnuplot, const Inputs& inputs);
};

/// The part about training runs, which are read from directories and logs.
struct TrainingPart {
  static constexpr const char* kHeading = "Training";

  static std::vector<std::string> sentences(const Inputs& inputs);
  static std::vector<NamedTable> tables(const Inputs& inputs);
  static std::vector<Picture> pictures(const Gnuplot& gnuplot, const Inputs& inputs);
};

/// The parts about results of verbs, in their order in the report.
using ResultParts = std::tuple<PerplexityPart, PasskeyPart, AnswersPart, ScorePart, DataPart>;

/// Calls visit(part) for each part about results.
template <typename Visit>
void for_each_result_part(const Visit& visit) {
  std::apply([&](auto... part) { (visit(part), ...); }, ResultParts());
}

/// Calls visit(part) for each part of the report, in order.
template <typename Visit>
void for_each_part(const Visit& visit) {
  for_each_result_part(visit);
  visit(TrainingPart());
}

}  // namespace longlora::report
