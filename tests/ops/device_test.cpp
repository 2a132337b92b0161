#include "longlora/ops/device.h"

#include <gtest/gtest.h>

#include "longlora/core/error.h"
#include "longlora/ops/attention_backend.h"

namespace longlora::ops {
namespace {

TEST(OpenDevice, OpensTheCpuAndRefusesWrongFlags) {
  EXPECT_TRUE(open_device({.device = "cpu"}).is_cpu());
  EXPECT_THROW(open_device({.device = "tpu"}), UsageError);
  EXPECT_THROW(open_device({.device = "cpu", .attention_backend = "fast"}), UsageError);
}

TEST(AttentionBackend, FlashTakesWhatItsKernelsTake) {
  const tensors::Gpu hopper = {0, "H", 0, 9, 0}, ampere = {0, "A", 0, 8, 6}, turing = {0, "T", 0, 7, 5};
  set_attention_backend(AttentionBackend::kAuto, hopper);
  EXPECT_TRUE(flash_takes(true, 128, true));
  EXPECT_TRUE(flash_takes(true, 256, true));
  EXPECT_FALSE(flash_takes(false, 128, true));  // float32
  EXPECT_FALSE(flash_takes(true, 20, true));
  EXPECT_FALSE(flash_takes(true, 264, true));
  set_attention_backend(AttentionBackend::kFlash, ampere);
  EXPECT_TRUE(flash_takes(true, 256, false));
  EXPECT_FALSE(flash_takes(true, 256, true));
  set_attention_backend(AttentionBackend::kAuto, turing);
  EXPECT_FALSE(flash_takes(true, 128, true));
  set_attention_backend(AttentionBackend::kMath, hopper);
  EXPECT_FALSE(flash_takes(true, 128, true));
  // The self-test cannot pass without a GPU: flash stays.
  set_attention_backend(AttentionBackend::kCudnn, hopper);
  EXPECT_TRUE(flash_takes(true, 128, true));
  set_attention_backend(AttentionBackend::kAuto, {});  // as other tests expect libtorch to be set up
}

}  // namespace
}  // namespace longlora::ops
