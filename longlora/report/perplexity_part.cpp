#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <numeric>
#include <optional>

#include "longlora/core/format.h"
#include "longlora/report/comparison.h"
#include "longlora/report/model_table.h"
#include "longlora/report/plots.h"
#include "longlora/report/text.h"

namespace longlora::report {
namespace {

// Models beyond this multiple of the lowest perplexity stay out of the close-up.
constexpr double kCloseUpRatio = 1.6;

double perplexity_at(const ModelPerplexity& model, int64_t length) {
  const results::PerplexityPoint* point = find_point(model, length);
  return point == nullptr ? NAN : point->perplexity;
}

// The model with the lowest finite perplexity at this length, or null when none has one.
const ModelPerplexity* lowest_at(const PerplexityGroup& group, int64_t length) {
  const ModelPerplexity* best = nullptr;
  for (const ModelPerplexity& model : group.models) {
    const double value = perplexity_at(model, length);
    if (std::isfinite(value) && (best == nullptr || value < perplexity_at(*best, length))) best = &model;
  }
  return best;
}

std::string lowest_sentence(const PerplexityGroup& group, const ModelPerplexity& best, int64_t length) {
  const ModelPerplexity& first = group.models.front();
  const double best_value = perplexity_at(best, length);
  const double first_value = perplexity_at(first, length);
  std::string sentence = fmt::format("At {} tokens of context “{}” has the lowest perplexity, {}",
                                     format_count(length), best.label, format_perplexity(best_value));
  if (&best != &first && find_point(first, length) != nullptr) {
    return sentence + (std::isfinite(first_value)
                           ? fmt::format(": {} than “{}” ({}).", compared(best_value, first_value),
                                         first.label, format_perplexity(first_value))
                           : fmt::format("; “{}” has no finite perplexity there.", first.label));
  }
  const ModelPerplexity* second = nullptr;
  for (const ModelPerplexity& model : group.models) {
    const double value = perplexity_at(model, length);
    if (&model != &best && std::isfinite(value) &&
        (second == nullptr || value < perplexity_at(*second, length)))
      second = &model;
  }
  return second == nullptr ? sentence + "."
                           : sentence + fmt::format("; “{}” comes next with {} ({}).", second->label,
                                                    format_perplexity(perplexity_at(*second, length)),
                                                    compared(perplexity_at(*second, length), best_value));
}

// Says whether more context helps this model; empty for a single length.
std::string context_sentence(const ModelPerplexity& model) {
  std::vector<results::PerplexityPoint> points = model.points;
  std::erase_if(points,
                [](const results::PerplexityPoint& point) { return !std::isfinite(point.perplexity); });
  if (points.size() < 2) return "";
  const results::PerplexityPoint* rise_from = nullptr;
  for (size_t i = 1; i < points.size() && rise_from == nullptr; ++i)
    rise_from = points[i].perplexity > points[i - 1].perplexity ? &points[i - 1] : nullptr;
  const std::string ends =
      fmt::format("from {} at {} to {} at {} tokens", format_perplexity(points.front().perplexity),
                  format_count(points.front().seq_len), format_perplexity(points.back().perplexity),
                  format_count(points.back().seq_len));
  const bool falls = points.back().perplexity < points.front().perplexity;
  if (rise_from == nullptr) {
    return falls
               ? fmt::format("For “{}” more context never hurts: its perplexity goes {}.", model.label, ends)
               : fmt::format("For “{}” more context changes nothing: its perplexity goes {}.", model.label,
                             ends);
  }
  const results::PerplexityPoint* rise_to = rise_from + 1;
  return fmt::format(
      "For “{}” perplexity goes {}; more context {}, with a rise between {} and {} tokens ({} to {}).",
      model.label, ends, falls ? "helps over all but not everywhere" : "does not help over all",
      format_count(rise_from->seq_len), format_count(rise_to->seq_len),
      format_perplexity(rise_from->perplexity), format_perplexity(rise_to->perplexity));
}

// Says what the model that is best at long contexts loses at the shortest one.
std::string short_context_sentence(const PerplexityGroup& group, const ModelPerplexity& best) {
  const ModelPerplexity& first = group.models.front();
  const int64_t length = group.lengths.front();
  const double best_value = perplexity_at(best, length);
  const double first_value = perplexity_at(first, length);
  if (&best == &first || group.lengths.size() < 2 || !std::isfinite(best_value) ||
      !std::isfinite(first_value))
    return "";
  return fmt::format("At {} tokens, the shortest context, “{}” has {} and “{}” {} ({}).",
                     format_count(length), best.label, format_perplexity(best_value), first.label,
                     format_perplexity(first_value), compared(best_value, first_value));
}

// How much higher the loss at a length is than another model's over the same windows: the mean of the
// windows' differences and its standard error. In these what makes a window hard for both models cancels out.
// "—" where they do not list the losses of equally many windows (at least two) of equally many tokens.
std::string paired_difference(const results::PerplexityPoint* point,
                              const results::PerplexityPoint* reference) {
  if (point == nullptr || reference == nullptr || point->num_tokens != reference->num_tokens ||
      point->window_losses.size() != reference->window_losses.size() || point->window_losses.size() < 2)
    return "—";
  std::vector<double> differences(point->window_losses.size());
  std::transform(point->window_losses.begin(), point->window_losses.end(), reference->window_losses.begin(),
                 differences.begin(), std::minus<>());
  const auto count = static_cast<double>(differences.size());
  const double mean = std::accumulate(differences.begin(), differences.end(), 0.0) / count;
  double squares = 0.0;
  for (const double difference : differences) squares += (difference - mean) * (difference - mean);
  if (!std::isfinite(squares)) return "—";
  return fmt::format("{:+.4f} ± {:.4f}", mean, std::sqrt(squares / (count - 1) / count));
}

// Compares all models of a group with the one that is best at the longest context. There is no such table for
// windows of other kinds than "same-targets": they overlap, so that their differences have no simple error.
std::optional<NamedTable> difference_table(const PerplexityGroup& group, const std::string& scope) {
  const ModelPerplexity* best = lowest_at(group, group.lengths.back());
  if (best == nullptr || group.window != "same-targets") return std::nullopt;
  Table table;
  table.columns.push_back({"model", Align::kLeft});
  for (const int64_t length : group.lengths) table.columns.push_back({format_count(length)});
  bool any = false;
  for (const ModelPerplexity& model : group.models) {
    if (&model == best) continue;
    table.rows.push_back({{model.label}});
    for (const int64_t length : group.lengths) {
      const std::string text = paired_difference(find_point(model, length), find_point(*best, length));
      table.rows.back().push_back({text});
      any = any || text != "—";
    }
  }
  if (!any) return std::nullopt;
  return NamedTable{
      fmt::format("Loss above that of “{}” in the same windows, in nats, ± its standard error{}", best->label,
                  scope),
      table};
}

double largest(const ModelCurve& curve) {
  double value = 0;
  for (const PlotPoint& point : curve.points) {
    // A point that is not finite counts as farthest from the best.
    value = std::isfinite(point.y) ? std::max(value, point.y) : HUGE_VAL;
  }
  return value;
}

// The curves that stay near the lowest value; empty when all of them do, or none.
std::vector<ModelCurve> close_up(const std::vector<ModelCurve>& curves) {
  double lowest = HUGE_VAL;
  for (const ModelCurve& curve : curves) {
    for (const PlotPoint& point : curve.points)
      lowest = std::isfinite(point.y) ? std::min(lowest, point.y) : lowest;
  }
  std::vector<ModelCurve> near = curves;
  std::erase_if(near, [&](const ModelCurve& curve) { return largest(curve) > lowest * kCloseUpRatio; });
  return near.size() == curves.size() ? std::vector<ModelCurve>{} : near;
}

std::string names_of(const std::vector<ModelCurve>& curves) {
  std::vector<std::string> names;
  names.reserve(curves.size());
  for (const ModelCurve& curve : curves) names.push_back("“" + curve.name + "”");
  return fmt::format("{}", fmt::join(names, ", "));
}

// Adds the picture of a group, and a close-up of the best models where others hide them. `suffix` tells the
// files of several groups apart.
void draw_group(const Gnuplot& gnuplot, const Inputs& inputs, const PerplexityGroup& group,
                const std::string& suffix, std::vector<Picture>& pictures) {
  std::vector<ModelCurve> curves;
  bool any_finite = false;
  for (const ModelPerplexity& model : group.models) {
    ModelCurve curve{model.label, inputs.label_index(model.label), {}};
    for (const results::PerplexityPoint& point : model.points) {
      curve.points.push_back({static_cast<double>(point.seq_len), point.perplexity});
      any_finite = any_finite || std::isfinite(point.perplexity);
    }
    curves.push_back(std::move(curve));
  }
  if (!any_finite) return;
  const std::string scope = describe(group).empty() ? "" : fmt::format(" ({})", describe(group));
  pictures.push_back({"perplexity" + suffix,
                      plot_perplexity(gnuplot, "Perplexity by length of context", curves),
                      fmt::format("Perplexity by tokens of context{}; lower is better. The figures at the "
                                  "right end are the values at each model's longest context.",
                                  scope),
                      fmt::format("Curves of perplexity by context length for {}", names_of(curves))});
  const std::vector<ModelCurve> near = close_up(curves);
  if (!near.empty() && group.lengths.size() > 1) {
    pictures.push_back(
        {"perplexity-closeup" + suffix,
         plot_perplexity(gnuplot, "Close-up: perplexity by length of context", near),
         fmt::format("Close-up of the same: only models that stay within {} times the lowest perplexity.",
                     kCloseUpRatio),
         fmt::format("Close-up of the perplexity curves of {}", names_of(near))});
  }
}

}  // namespace

std::vector<std::string> PerplexityPart::notes(const Inputs& inputs) {
  std::vector<std::string> notes;
  group_perplexities(inputs, &notes);
  return notes;
}

std::vector<std::string> PerplexityPart::sentences(const Inputs& inputs) {
  std::vector<std::string> sentences;
  const std::vector<PerplexityGroup> groups = group_perplexities(inputs);
  for (const PerplexityGroup& group : groups) {
    const int64_t longest = group.lengths.back();
    const ModelPerplexity* best = lowest_at(group, longest);
    const std::string scope =
        groups.size() > 1 && !describe(group).empty() ? " (" + describe(group) + ")" : "";
    if (best == nullptr) {
      sentences.push_back(
          fmt::format("No model has a finite perplexity at {} tokens{}.", format_count(longest), scope));
      continue;
    }
    const std::string lowest =
        group.models.size() > 1
            ? lowest_sentence(group, *best, longest)
            : fmt::format("“{}” has a perplexity of {} at {} tokens.", best->label,
                          format_perplexity(perplexity_at(*best, longest)), format_count(longest));
    for (const std::string& sentence :
         {lowest, context_sentence(*best), short_context_sentence(group, *best)})
      if (!sentence.empty()) sentences.push_back(sentence + scope);
  }
  return sentences;
}

std::vector<NamedTable> PerplexityPart::tables(const Inputs& inputs) {
  std::vector<NamedTable> tables;
  for (const PerplexityGroup& group : group_perplexities(inputs)) {
    const auto column = [&](double results::PerplexityPoint::*member) {
      return [&group, member](size_t row, int64_t length) {
        const results::PerplexityPoint* point = find_point(group.models[row], length);
        return point == nullptr ? NAN : point->*member;
      };
    };
    const std::string scope = describe(group).empty() ? "" : " (" + describe(group) + ")";
    tables.push_back(
        {"Perplexity by tokens of context" + scope,
         model_table(labels_of(group.models), group.lengths, column(&results::PerplexityPoint::perplexity),
                     format_perplexity, Best::kLowest)});
    if (auto differences = difference_table(group, scope)) tables.push_back(std::move(*differences));
    const bool has_accuracy = std::any_of(group.models.begin(), group.models.end(), [](const auto& model) {
      return std::any_of(model.points.begin(), model.points.end(),
                         [](const auto& point) { return std::isfinite(point.accuracy); });
    });
    if (has_accuracy) {
      tables.push_back(
          {"Next token predicted, by tokens of context" + scope,
           model_table(labels_of(group.models), group.lengths, column(&results::PerplexityPoint::accuracy),
                       format_percent, Best::kHighest)});
    }
  }
  return tables;
}

std::vector<Picture> PerplexityPart::pictures(const Gnuplot& gnuplot, const Inputs& inputs) {
  std::vector<Picture> pictures;
  const std::vector<PerplexityGroup> groups = group_perplexities(inputs);
  for (size_t i = 0; i < groups.size(); ++i)
    draw_group(gnuplot, inputs, groups[i], i == 0 ? "" : fmt::format("-{}", i + 1), pictures);
  return pictures;
}

}  // namespace longlora::report
