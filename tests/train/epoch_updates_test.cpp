#include "longlora/train/epoch_updates.h"

#include <algorithm>

#include "longlora/core/error.h"
#include "longlora/train/schedule.h"
#include "tests/train/support.h"

namespace longlora::train {
namespace {

using test::message_of;
using ::testing::HasSubstr;

EpochUpdates updates_of(const Json& run) {
  return EpochUpdates({run["num_rows"], run["batch"], run["accumulation"], run["drop_last"]});
}

// transformers' Trainer went through these rows (scripts/references/epoch_updates.py).
TEST(EpochUpdates, TakeTheRowsThatTransformersTakes) {
  const Json measured = read_json(test::data_path("goldens/training/uneven/updates.json"));
  for (const Json& run : measured["cases"]) {
    SCOPED_TRACE(run.dump());
    const EpochUpdates updates = updates_of(run);
    const int64_t num_updates = run.contains("max_steps") ? run["max_steps"].get<int64_t>()
                                                          : updates.updates_in(run["num_train_epochs"]);
    ASSERT_EQ(num_updates, static_cast<int64_t>(run["updates"].size()));
    const Schedule schedule{ScheduleType::kLinear, measured["peak"], measured["warmup_steps"], num_updates};
    for (int64_t i = 0; i < num_updates; ++i) {
      const Json& update = run["updates"][static_cast<size_t>(i)];
      const int64_t epoch_start = i / updates.updates_per_epoch() * run["num_rows"].get<int64_t>();
      EXPECT_EQ(updates.rows_of(i).begin - epoch_start, update[0].get<int64_t>());
      EXPECT_EQ(updates.rows_of(i).end - epoch_start, update[1].get<int64_t>());
      EXPECT_NEAR(schedule.learning_rate(i), update[2].get<double>(), 1e-12);
      EXPECT_NEAR(updates.epochs_after(i + 1), update[3].get<double>(), 1e-12);
    }
  }
}

TEST(EpochUpdates, GoThroughEveryRowOnceInEveryEpoch) {
  const EpochUpdates updates({.num_rows = 10, .rows_per_batch = 3, .batches_per_update = 2});
  EXPECT_EQ(updates.updates_per_epoch(), 2);
  int64_t next = 0;
  for (int64_t i = 0; i < 6; ++i) {
    EXPECT_EQ(updates.rows_of(i).begin, next);
    next = updates.rows_of(i).end;
  }
  EXPECT_EQ(next, 30);
}

TEST(EpochUpdates, SayHowManyRowsTheyTakeAndLeaveOut) {
  const EpochUpdates updates(
      {.num_rows = 13, .rows_per_batch = 2, .batches_per_update = 3, .drop_last_batch = true});
  EXPECT_EQ(updates.rows_of_full_update(), 6);
  EXPECT_EQ(updates.rows_of_last_update(), 6);
  EXPECT_EQ(updates.dropped_rows(), 1);
  EXPECT_EQ(updates.rows_of(2).begin, 13);  // the thirteenth row is passed over
}

TEST(EpochUpdates, RefuseADataSetThatFillsNoBatchWhereTheLastIsDropped) {
  EXPECT_THAT(
      message_of<UsageError>([] {
        EpochUpdates({.num_rows = 3, .rows_per_batch = 4, .batches_per_update = 1, .drop_last_batch = true});
      }),
      HasSubstr("[--dataloader_drop_last] expected at least one batch of --per_device_train_batch_size 4, "
                "got 3 rows"));
}

TEST(Schedule, KnowsItsHighestRate) {
  EXPECT_EQ((Schedule{ScheduleType::kLinear, 2.0, 4, 10}.highest_learning_rate()), 2.0);
  EXPECT_EQ((Schedule{ScheduleType::kCosine, 2.0, 4, 3}.highest_learning_rate()), 1.0);
  EXPECT_EQ((Schedule{ScheduleType::kConstantWithWarmup, 2.0, 4, 1}.highest_learning_rate()), 0.0);
  EXPECT_EQ((Schedule{ScheduleType::kLinear, 2.0, 0, 1}.highest_learning_rate()), 2.0);
}

}  // namespace
}  // namespace longlora::train
