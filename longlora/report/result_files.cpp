#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "longlora/report/inputs.h"
#include "longlora/report/json_fields.h"
#include "longlora/report/text.h"

namespace longlora::report {
namespace {

PerplexityPoint parse_point(const JsonFields& fields) {
  PerplexityPoint point;
  point.seq_len_tokens = fields.count("seq_len", 1);
  point.loss = fields.number("val_loss");
  point.perplexity = fields.has("val_perplexity") ? fields.number("val_perplexity") : std::exp(point.loss);
  if (point.perplexity <= 0) {
    fields.fail("a positive number under \"val_perplexity\"", format_short(point.perplexity));
  }
  point.accuracy = fields.number_or_nan("val_acc");
  point.num_windows = fields.count_or_unknown("windows");
  return point;
}

PasskeyLength parse_length(const JsonFields& fields) {
  PasskeyLength length;
  length.tokens = fields.number("tokens");
  if (!(length.tokens > 0)) {
    fields.fail("a positive number under \"tokens\"", format_short(length.tokens));
  }
  length.accuracy = fields.fraction("accuracy");
  if (fields.has("trials")) {
    for (const JsonFields& trial : fields.objects("trials")) {
      length.trials.push_back({trial.fraction("depth"), trial.boolean("correct")});
    }
  }
  return length;
}

/// The name that people gave the result, else that of its model, else that of its file.
std::string label_of(const JsonFields& fields, const std::filesystem::path& path) {
  if (const std::string label = fields.text_or_empty("label"); !label.empty()) {
    return label;
  }
  for (const char* key : {"peft_model", "model", "base_model"}) {
    const std::filesystem::path model = fields.text_or_empty(key);
    const std::filesystem::path name =
        model.has_filename() ? model.filename() : model.parent_path().filename();
    if (!name.empty()) {
      return name.string();
    }
  }
  return path.stem().string();
}

}  // namespace

PerplexityResult parse_perplexity(const Json& json, const std::filesystem::path& path) {
  const JsonFields fields(json, path.string());
  PerplexityResult result;
  result.label = label_of(fields, path);
  result.window = fields.text_or_empty("window");
  result.data = fields.text_or_empty("data");
  result.path = path;
  result.source = json;
  if (fields.has("results")) {
    for (const JsonFields& point : fields.objects("results")) {
      result.points.push_back(parse_point(point));
    }
  } else {
    result.points.push_back(parse_point(fields));
  }
  std::stable_sort(result.points.begin(), result.points.end(),
                   [](const auto& a, const auto& b) { return a.seq_len_tokens < b.seq_len_tokens; });
  return result;
}

PasskeyResult parse_passkey(const Json& json, const std::filesystem::path& path) {
  const JsonFields fields(json, path.string());
  PasskeyResult result;
  result.label = label_of(fields, path);
  result.path = path;
  result.source = json;
  for (const JsonFields& length : fields.objects("results")) {
    result.lengths.push_back(parse_length(length));
  }
  std::stable_sort(result.lengths.begin(), result.lengths.end(),
                   [](const auto& a, const auto& b) { return a.tokens < b.tokens; });
  return result;
}

AnswerResult parse_answers(const Json& json, const std::filesystem::path& path) {
  const JsonFields fields(json, path.string());
  AnswerResult result;
  result.label = label_of(fields, path);
  result.num_skipped = fields.count_or_unknown("skipped");
  result.path = path;
  result.source = json;
  for (const JsonFields& task : fields.objects("results")) {
    const std::string name = task.text_or_empty("task");
    if (name.empty()) {
      task.fail("the name of a task under \"task\"", "none");
    }
    result.tasks.push_back({name, task.count("questions", 1), task.fraction("exact")});
  }
  return result;
}

ScoreResult parse_score(const Json& json, const std::filesystem::path& path) {
  const JsonFields fields(json, path.string());
  ScoreResult result;
  result.label = label_of(fields, path);
  const auto ids = json.find("ids");
  if (ids == json.end() || !ids->is_array() || ids->size() < 2) {
    fields.fail("a list of at least two ids under \"ids\"", ids == json.end() ? "none" : "another value");
  }
  result.ids = *ids;
  result.num_scored = static_cast<int64_t>(ids->size()) - 1;
  result.sum = fields.number("sum");
  result.path = path;
  result.source = json;
  return result;
}

}  // namespace longlora::report
