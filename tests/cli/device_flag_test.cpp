// --device where there is no GPU: hidden from every test by CUDA_VISIBLE_DEVICES.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/cli/process.h"

namespace longlora::test {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

const Surroundings kWithoutGpu = {.environment = {{"CUDA_VISIBLE_DEVICES", "-1"}}};

Words score_on(const std::string& device) {
  return {"score", "--base_model", data("stories260K_hf"), "--ids", "1,2,3", "--device", device};
}

TEST(DeviceFlag, NamesTheDeviceOnce) {
  for (const char* device : {"cpu", "auto"}) {
    const Ending ending = expect_exit(0, score_on(device), kWithoutGpu);
    EXPECT_THAT(ending.err, HasSubstr("device: cpu\n"));
  }
}

TEST(DeviceFlag, AGpuThatIsNotThereIsAnErrorThatSaysWhatToDo) {
  EXPECT_THAT(expect_exit(4, score_on("cuda"), kWithoutGpu).err,
              AllOf(HasSubstr("error: [--device cuda"), HasSubstr("found none"), HasSubstr("--device cpu"),
                    Not(HasSubstr("device: cpu"))));
  const Words words = {"fine-tune",
                       "--model_name_or_path",
                       data("stories260K_hf"),
                       "--data_path",
                       "ids.bin",
                       "--output_dir",
                       "never",
                       "--model_max_length",
                       "64",
                       "--device",
                       "cuda:1"};
  EXPECT_THAT(expect_exit(4, words, kWithoutGpu).err, HasSubstr("[--device cuda"));
  EXPECT_FALSE(std::filesystem::exists("never"));
}

TEST(DeviceFlag, ADeviceOfAnotherNameIsWrongUsage) {
  EXPECT_THAT(expect_exit(2, score_on("gpu"), kWithoutGpu).err,
              HasSubstr("[--device] expected auto, cpu, cuda or cuda:N"));
}

}  // namespace
}  // namespace longlora::test
