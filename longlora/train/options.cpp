#include "longlora/train/options.h"

#include <ATen/Parallel.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <optional>
#include <type_traits>
#include <utility>

#include "longlora/core/error.h"
#include "longlora/ops/attention_plan.h"

namespace longlora::train {
namespace {

// Writes the fields of a given kind into a JSON object. kInRecord stands for those of kInIdentity, too.
class RecordWriter {
 public:
  explicit RecordWriter(Kept least) : least_(least) {}

  Json take() { return std::move(json_); }

  template <typename Value>
  void add(const std::string& flag, const Value& value, const char* /*help*/, const FieldRule& rule = {}) {
    record(flag.substr(2), value, rule.kept);
  }

  template <typename Value>
  void choice(const std::string& flag, const Value& value, const Choices<Value>& choices,
              const char* /*help*/, const FieldRule& rule = {}) {
    for (const auto& [name, choice] : choices)
      if (choice == value) return record(flag.substr(2), name, rule.kept);
  }

  template <typename Value>
  void record(const std::string& key, const Value& value, Kept kept) {
    if (kept < least_) return;
    if constexpr (std::is_invocable_v<const Value&>)
      write(key, value());
    else
      write(key, value);
  }

  template <typename... Got>
  void check(bool /*holds*/, const char* /*problem*/, const Got&... /*got*/) {}

 private:
  template <typename Value>
  void write(const std::string& key, const Value& value) {
    json_[key] = value;
  }
  // A value that was not given is left out.
  template <typename Value>
  void write(const std::string& key, const std::optional<Value>& value) {
    if (value) json_[key] = *value;
  }
  void write(const std::string& key, const std::filesystem::path& path) { json_[key] = path.string(); }
  void write(const std::string& key, const std::vector<std::filesystem::path>& paths) {
    json_[key] = Json::array();
    for (const auto& path : paths) json_[key].push_back(path.string());
  }
  void write(const std::string& key, const std::optional<ops::Nf4Options>& quantize) {
    json_[key] = nullptr;
    if (quantize)
      json_[key] = {
          {"type", "nf4"}, {"block_size", quantize->block_size}, {"double_quant", quantize->double_quant}};
  }

  Kept least_;
  Json json_ = Json::object();
};

// Collects the messages of checks that fail.
class ProblemList {
 public:
  std::vector<std::string> take() { return std::move(problems_); }

  template <typename Value>
  void add(const char*, const Value&, const char*, const FieldRule& = {}) {}
  template <typename Value>
  void choice(const char*, const Value&, const Choices<Value>&, const char*, const FieldRule& = {}) {}
  template <typename Value>
  void record(const char*, const Value&, Kept) {}

  template <typename... Got>
  void check(bool holds, const char* problem, const Got&... got) {
    if (!holds) problems_.push_back(fmt::format(fmt::runtime(problem), got...));
  }

 private:
  std::vector<std::string> problems_;
};

}  // namespace

std::vector<std::string> TrainOptions::problems() const {
  ProblemList problems;
  list_fields(*this, problems);
  return problems.take();
}

Json TrainOptions::to_json() const {
  RecordWriter record(Kept::kInRecord);
  list_fields(*this, record);
  record.record("threads", at::get_num_threads(), Kept::kInRecord);
  return record.take();
}

Json TrainOptions::identity() const {
  RecordWriter record(Kept::kInIdentity);
  list_fields(*this, record);
  return record.take();
}

int64_t ContextOptions::group_for(int64_t document_tokens) const {
  if (attention == AttentionKind::kFull) return 0;
  if (reference_sft_groups)
    return document_tokens % 4096 == 0 ? std::max<int64_t>(1, document_tokens / 4) : 8192;
  return group_size > 0 ? group_size : ops::group_tokens_for_ratio(model_max_length, group_size_ratio);
}

int64_t StepOptions::warmup_updates(int64_t num_updates) const {
  return warmup_ratio > 0.0 ? static_cast<int64_t>(std::ceil(static_cast<double>(num_updates) * warmup_ratio))
                            : warmup_steps;
}

PlanRequest TrainOptions::plan_request() const {
  ops::SegmentPlanOptions row;
  row.row_tokens = model_max_length;
  row.group_tokens = group_tokens();
  const ops::AttentionPlan plan = ops::make_segment_plan(row);
  PlanRequest request;
  request.batch_tokens = per_device_train_batch_size * model_max_length;
  request.row_tokens = model_max_length;
  request.update_tokens = update_tokens();
  request.longest_segment_tokens = longest_segment(plan);
  if (reference_sft_groups)  // documents may have any length
    request.longest_segment_tokens = std::max(
        {request.longest_segment_tokens, std::min<int64_t>(8192, model_max_length), model_max_length / 4});
  if (full_attention_steps > 0) request.longest_segment_tokens = model_max_length;
  request.seen_tokens = mean_seen_tokens(plan);
  request.embedding_noise = neftune_noise_alpha > 0.0;
  request.dropout = lora.dropout > 0.0;
  request.moments_in_8_bits = adamw.moments_in_8_bits;
  request.weight_decay = adamw.weight_decay > 0.0;
  request.recompute = recompute;
  request.disk = device.is_cpu();
  request.on_gpu = !device.is_cpu();
  request.num_threads = at::get_num_threads();
  return request;
}

void validate(const TrainOptions& options) {
  const auto problems = options.problems();
  if (problems.empty()) return;
  throw UsageError(fmt::format("{}", fmt::join(problems, "\n  ")));
}

}  // namespace longlora::train
