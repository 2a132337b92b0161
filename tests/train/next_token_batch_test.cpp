#include <gmock/gmock.h>

#include "longlora/core/error.h"
#include "longlora/ops/cross_entropy.h"
#include "longlora/train/batch.h"

namespace longlora::train {
namespace {

using ::testing::ElementsAre;

std::vector<int64_t> as_vector(const at::Tensor& x) {
  return {x.const_data_ptr<int64_t>(), x.const_data_ptr<int64_t>() + x.numel()};
}

TEST(NextTokenBatch, LabelsEachTokenWithTheNextOfItsRow) {
  const at::Tensor ids = at::arange(10, 18).view({2, 4});
  const Batch batch = make_next_token_batch(ids, 0);
  EXPECT_THAT(as_vector(batch.ids), ElementsAre(10, 11, 12, 13, 14, 15, 16, 17));
  EXPECT_THAT(as_vector(batch.labels),
              ElementsAre(11, 12, 13, ops::kIgnoreLabel, 15, 16, 17, ops::kIgnoreLabel));
  EXPECT_THAT(as_vector(batch.positions), ElementsAre(0, 1, 2, 3, 0, 1, 2, 3));
  EXPECT_THAT(batch.plan.bounds[0], ElementsAre(0, 4, 8));
  EXPECT_THROW(make_next_token_batch(at::arange(4), 0), Error);
}

}  // namespace
}  // namespace longlora::train
