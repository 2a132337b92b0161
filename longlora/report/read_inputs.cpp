#include <fmt/format.h>

#include <algorithm>

#include "longlora/core/error.h"
#include "longlora/core/file.h"
#include "longlora/core/format.h"
#include "longlora/report/inputs.h"
#include "longlora/results/training_result.h"

namespace longlora::report {
namespace {

std::string what_is_expected() {
  return "a run directory with train_log.jsonl, a train_log.jsonl, or a JSON result of " +
         list_result_verbs("`", "or");
}

[[noreturn]] void fail_unrecognised(const std::filesystem::path& path, const std::string& got) {
  throw InputError(
      fmt::format("[report input {}] expected {}, got {}", path.string(), what_is_expected(), got));
}

// The directory's own name, also for "runs/a/" and ".".
std::string folder_name(const std::filesystem::path& directory) {
  std::filesystem::path absolute = std::filesystem::absolute(directory).lexically_normal();
  if (!absolute.has_filename()) absolute = absolute.parent_path();
  return absolute.filename().string();
}

TrainingRun read_run(const std::filesystem::path& directory, const std::filesystem::path& log_path,
                     std::vector<std::string>& notes) {
  TrainingRun run;
  run.path = directory;
  run.label = folder_name(directory);
  run.log = results::TrainLog::parse(read_file(log_path), log_path.string());
  const std::filesystem::path config_path = directory / "run.json";
  if (std::filesystem::exists(config_path)) {
    run.config = read_json(config_path);
    if (!run.config.is_object()) {
      throw InputError(fmt::format("[{}] expected a JSON object with the run's options, got another value",
                                   config_path.string()));
    }
    const auto description = results::RunDescription::from_json(run.config, config_path.string());
    if (!description.label.empty()) run.label = description.label;
  } else {
    notes.push_back(
        fmt::format("{} has no run.json, so the options of that run are not known", directory.string()));
  }
  notes.insert(notes.end(), run.log.notes.begin(), run.log.notes.end());
  return run;
}

// Whether a text is a training log: its first line is a JSON object with a step.
bool looks_like_train_log(const std::string& text) {
  const Json first = Json::parse(text.substr(0, text.find('\n')), nullptr, /*allow_exceptions=*/false);
  return first.is_object() && first.contains("step") && !first.contains("verb");
}

void add_label(Inputs& inputs, const std::string& label) {
  if (std::find(inputs.labels.begin(), inputs.labels.end(), label) == inputs.labels.end())
    inputs.labels.push_back(label);
}

// Adds a run or a result to those of its kind, under the name that the user gave it, if any.
template <typename Item>
void add_item(Inputs& inputs, std::vector<Item>& items, Item item, const InputPath& input) {
  if (!input.label.empty()) item.label = input.label;
  add_label(inputs, item.label);
  items.push_back(std::move(item));
}

template <typename Result>
void add_result(const Json& json, const InputPath& input, Inputs& inputs) {
  auto result = Result::from_json(json, input.path.string());
  std::string name;
  if constexpr (requires { result.model; }) name = result.model.name();
  add_item(inputs, inputs.files<Result>(),
           {name.empty() ? input.path.stem().string() : name, std::move(result), input.path, json}, input);
}

void read_result_file(const InputPath& input, Inputs& inputs) {
  const std::string text = read_file(input.path);
  if (looks_like_train_log(text)) {
    const std::filesystem::path directory = std::filesystem::absolute(input.path).parent_path();
    add_item(inputs, inputs.runs, read_run(directory, input.path, inputs.notes), input);
    return;
  }
  const Json json = Json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (json.is_discarded()) {
    fail_unrecognised(input.path,
                      text.empty() ? "an empty file" : "a file that is not JSON, or is cut short");
  }
  const auto verb = json.is_object() ? json.find("verb") : json.end();
  if (verb == json.end() || !verb->is_string()) fail_unrecognised(input.path, "JSON without a \"verb\"");
  bool is_known = false;
  for_each_result_part([&](auto part) {
    using Result = typename decltype(part)::Result;
    if (*verb != Result::kVerb) return;
    add_result<Result>(json, input, inputs);
    is_known = true;
  });
  if (!is_known)
    fail_unrecognised(input.path, fmt::format("a result of `{}`", shorten(verb->get<std::string>(), 40)));
}

}  // namespace

size_t Inputs::label_index(const std::string& label) const {
  return static_cast<size_t>(std::find(labels.begin(), labels.end(), label) - labels.begin());
}

std::string list_result_verbs(const std::string& quote, const std::string& conjunction) {
  std::vector<std::string> verbs;
  for_each_result_part([&](auto part) { verbs.push_back(quote + decltype(part)::Result::kVerb + quote); });
  const std::string last = verbs.back();
  verbs.pop_back();
  return fmt::format("{} {} {}", fmt::join(verbs, ", "), conjunction, last);
}

Inputs read_inputs(const std::vector<InputPath>& paths) {
  if (paths.empty())
    throw InputError(fmt::format("[report] expected at least one input ({}), got none", what_is_expected()));
  Inputs inputs;
  for (const InputPath& input : paths) {
    std::error_code ignored;
    if (!std::filesystem::is_directory(input.path, ignored)) {
      read_result_file(input, inputs);
      continue;
    }
    const std::filesystem::path log_path = input.path / "train_log.jsonl";
    if (!std::filesystem::exists(log_path, ignored))
      fail_unrecognised(input.path, "a directory without train_log.jsonl");
    add_item(inputs, inputs.runs, read_run(input.path, log_path, inputs.notes), input);
  }
  return inputs;
}

}  // namespace longlora::report
