#include "longlora/inspect/expectations.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace longlora::inspect {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

FormCounts released() {
  return {.num_samples = 12000,
          .num_broken = 0,
          .num_long = 9000,
          .fields = {{"instruction", 12000}, {"output", 12000}},
          .unread = {}};
}

std::vector<bool> outcomes(const FormCounts& counts) {
  std::vector<bool> holds;
  for (const results::Expectation& each : check_longalpaca(counts)) holds.push_back(each.holds);
  return holds;
}

TEST(LongAlpaca, IsRecognised) {
  EXPECT_THAT(outcomes(released()), ElementsAre(true, true, true, true, true));
}

TEST(LongAlpaca, MayHaveFieldsThatAreNotRead) {
  FormCounts counts = released();
  counts.fields.push_back({"file", 9000});
  EXPECT_FALSE(outcomes(counts)[2]);
  counts.unread.push_back({"file", 9000});
  EXPECT_TRUE(outcomes(counts)[2]);
  EXPECT_THAT(check_longalpaca(counts)[2].found, HasSubstr("file in 9,000 (not read)"));
}

TEST(LongAlpaca, IsNotWhatLacksSamplesOrFields) {
  FormCounts counts = released();
  counts.num_samples = 11999;
  EXPECT_THAT(outcomes(counts), ElementsAre(false, true, false, true, true));
  EXPECT_EQ(check_longalpaca(counts)[0].found, "11,999 samples");
  counts = released();
  counts.num_long = 6000;
  EXPECT_THAT(outcomes(counts), ElementsAre(true, true, true, false, false));
  counts = released();
  counts.num_broken = 1;
  EXPECT_THAT(outcomes(counts), ElementsAre(true, false, true, true, true));
}

}  // namespace
}  // namespace longlora::inspect
