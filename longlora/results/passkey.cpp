#include "longlora/results/passkey.h"

#include <fmt/format.h>

#include <algorithm>

#include "longlora/core/file.h"
#include "longlora/results/fields.h"

namespace longlora::results {
namespace {

constexpr const char* kCsvHeader = "target_tokens,garbage_chars,tokens,accuracy,trials,skipped\n";

}  // namespace

void PasskeyLength::add(PasskeyTrial trial) {
  trials.push_back(std::move(trial));
  double tokens = 0.0, correct = 0.0;
  for (const PasskeyTrial& other : trials) {
    tokens += static_cast<double>(other.tokens);
    correct += other.correct ? 1.0 : 0.0;
  }
  mean_tokens = tokens / static_cast<double>(trials.size());
  accuracy = correct / static_cast<double>(trials.size());
}

Json Passkey::to_json() const {
  return write_fields(*this);
}

bool Passkey::is_csv(const std::filesystem::path& file) {
  return read_file(file).starts_with(kCsvHeader);
}

std::string Passkey::to_csv() const {
  std::string text = kCsvHeader;
  for (const PasskeyLength& length : lengths)
    text += fmt::format("{},{},{:.1f},{:.4f},{},{}\n", length.target_tokens, length.garbage_chars,
                        length.mean_tokens, length.accuracy, length.trials.size(), length.num_skipped);
  return text;
}

Passkey Passkey::from_json(const Json& json, const std::string& where) {
  auto result = read_fields<Passkey>(json, where);
  std::stable_sort(result.lengths.begin(), result.lengths.end(),
                   [](const auto& a, const auto& b) { return a.mean_tokens < b.mean_tokens; });
  return result;
}

}  // namespace longlora::results
