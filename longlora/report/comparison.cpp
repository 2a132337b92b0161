#include "longlora/report/comparison.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <set>

#include "longlora/core/format.h"

namespace longlora::report {
namespace {

// The entry with this label. Where there is none it is added at the end.
template <typename Entry>
Entry& entry_of(std::vector<Entry>& entries, const std::string& label) {
  const auto found =
      std::find_if(entries.begin(), entries.end(), [&](const Entry& entry) { return entry.label == label; });
  if (found != entries.end()) return *found;
  entries.push_back({label, {}});
  return entries.back();
}

template <typename Entry>
void sort_by_label(std::vector<Entry>& entries, const Inputs& inputs) {
  std::stable_sort(entries.begin(), entries.end(), [&](const Entry& a, const Entry& b) {
    return inputs.label_index(a.label) < inputs.label_index(b.label);
  });
}

void note_repetition(std::vector<std::string>* notes, const std::string& label, const std::string& what,
                     const std::filesystem::path& path) {
  if (notes != nullptr)
    notes->push_back(fmt::format("“{}” has more than one result for {}; the one in {} is shown", label, what,
                                 path.string()));
}

void note_repetition(std::vector<std::string>* notes, const std::string& label, int64_t tokens,
                     const std::filesystem::path& path) {
  note_repetition(notes, label, fmt::format("{} tokens", format_count(tokens)), path);
}

// Adds a file to those that are shown. It takes the place of an earlier one of the same model, with a note,
// where `same` says that both are results of the same thing.
template <typename Result, typename Same>
void add_or_replace(const ResultFile<Result>& file, std::vector<const ResultFile<Result>*>& shown,
                    const std::string& what, std::vector<std::string>* notes, const Same& same) {
  for (const ResultFile<Result>*& other : shown) {
    if (other->label != file.label || !same(other->result, file.result)) continue;
    other = &file;
    return note_repetition(notes, file.label, what, file.path);
  }
  shown.push_back(&file);
}

template <typename Result>
void sort_files(std::vector<const ResultFile<Result>*>& files, const Inputs& inputs) {
  std::stable_sort(files.begin(), files.end(), [&](const auto* a, const auto* b) {
    return inputs.label_index(a->label) < inputs.label_index(b->label);
  });
}

std::vector<std::string> names_of_tasks(const results::Answers& answers) {
  std::vector<std::string> names;
  for (const results::AnswerTask& task : answers.tasks) names.push_back(task.task);
  return names;
}

double mean_loss(const std::vector<results::TrainStep>& steps, bool at_end) {
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

// The names without their folders: "a.bin, b.bin" for "x/a.bin, y/b.bin".
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

const results::PerplexityPoint* find_point(const ModelPerplexity& model, int64_t seq_len_tokens) {
  for (const results::PerplexityPoint& point : model.points)
    if (point.seq_len == seq_len_tokens) return &point;
  return nullptr;
}

std::string describe(const PerplexityGroup& group) {
  std::string text = group.window.empty() ? "" : "window " + group.window;
  if (!group.data.empty()) text += (text.empty() ? "on " : ", on ") + names_of_paths(group.data);
  return text;
}

std::vector<PerplexityGroup> group_perplexities(const Inputs& inputs, std::vector<std::string>* notes) {
  std::vector<PerplexityGroup> groups;
  for (const ResultFile<results::Perplexity>& file : inputs.files<results::Perplexity>()) {
    const results::Perplexity& result = file.result;
    auto group = std::find_if(groups.begin(), groups.end(), [&](const PerplexityGroup& other) {
      return other.data == result.data && other.window == result.window;
    });
    if (group == groups.end()) {
      groups.push_back({result.data, result.window, {}, {}});
      group = groups.end() - 1;
    }
    ModelPerplexity& model = entry_of(group->models, file.label);
    for (const results::PerplexityPoint& point : result.points) {
      const size_t num_removed =
          std::erase_if(model.points, [&](const auto& other) { return other.seq_len == point.seq_len; });
      if (num_removed > 0) note_repetition(notes, file.label, point.seq_len, file.path);
      model.points.push_back(point);
    }
  }
  for (PerplexityGroup& group : groups) {
    sort_by_label(group.models, inputs);
    std::set<int64_t> lengths;
    for (ModelPerplexity& model : group.models) {
      std::sort(model.points.begin(), model.points.end(),
                [](const auto& a, const auto& b) { return a.seq_len < b.seq_len; });
      for (const results::PerplexityPoint& point : model.points) lengths.insert(point.seq_len);
    }
    group.lengths.assign(lengths.begin(), lengths.end());
  }
  return groups;
}

int64_t rounded_tokens(const results::PasskeyLength& length) {
  return std::llround(length.mean_tokens);
}

const results::PasskeyLength* find_length(const ModelPasskey& model, int64_t tokens) {
  for (const results::PasskeyLength& length : model.lengths)
    if (rounded_tokens(length) == tokens) return &length;
  return nullptr;
}

double overall_accuracy(const ModelPasskey& model) {
  size_t num_trials = 0;
  size_t num_correct = 0;
  double sum = 0;
  bool all_listed = true;
  for (const results::PasskeyLength& length : model.lengths) {
    all_listed = all_listed && !length.trials.empty();
    num_trials += length.trials.size();
    num_correct +=
        static_cast<size_t>(std::count_if(length.trials.begin(), length.trials.end(),
                                          [](const results::PasskeyTrial& trial) { return trial.correct; }));
    sum += length.accuracy;
  }
  return all_listed && num_trials > 0 ? static_cast<double>(num_correct) / static_cast<double>(num_trials)
                                      : sum / static_cast<double>(model.lengths.size());
}

std::vector<ModelPasskey> group_passkeys(const Inputs& inputs, std::vector<std::string>* notes) {
  std::vector<ModelPasskey> models;
  for (const ResultFile<results::Passkey>& file : inputs.files<results::Passkey>()) {
    ModelPasskey& model = entry_of(models, file.label);
    for (const results::PasskeyLength& length : file.result.lengths) {
      const int64_t tokens = rounded_tokens(length);
      if (std::erase_if(model.lengths, [&](const auto& other) { return rounded_tokens(other) == tokens; }) >
          0)
        note_repetition(notes, file.label, tokens, file.path);
      model.lengths.push_back(length);
    }
    std::sort(model.lengths.begin(), model.lengths.end(),
              [](const auto& a, const auto& b) { return a.mean_tokens < b.mean_tokens; });
  }
  sort_by_label(models, inputs);
  return models;
}

std::vector<int64_t> lengths_measured(const std::vector<ModelPasskey>& models) {
  std::set<int64_t> lengths;
  for (const ModelPasskey& model : models)
    for (const results::PasskeyLength& length : model.lengths) lengths.insert(rounded_tokens(length));
  return {lengths.begin(), lengths.end()};
}

std::vector<const AnswersFile*> shown_answers(const Inputs& inputs, std::vector<std::string>* notes) {
  std::vector<const AnswersFile*> shown;
  for (const AnswersFile& file : inputs.files<results::Answers>())
    add_or_replace(file, shown, "the same tasks", notes,
                   [](const auto& a, const auto& b) { return names_of_tasks(a) == names_of_tasks(b); });
  sort_files(shown, inputs);
  return shown;
}

std::vector<std::string> tasks_of(const std::vector<const AnswersFile*>& files) {
  std::vector<std::string> names;
  for (const AnswersFile* file : files)
    for (const results::AnswerTask& task : file->result.tasks)
      if (std::find(names.begin(), names.end(), task.task) == names.end()) names.push_back(task.task);
  return names;
}

const results::AnswerTask* find_task(const results::Answers& answers, const std::string& name) {
  for (const results::AnswerTask& task : answers.tasks)
    if (task.task == name) return &task;
  return nullptr;
}

std::vector<ScoreGroup> group_scores(const Inputs& inputs, std::vector<std::string>* notes) {
  std::vector<ScoreGroup> groups;
  for (const ScoreFile& file : inputs.files<results::Score>()) {
    auto group = std::find_if(groups.begin(), groups.end(),
                              [&](const ScoreGroup& other) { return other.ids == file.result.ids; });
    if (group == groups.end()) group = groups.insert(groups.end(), {file.result.ids, {}});
    add_or_replace(file, group->models, "the same text", notes,
                   [](const auto&, const auto&) { return true; });
  }
  for (ScoreGroup& group : groups) sort_files(group.models, inputs);
  return groups;
}

double perplexity_of(const ScoreFile& file) {
  return std::exp(-file.result.sum / static_cast<double>(file.result.num_scored()));
}

double early_loss(const results::TrainLog& log) {
  return mean_loss(log.steps, false);
}

double late_loss(const results::TrainLog& log) {
  return mean_loss(log.steps, true);
}

}  // namespace longlora::report
