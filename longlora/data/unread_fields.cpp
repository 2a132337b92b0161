#include "longlora/data/unread_fields.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <set>

#include "longlora/core/format.h"
#include "longlora/core/log.h"
#include "longlora/core/utf8.h"

namespace longlora::data {

namespace {

constexpr size_t kNamesKept = 1000, kNamesShown = 12, kNameShown = 40;
constexpr const char* kOthers = "(others)";

// Names under which questions, answers and flags about learning are known elsewhere.
const std::set<std::string> kMeaningfulNames = {
    // clang-format off
    "answer", "answers", "chosen", "completion", "content", "context", "conversation", "conversations",
    "demonstrations", "dialog", "dialogue", "document", "documents", "examples", "explanation", "few_shot",
    "history", "input", "input_ids", "instruction", "labels", "loss", "loss_mask", "mask", "mask_history",
    "messages", "meta_instruction", "output", "passage", "persona", "preferred_output", "prefix", "prompt",
    "query", "question", "rationale", "reasoning", "reasoning_content", "reference", "references",
    "rejected", "rejected_messages", "rejected_response", "response", "responses", "solution", "system",
    "target", "targets", "thinking", "thought", "thoughts", "train", "train_on_input", "train_on_inputs",
    "turns", "value", "weight"
    // clang-format on
};

bool sounds_meaningful(const std::string& name) {
  const size_t dot = name.rfind('.');
  return kMeaningfulNames.contains(dot == std::string::npos ? name : name.substr(dot + 1));
}

}  // namespace

void UnreadFields::add(const std::string& name, int64_t num_samples) {
  const bool is_full = counts_.size() >= kNamesKept && !counts_.contains(name);
  counts_[is_full ? kOthers : name] += num_samples;
}

void UnreadFields::add(const std::vector<std::string>& names) {
  for (const std::string& name : names) add(name, 1);
}

void UnreadFields::add(const UnreadFields& others) {
  for (const auto& [name, count] : others.counts_) add(name, count);
}

void UnreadFields::log(const std::string& source) const {
  if (counts_.empty()) return;
  std::vector<std::pair<std::string, int64_t>> sorted(counts_.begin(), counts_.end());
  std::stable_sort(sorted.begin(), sorted.end(),
                   [](const auto& a, const auto& b) { return a.second > b.second; });
  std::vector<std::string> shown, meaningful;
  for (const auto& [name, count] : sorted) {
    std::string short_name = replace_invalid_utf8(name.substr(0, kNameShown));
    std::replace_if(
        short_name.begin(), short_name.end(), [](char c) { return c >= 0 && c < ' '; }, '?');
    if (shown.size() < kNamesShown) shown.push_back(fmt::format("{} ({})", short_name, format_count(count)));
    if (sounds_meaningful(name) && meaningful.size() < kNamesShown) meaningful.push_back(short_name);
  }
  const std::string rest =
      sorted.size() > shown.size() ? fmt::format(" and {} more", sorted.size() - shown.size()) : "";
  std::string line = fmt::format("{}: fields that were not read, with the number of samples: {}{}", source,
                                 fmt::join(shown, ", "), rest);
  if (meaningful.empty()) return log_info(line);
  log_warning(
      fmt::format("{}; {} sounds as if it belonged to what is to be learned: docs/sft.md says what is read",
                  line, fmt::join(meaningful, ", ")));
}

}  // namespace longlora::data
