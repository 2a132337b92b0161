#include "longlora/report/comparison.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <set>

#include "longlora/core/progress.h"

namespace longlora::report {
namespace {

/// The entry with this label, added at the end when there is none.
template <typename Entry>
Entry& entry_of(std::vector<Entry>& entries, const std::string& label) {
  const auto found =
      std::find_if(entries.begin(), entries.end(), [&](const Entry& entry) { return entry.label == label; });
  if (found != entries.end()) {
    return *found;
  }
  entries.push_back({label, {}});
  return entries.back();
}

template <typename Entry>
void sort_by_label(std::vector<Entry>& entries, const Inputs& inputs) {
  std::stable_sort(entries.begin(), entries.end(), [&](const Entry& a, const Entry& b) {
    return inputs.label_index(a.label) < inputs.label_index(b.label);
  });
}

void note_repetition(std::vector<std::string>* notes, const std::string& label, int64_t tokens,
                     const std::filesystem::path& path) {
  if (notes != nullptr) {
    notes->push_back(fmt::format("“{}” has more than one result for {} tokens; the one in {} is shown", label,
                                 format_count(tokens), path.string()));
  }
}

double mean_loss(const std::vector<TrainStep>& steps, bool at_end) {
  const size_t count = std::max<size_t>(1, steps.size() / 20);
  double sum = 0;
  size_t num_finite = 0;
  for (size_t i = 0; i < std::min(count, steps.size()); ++i) {
    const double loss = steps[at_end ? steps.size() - 1 - i : i].loss;
    if (std::isfinite(loss)) {
      sum += loss;
      ++num_finite;
    }
  }
  return num_finite > 0 ? sum / static_cast<double>(num_finite) : std::numeric_limits<double>::quiet_NaN();
}

/// "a.bin, b.bin" for "x/a.bin, y/b.bin": the names without their folders.
std::string names_of_paths(const std::string& paths) {
  std::string names;
  for (size_t begin = 0; begin < paths.size();) {
    const size_t end = std::min(paths.find(", ", begin), paths.size());
    const std::filesystem::path path = paths.substr(begin, end - begin);
    const std::filesystem::path name = path.has_filename() ? path.filename() : path.parent_path().filename();
    names += (names.empty() ? "" : ", ") + name.string();
    begin = end + 2;
  }
  return names;
}

}  // namespace

const PerplexityPoint* find_point(const ModelPerplexity& model, int64_t seq_len_tokens) {
  for (const PerplexityPoint& point : model.points) {
    if (point.seq_len_tokens == seq_len_tokens) {
      return &point;
    }
  }
  return nullptr;
}

std::string describe(const PerplexityGroup& group) {
  std::string text = group.window.empty() ? "" : "window " + group.window;
  if (!group.data.empty()) {
    text += (text.empty() ? "on " : ", on ") + names_of_paths(group.data);
  }
  return text;
}

std::vector<PerplexityGroup> group_perplexities(const Inputs& inputs, std::vector<std::string>* notes) {
  std::vector<PerplexityGroup> groups;
  for (const PerplexityResult& result : inputs.perplexities) {
    auto group = std::find_if(groups.begin(), groups.end(), [&](const PerplexityGroup& other) {
      return other.data == result.data && other.window == result.window;
    });
    if (group == groups.end()) {
      groups.push_back({result.data, result.window, {}, {}});
      group = groups.end() - 1;
    }
    ModelPerplexity& model = entry_of(group->models, result.label);
    for (const PerplexityPoint& point : result.points) {
      const size_t num_removed = std::erase_if(
          model.points, [&](const auto& other) { return other.seq_len_tokens == point.seq_len_tokens; });
      if (num_removed > 0) {
        note_repetition(notes, result.label, point.seq_len_tokens, result.path);
      }
      model.points.push_back(point);
    }
  }
  for (PerplexityGroup& group : groups) {
    sort_by_label(group.models, inputs);
    std::set<int64_t> lengths;
    for (ModelPerplexity& model : group.models) {
      std::sort(model.points.begin(), model.points.end(),
                [](const auto& a, const auto& b) { return a.seq_len_tokens < b.seq_len_tokens; });
      for (const PerplexityPoint& point : model.points) {
        lengths.insert(point.seq_len_tokens);
      }
    }
    group.lengths.assign(lengths.begin(), lengths.end());
  }
  return groups;
}

int64_t rounded_tokens(const PasskeyLength& length) {
  return std::llround(length.tokens);
}

const PasskeyLength* find_length(const ModelPasskey& model, int64_t tokens) {
  for (const PasskeyLength& length : model.lengths) {
    if (rounded_tokens(length) == tokens) {
      return &length;
    }
  }
  return nullptr;
}

double overall_accuracy(const ModelPasskey& model) {
  size_t num_trials = 0;
  size_t num_correct = 0;
  double sum = 0;
  bool all_listed = true;
  for (const PasskeyLength& length : model.lengths) {
    all_listed = all_listed && !length.trials.empty();
    num_trials += length.trials.size();
    num_correct += static_cast<size_t>(std::count_if(
        length.trials.begin(), length.trials.end(), [](const PasskeyTrial& trial) { return trial.correct; }));
    sum += length.accuracy;
  }
  return all_listed && num_trials > 0 ? static_cast<double>(num_correct) / static_cast<double>(num_trials)
                                      : sum / static_cast<double>(model.lengths.size());
}

std::vector<ModelPasskey> group_passkeys(const Inputs& inputs, std::vector<std::string>* notes) {
  std::vector<ModelPasskey> models;
  for (const PasskeyResult& result : inputs.passkeys) {
    ModelPasskey& model = entry_of(models, result.label);
    for (const PasskeyLength& length : result.lengths) {
      const int64_t tokens = rounded_tokens(length);
      if (std::erase_if(model.lengths, [&](const auto& other) { return rounded_tokens(other) == tokens; }) >
          0) {
        note_repetition(notes, result.label, tokens, result.path);
      }
      model.lengths.push_back(length);
    }
    std::sort(model.lengths.begin(), model.lengths.end(),
              [](const auto& a, const auto& b) { return a.tokens < b.tokens; });
  }
  sort_by_label(models, inputs);
  return models;
}

std::vector<int64_t> passkey_lengths(const std::vector<ModelPasskey>& models) {
  std::set<int64_t> lengths;
  for (const ModelPasskey& model : models) {
    for (const PasskeyLength& length : model.lengths) {
      lengths.insert(rounded_tokens(length));
    }
  }
  return {lengths.begin(), lengths.end()};
}

double early_loss(const TrainLog& log) {
  return mean_loss(log.steps, false);
}

double late_loss(const TrainLog& log) {
  return mean_loss(log.steps, true);
}

}  // namespace longlora::report
