// A short training run of a real tiny model, for tests that interrupt it.
#pragma once

#include <filesystem>
#include <map>
#include <string>

#include "tests/cli/process.h"

namespace longlora::test {

/// Data and flags of a run: stories260K, rows of 256 tokens. Everything it leaves is a function of these.
class TrainingRun {
 public:
  explicit TrainingRun(Words kind, std::string verb = "fine-tune");

  /// The command line of a run into `output_dir`, which goes on where there is a checkpoint.
  Words words(const std::filesystem::path& output_dir) const;
  std::filesystem::path operator/(const std::string& name) const { return folder_ / name; }

  /// All that a run left, by name, without what tells the time; each log without times.
  static std::map<std::string, std::string> result_of(const std::filesystem::path& output_dir);
  /// Fails when two runs left different things, and names those.
  static void expect_same_result(const std::filesystem::path& expected, const std::filesystem::path& actual);

 private:
  TemporaryDirectory folder_;
  Words kind_;
  std::string verb_;
};

/// LoRA+ under S² attention in bfloat16: four steps, each saved, two of them evaluated.
extern const Words kLoraPlusRun;
/// Questions and answers of different lengths, packed (`sft`): six steps of two batches, each saved.
extern const Words kSftRun;
/// Every weight in float32 under full attention: the same steps, two batches in each.
extern const Words kFullRun;
/// As kLoraPlusRun, so long that it can be stopped on the way; saved at the end alone.
extern const Words kLongRun;

}  // namespace longlora::test
