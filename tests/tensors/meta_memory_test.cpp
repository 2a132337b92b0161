#include "longlora/tensors/meta_memory.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "longlora/core/error.h"
#include "tests/support/counting_allocator.h"

namespace longlora::tensors {
namespace {

at::TensorOptions on(at::Device device) {
  return at::TensorOptions(at::kFloat).device(device);
}

// A few products and sums, of which some results are let go.
at::Tensor computed(at::Device device) {
  const at::Tensor x = at::empty({100, 30}, on(device));
  at::Tensor y = at::empty({30, 50}, on(device));
  y = at::mm(x, y).add_(1.0);
  return at::cat({y, y}, 1).sum({0});
}

TEST(MetaMemory, CountsWhatTheSameTensorsWithValuesHold) {
  auto& allocator = test::CountingAllocator::instance();
  allocator.reset();
  const at::Tensor real = computed(at::kCPU);
  const MetaMemory memory;
  const at::Tensor shape = computed(at::kMeta);
  EXPECT_EQ(memory.most_bytes(), allocator.peak_bytes());
  EXPECT_EQ(memory.held_bytes(), allocator.held_bytes());
  EXPECT_EQ(memory.held_bytes(), 100 * 4);
}

TEST(MetaMemory, CountsFromItsOwnStartToItsEnd) {
  at::Tensor before = at::empty({1000}, on(at::kMeta)), outlives;
  {
    MetaMemory memory;
    before.reset();
    EXPECT_EQ(memory.held_bytes(), 0);
    at::empty({50}, on(at::kMeta));
    EXPECT_EQ(memory.most_bytes(), 200);
    outlives = at::empty({10}, on(at::kMeta));
    memory.reset_most();
    EXPECT_EQ(memory.most_bytes(), 40);
    EXPECT_THROW(MetaMemory(), Error);
  }
  const MetaMemory memory;
  outlives.reset();
  EXPECT_EQ(memory.held_bytes(), 0);
}

}  // namespace
}  // namespace longlora::tensors
