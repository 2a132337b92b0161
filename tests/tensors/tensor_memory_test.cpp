#include "longlora/tensors/tensor_memory.h"

#include <vector>

#include "tests/support/tensors.h"

namespace longlora::tensors {
namespace {

constexpr int64_t kMebibyte = int64_t{1} << 20;

// Every test of this file runs with the pool; the other tests of the program then do too.
class TensorMemoryPool : public ::testing::Test {
 protected:
  void SetUp() override {
    pool_tensor_memory();
    trim_tensor_memory();
  }
};

at::Tensor bytes(int64_t count) {
  return at::empty({count}, at::kByte);
}

TEST_F(TensorMemoryPool, HandsTheSameMemoryOutAgain) {
  at::Tensor first = bytes(5 * kMebibyte + 17);
  const void* place = first.data_ptr();
  EXPECT_EQ(reinterpret_cast<uintptr_t>(place) % (2 * kMebibyte), 0u);
  first.fill_(7);
  first.reset();
  EXPECT_GE(tensor_memory().kept_bytes, 5 * kMebibyte);
  const at::Tensor second = bytes(5 * kMebibyte);
  EXPECT_EQ(second.data_ptr(), place);
  EXPECT_EQ(tensor_memory().kept_bytes, 0);
  // Much less is not taken from a large block.
  EXPECT_NE(bytes(kMebibyte).data_ptr(), place);
}

TEST_F(TensorMemoryPool, NeverKeepsMoreThanWasOnceHeld) {
  const int64_t before = tensor_memory().most_bytes;
  for (int64_t size = 1; size <= 40; ++size) bytes(size * kMebibyte + 4096 * size).fill_(1);
  const TensorMemory counts = tensor_memory();
  EXPECT_LE(counts.held_bytes + counts.kept_bytes, std::max(before, counts.most_bytes) + 32 * kMebibyte);
  trim_tensor_memory();
  EXPECT_EQ(tensor_memory().kept_bytes, 0);
}

TEST_F(TensorMemoryPool, LaysSmallerTensorsSideBySideInLargePages) {
  std::vector<at::Tensor> tensors;
  for (int i = 0; i < 100; ++i) tensors.push_back(bytes(kMebibyte - 4096 * (i % 3)).fill_(i));
  // All but the first of a slab begin where another ends.
  int neighbours = 0;
  for (int i = 1; i < 100; ++i) {
    const auto before = reinterpret_cast<uintptr_t>(tensors[i - 1].data_ptr()) + tensors[i - 1].numel();
    neighbours += reinterpret_cast<uintptr_t>(tensors[i].data_ptr()) == before ? 1 : 0;
  }
  EXPECT_GE(neighbours, 90);
  // Every other one is let go, and memory is given back; the rest keeps its values.
  for (int i = 0; i < 100; i += 2) tensors[i].reset();
  trim_tensor_memory();
  for (int i = 1; i < 100; i += 2) EXPECT_TRUE(tensors[i].eq(i).all().item<bool>());
  const at::Tensor more = bytes(kMebibyte).fill_(3);
  tensors.clear();
  trim_tensor_memory();
  EXPECT_TRUE(more.eq(3).all().item<bool>());
}

TEST_F(TensorMemoryPool, LeavesSmallTensorsToMalloc) {
  const int64_t held = tensor_memory().held_bytes;
  const at::Tensor small = bytes(1000), none = bytes(0);
  EXPECT_EQ(tensor_memory().held_bytes, held);
  const at::Tensor large = bytes(kMebibyte);
  EXPECT_EQ(tensor_memory().held_bytes, held + kMebibyte);
}

TEST_F(TensorMemoryPool, KeepsTheValuesOfTensorsThatGrow) {
  at::Tensor x = at::arange(300000, at::kLong);
  x.resize_({900000});
  EXPECT_TRUE(at::equal(x.slice(0, 0, 300000), at::arange(300000, at::kLong)));
}

}  // namespace
}  // namespace longlora::tensors
