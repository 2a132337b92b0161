#include "longlora/eval/open_data.h"

#include <gtest/gtest.h>

#include <fstream>

#include "longlora/core/error.h"
#include "tests/support/data_path.h"

namespace longlora::eval {
namespace {

generate::Runtime open(const std::string& name) {
  return generate::open_runtime(
      {.base_model = test::data_path(name), .peft_model = {}, .context_size = 0, .rope_scaling = {}});
}

TEST(OpenData, TokenizesTextWithTheTokenizerOfTheModel) {
  const auto model = open("stories260K_hf");
  const std::filesystem::path path = std::filesystem::path(testing::TempDir()) / "open_data_story.txt";
  std::ofstream(path) << "Once upon a time";
  const auto data = open_data({path}, test::data_path("stories260K_hf"), model);
  std::vector<int64_t> ids(static_cast<size_t>(data->size()));
  data->read(0, ids);
  std::filesystem::remove(path);
  ASSERT_GE(ids.size(), 2u);
  EXPECT_EQ(ids[0], 403);  // "Once", as expected_greedy_200.txt begins
  EXPECT_EQ(ids.back(), 2);
}

TEST(OpenData, RefusesIdsBeyondTheModelsVocabulary) {
  const auto model = open("goldens/tiny_models/mha_tied");
  EXPECT_THROW(open_data({test::data_path("goldens/evaluation/stories.bin")},
                         test::data_path("goldens/tiny_models/mha_tied"), model),
               InputError);
}

}  // namespace
}  // namespace longlora::eval
