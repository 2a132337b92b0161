#include "longlora/tensors/device.h"

#include <gtest/gtest.h>

#include "longlora/core/error.h"

namespace longlora::tensors {
namespace {

TEST(Device, OpensTheCpuAndKnowsItsMemory) {
  const OpenedDevice opened = open_device("cpu");
  EXPECT_TRUE(opened.device.is_cpu());
  EXPECT_FALSE(opened.gpu.has_value());
  EXPECT_TRUE(opened.passed_over.empty());
  EXPECT_GT(free_memory_bytes(opened.device), 0);
  EXPECT_GT(peak_memory_bytes(opened.device), 0);
}

TEST(Device, RefusesOtherTexts) {
  EXPECT_THROW(open_device("tpu"), UsageError);
}

}  // namespace
}  // namespace longlora::tensors
