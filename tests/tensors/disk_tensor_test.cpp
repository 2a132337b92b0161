#include "longlora/tensors/disk_tensor.h"

#include "longlora/core/error.h"
#include "longlora/core/file.h"
#include "longlora/core/memory.h"
#include "tests/support/temporary_directory.h"
#include "tests/support/tensors.h"

namespace longlora::tensors {
namespace {

constexpr int64_t kMebibyte = int64_t{1} << 20;

TEST(DiskTensor, KeepsWhatIsReleasedAndTakesNoMemoryForIt) {
  const test::TemporaryDirectory folder;
  const int64_t elements = 24 * kMebibyte;
  at::Tensor x = zeros_on_disk({elements / 1024, 1024}, at::kFloat, folder.path());
  EXPECT_TRUE(is_on_disk(x));
  EXPECT_TRUE(is_on_disk(x.slice(0, 5, 7)));
  EXPECT_TRUE(list_directory(folder.path()).empty());
  EXPECT_EQ(x[77].abs().sum().item<float>(), 0.0f);
  const int64_t before = current_rss_bytes();
  x.fill_(3.0f);
  const int64_t filled = current_rss_bytes();
  release_elements(x, 0, elements / 2);
  const int64_t half = current_rss_bytes();
  release(x.slice(0, elements / 2048));
  const int64_t after = current_rss_bytes();
  EXPECT_GT(filled - before, 80 * kMebibyte);
  EXPECT_LT(half - before, 60 * kMebibyte);
  EXPECT_GT(half - before, 30 * kMebibyte);
  EXPECT_LT(after - before, 16 * kMebibyte);
  EXPECT_TRUE(x.eq(3.0f).all().item<bool>());
}

TEST(DiskTensor, CopiesAndSelectsAsATensorInMemory) {
  const test::TemporaryDirectory folder;
  const at::Tensor source = test::random_tensor({9000, 300}, 3);  // of more elements than a piece has
  ASSERT_GT(source.numel(), kDiskPieceElements);
  for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16}) {
    const at::Tensor x = zeros_on_disk(source.sizes(), dtype, folder.path());
    copy_by_pieces(x, source);
    EXPECT_TRUE(at::equal(x, source.to(dtype)));
    at::Tensor back = at::empty_like(source);
    copy_by_pieces(back, x);
    EXPECT_TRUE(at::equal(back, source.to(dtype).to(at::kFloat)));
    const at::Tensor rows = test::random_ids({700}, 9000, 4);
    EXPECT_TRUE(at::equal(select_rows(x, rows), source.to(dtype).index_select(0, rows)));
  }
  EXPECT_FALSE(is_on_disk(source));
  EXPECT_FALSE(is_on_disk(at::Tensor()));
  release(source);
  EXPECT_TRUE(at::equal(source, test::random_tensor({9000, 300}, 3)));
}

TEST(DiskTensor, SaysWhereThereIsNoRoom) {
  const test::TemporaryDirectory folder;
  EXPECT_THAT(test::message_of<ResourceError>([&] {
                zeros_on_disk({int64_t{1} << 40, 1024}, at::kFloat, folder.path());
              }),
              ::testing::HasSubstr("scratch space"));
}

}  // namespace
}  // namespace longlora::tensors
