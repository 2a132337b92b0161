// Models and adapters as other programs write them, scored by the program: log-probabilities of transformers
// and peft.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cctype>
#include <filesystem>

#include "longlora/core/error.h"
#include "longlora/core/file.h"
#include "longlora/core/json.h"
#include "tests/cli/in_process.h"
#include "tests/support/temporary_directory.h"

namespace longlora::test {
namespace {

namespace fs = std::filesystem;

// One folder below tests/data/goldens: a base, perhaps an adapter, and what is expected of them.
struct Case {
  fs::path folder;
  Json expected = read_json(folder / "expected.json");

  std::string base() const {
    return (folder / expected["base"].get<std::string>()).lexically_normal().string();
  }
  std::string adapter() const { return fs::exists(folder / "adapter") ? (folder / "adapter").string() : ""; }
};

// Folders that hold `part`.
std::vector<std::string> cases_with(const char* part) {
  std::vector<std::string> names;
  for (const char* set : {"lora_matrix", "random_models"})
    for (const auto& entry : fs::directory_iterator(data(std::string("goldens/") + set)))
      if (fs::exists(entry.path() / part))
        names.push_back(std::string(set) + "/" + entry.path().filename().string());
  std::sort(names.begin(), names.end());
  return names;
}

std::string ids_of(const Json& expected) {
  std::string words;
  for (const Json& id : expected["ids"]) {
    if (!words.empty()) words += ',';
    words += id.dump();
  }
  return words;
}

// What `score` writes. Beyond its window a model is computed as it is, as transformers does it.
std::vector<double> logprobs(const Words& model, const Json& expected) {
  const TemporaryDirectory folder;
  const Words words =
      with(with({"score"}, model), {"--ids", ids_of(expected), "--json", folder / "out.json"});
  try {
    run(words);
  } catch (const InputError& error) {
    if (std::string(error.what()).find("raise --context_size") == std::string::npos) throw;
    run(with(words, {"--context_size", std::to_string(expected["ids"].size()), "--rope_scaling", "none"}));
  }
  return read_json(folder / "out.json")["logprobs"].get<std::vector<double>>();
}

void expect_near(const std::vector<double>& found, const Case& reference) {
  const auto& expected = reference.expected["logprobs"].get<std::vector<double>>();
  EXPECT_THAT(found, testing::Pointwise(testing::DoubleNear(1e-4), expected)) << reference.expected["notes"];
}

class ReferenceModel : public testing::TestWithParam<std::string> {
 protected:
  const Case reference_{data("goldens/" + GetParam())};
};

TEST_P(ReferenceModel, HasTheLogProbabilitiesOfTransformersAndPeft) {
  Words model = {"--base_model", reference_.base()};
  if (!reference_.adapter().empty()) model = with(model, {"--peft_model", reference_.adapter()});
  expect_near(logprobs(model, reference_.expected), reference_);
}

class ReferenceAdapter : public ReferenceModel {};

TEST_P(ReferenceAdapter, MergesIntoAModelOfTheSameLogProbabilities) {
  const TemporaryDirectory folder;
  const Words words = {
      "merge", "--base_model", reference_.base(), "--peft_model", reference_.adapter(), "--lora_only",
      "True",  "--dtype",      "float32",         "--save_path",  folder / "merged"};
  if (!reference_.expected["merges"].get<bool>()) {  // peft cannot either: the base has no place for a bias
    EXPECT_THROW(run(words), InputError);
    return;
  }
  run(words);
  expect_near(logprobs({"--base_model", folder / "merged"}, reference_.expected), reference_);
}

std::string test_name(const testing::TestParamInfo<std::string>& info) {
  std::string name = info.param;
  std::replace_if(
      name.begin(), name.end(), [](char letter) { return std::isalnum(letter) == 0; }, '_');
  return name;
}

INSTANTIATE_TEST_SUITE_P(Goldens, ReferenceModel, testing::ValuesIn(cases_with("expected.json")), test_name);
INSTANTIATE_TEST_SUITE_P(Goldens, ReferenceAdapter, testing::ValuesIn(cases_with("adapter")), test_name);

}  // namespace
}  // namespace longlora::test
