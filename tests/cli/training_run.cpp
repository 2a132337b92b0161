#include "tests/cli/training_run.h"

#include <gtest/gtest.h>

#include <sstream>

#include "longlora/core/json.h"

namespace longlora::test {
namespace {

std::string without(const std::string& text, std::initializer_list<const char*> keys) {
  Json json = Json::parse(text);
  for (const char* key : keys) json.erase(key);
  return json.dump();
}

// The fingerprint of a file that tells the time differs, too.
std::string manifest_without_times(const std::string& text) {
  Json json = Json::parse(text);
  json["files"].erase("trainer_state.json");
  if (json.contains("notes")) json["notes"]["finished"].erase("seconds");
  return json.dump();
}

// Questions of different lengths, and answers too.
void write_samples(const std::filesystem::path& path, int count) {
  Json samples = Json::array();
  for (int i = 0; i < count; ++i) {
    std::string question = "Tell me a story.", answer = "Once upon a time";
    for (int k = 0; k < i * 7 % 13; ++k) question += " There was a little dog named Tim.";
    for (int k = 0; k < i % 4; ++k) answer += " the end";
    samples.push_back({{"instruction", question}, {"output", answer}});
  }
  write_json(path, samples);
}

std::string log_without_times(const std::string& text) {
  std::istringstream lines(text);
  std::string result;
  for (std::string line; std::getline(lines, line);)
    result += without(line, {"seconds", "tokens_per_second", "peak_memory_bytes"}) + "\n";
  return result;
}

}  // namespace

const Words kLoraPlusRun = {"--group_size", "64", "--max_steps",        "4", "--save_steps", "1",
                            "--eval_steps", "2",  "--save_total_limit", "2"};
const Words kSftRun = {"--group_size",
                       "32",
                       "--max_steps",
                       "6",
                       "--save_steps",
                       "1",
                       "--eval_steps",
                       "3",
                       "--save_total_limit",
                       "2",
                       "--gradient_accumulation_steps",
                       "2",
                       "--order",
                       "length",
                       "--neftune_noise_alpha",
                       "5"};
const Words kFullRun = {"--low_rank_training",
                        "False",
                        "--attention",
                        "full",
                        "--fp32",
                        "True",
                        "--gradient_accumulation_steps",
                        "2",
                        "--weight_decay",
                        "0.1",
                        "--max_steps",
                        "4",
                        "--save_steps",
                        "1",
                        "--save_total_limit",
                        "2"};
const Words kLongRun = {"--group_size", "64", "--max_steps", "60", "--save_steps", "0", "--eval_steps", "20"};

TrainingRun::TrainingRun(Words kind, std::string verb) : kind_(std::move(kind)), verb_(std::move(verb)) {
  if (verb_ == "sft") {
    write_samples(folder_ / "train.json", 40);
    write_samples(folder_ / "heldout.json", 5);
    return;
  }
  write_ids(folder_ / "train.bin", 256 * 12, 512, 1);
  write_ids(folder_ / "heldout.bin", 256 * 2, 512, 2);
}

Words TrainingRun::words(const std::filesystem::path& output_dir) const {
  const std::string extension = verb_ == "sft" ? ".json" : ".bin";
  const Words run = {verb_,
                     "--model_name_or_path",
                     data("stories260K_hf"),
                     "--data_path",
                     folder_ / ("train" + extension),
                     "--eval_data_path",
                     folder_ / ("heldout" + extension),
                     "--output_dir",
                     output_dir,
                     "--model_max_length",
                     "256",
                     "--learning_rate",
                     "1e-3",
                     "--warmup_steps",
                     "1",
                     "--resume",
                     "True"};
  return with(run, kind_);
}

std::map<std::string, std::string> TrainingRun::result_of(const std::filesystem::path& output_dir) {
  std::map<std::string, std::string> result;
  for (const auto& [name, bytes] : contents(output_dir)) {
    if (name.starts_with("runs/") || name == "run.json") continue;
    if (name.ends_with(".longlora.json"))
      result[name] = manifest_without_times(bytes);
    else if (name.ends_with("trainer_state.json"))
      result[name] = without(bytes, {"seconds"});
    else if (name == "train_log.jsonl")
      result[name] = log_without_times(bytes);
    else
      result[name] = bytes;
  }
  return result;
}

void TrainingRun::expect_same_result(const std::filesystem::path& expected,
                                     const std::filesystem::path& actual) {
  const auto left = result_of(expected), right = result_of(actual);
  for (const auto& [name, bytes] : left) {
    const auto found = right.find(name);
    if (found == right.end())
      ADD_FAILURE() << name << " is missing";
    else
      EXPECT_TRUE(found->second == bytes) << name << " differs";
  }
  for (const auto& [name, bytes] : right) EXPECT_TRUE(left.count(name)) << name << " is left over";
  EXPECT_GE(left.size(), 5u);
}

}  // namespace longlora::test
