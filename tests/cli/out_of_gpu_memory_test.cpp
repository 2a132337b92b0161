#include "longlora/cli/out_of_gpu_memory.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace longlora::cli {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

TEST(OutOfMemory, SaysWhatWasAskedWhatWasFreeAndWhatToDo) {
  const std::string text = describe_out_of_memory(
      "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 79.11 GiB of which 1.05 "
      "GiB is free. Including non-PyTorch memory, this process has 78.05 GiB memory in use. Of the allocated "
      "memory 70.00 GiB is allocated by PyTorch");
  EXPECT_THAT(text, HasSubstr("Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 79.11 GiB of which "
                              "1.05 GiB is free;"));
  EXPECT_THAT(text, HasSubstr("--per_device_train_batch_size"));
  EXPECT_THAT(text, Not(HasSubstr("non-PyTorch")));
  EXPECT_THAT(describe_out_of_memory("something else\nand a trace"), HasSubstr("got: something else; use"));
}

}  // namespace
}  // namespace longlora::cli
