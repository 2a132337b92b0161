#include "longlora/tensors/gpu.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>

#include <map>
#include <optional>
#include <string>

#include "longlora/core/error.h"
#include "longlora/tensors/gpu_internal.h"

namespace longlora::tensors {
namespace {

using internal::choose_device;
using internal::only_visible_gpu;
using ::testing::AllOf;
using ::testing::HasSubstr;

using Values = std::map<std::string, std::optional<std::string>>;

// The environment as a test wants it, and as it was afterwards.
class Environment {
 public:
  explicit Environment(const Values& values) {
    for (const char* name :
         {"CUDA_VISIBLE_DEVICES", "PYTORCH_CUDA_ALLOC_CONF", "PYTORCH_ALLOC_CONF", "FAKE_CUDA"}) {
      const char* const value = ::getenv(name);
      before_[name] = value == nullptr ? std::nullopt : std::optional<std::string>(value);
      ::unsetenv(name);
    }
    set(values);
  }
  ~Environment() { set(before_); }
  Environment(const Environment&) = delete;
  Environment& operator=(const Environment&) = delete;

 private:
  static void set(const Values& values) {
    for (const auto& [name, value] : values) {
      if (value)
        ::setenv(name.c_str(), value->c_str(), 1);
      else
        ::unsetenv(name.c_str());
    }
  }

  Values before_;
};

// A machine with a driver; the C library stands for libtorch's, which this program does not link here.
const internal::DeviceLibraries kMachine = {LONGLORA_FAKE_DRIVER, "libm.so.6"};

std::string refusal(const DeviceRequest& request, const internal::DeviceLibraries& libraries) {
  try {
    choose_device(request, libraries);
  } catch (const ResourceError& error) {
    return error.what();
  }
  return "accepted";
}

TEST(Device, IsNamedAsInPyTorch) {
  EXPECT_EQ(parse_device("auto").kind, DeviceKind::kAuto);
  EXPECT_EQ(parse_device("cpu").kind, DeviceKind::kCpu);
  EXPECT_EQ(parse_device("cuda").kind, DeviceKind::kCuda);
  EXPECT_EQ(parse_device("cuda").index, 0);
  EXPECT_EQ(parse_device("cuda:12").index, 12);
  for (const char* text :
       {"", "gpu", "cuda:", "cuda:x", "cuda:-1", "cuda:1x", "cuda:99999999999", "CUDA", "cpu:0"})
    EXPECT_THROW(parse_device(text), UsageError) << text;
}

TEST(Device, OnlyTheChosenGpuStaysVisible) {
  EXPECT_EQ(only_visible_gpu(std::nullopt, 3), "3");
  EXPECT_EQ(only_visible_gpu("4,7,GPU-12ab", 0), "4");
  EXPECT_EQ(only_visible_gpu("4,7,GPU-12ab", 2), "GPU-12ab");
  EXPECT_EQ(only_visible_gpu("4,7", 2), std::nullopt);
  EXPECT_EQ(only_visible_gpu("4,-1,7", 2), std::nullopt);
  EXPECT_EQ(only_visible_gpu("", 0), std::nullopt);
  const Environment environment(Values{{"CUDA_VISIBLE_DEVICES", "2,1"}, {"FAKE_CUDA", "13000 4 9 0"}});
  const ChosenDevice chosen = choose_device({DeviceKind::kCuda, 1}, kMachine);
  ASSERT_TRUE(chosen.gpu);
  EXPECT_EQ(chosen.gpu->index, 1);
  EXPECT_STREQ(::getenv("CUDA_VISIBLE_DEVICES"), "1");
}

TEST(Device, DescribesTheGpuAndSetsUpTheAllocator) {
  const Environment environment(Values{{"FAKE_CUDA", "13010 2 8 6"}});
  const ChosenDevice chosen = choose_device({DeviceKind::kAuto, 0}, kMachine);
  ASSERT_TRUE(chosen.gpu);
  EXPECT_EQ(chosen.gpu->name, "Fake GPU");
  EXPECT_EQ(chosen.gpu->total_bytes, int64_t{80} << 30);
  EXPECT_EQ(chosen.gpu->major, 8);
  EXPECT_EQ(chosen.gpu->minor, 6);
  EXPECT_STREQ(::getenv("PYTORCH_CUDA_ALLOC_CONF"), "expandable_segments:True");
}

TEST(Device, LeavesTheUsersAllocatorSettingsAlone) {
  const Environment environment(Values{{"PYTORCH_ALLOC_CONF", "max_split_size_mb:64"}});
  choose_device({DeviceKind::kCuda, 0}, kMachine);
  EXPECT_EQ(::getenv("PYTORCH_CUDA_ALLOC_CONF"), nullptr);
}

TEST(Device, SaysWhatIsMissing) {
  const Environment environment(Values{});
  EXPECT_THAT(refusal({DeviceKind::kCuda, 0}, {"libno_such_driver.so.1", "libm.so.6"}),
              AllOf(HasSubstr("expected an NVIDIA driver (libno_such_driver.so.1), found none"),
                    HasSubstr("--device cpu")));
  EXPECT_THAT(refusal({DeviceKind::kCuda, 0}, {LONGLORA_FAKE_DRIVER, "libno_such_torch.so"}),
              AllOf(HasSubstr("libtorch's CUDA library libno_such_torch.so"), HasSubstr("quickstart.sh")));
}

TEST(Device, SaysWhatIsTooOldOrNotThere) {
  {
    const Environment environment(Values{{"FAKE_CUDA", "12040 1 9 0"}});
    EXPECT_THAT(refusal({DeviceKind::kCuda, 0}, kMachine),
                HasSubstr("expected a driver for CUDA 13 or newer, got one for CUDA 12.4"));
  }
  {
    const Environment environment(Values{{"FAKE_CUDA", "13000 1 7 0"}});
    EXPECT_THAT(refusal({DeviceKind::kCuda, 0}, kMachine),
                HasSubstr("expected a GPU of compute capability 7.5 or newer, got Fake GPU of 7.0"));
  }
  {
    const Environment environment(Values{{"FAKE_CUDA", "13000 2 9 0"}});
    EXPECT_THAT(refusal({DeviceKind::kCuda, 2}, kMachine),
                AllOf(HasSubstr("[--device cuda:2]"), HasSubstr("a GPU of number 2, found none")));
  }
  {
    const Environment environment(Values{{"CUDA_VISIBLE_DEVICES", ""}});
    EXPECT_THAT(refusal({DeviceKind::kCuda, 0}, kMachine),
                HasSubstr("found none among CUDA_VISIBLE_DEVICES="));
  }
}

TEST(Device, AutoTakesTheCpuAndTellsOfAGpuItLeaves) {
  const Environment environment(Values{});
  const ChosenDevice none = choose_device({}, {"libno_such_driver.so.1", "libm.so.6"});
  EXPECT_FALSE(none.gpu);
  EXPECT_EQ(none.passed_over, "");
  const ChosenDevice left = choose_device({}, {LONGLORA_FAKE_DRIVER, "libno_such_torch.so"});
  EXPECT_FALSE(left.gpu);
  EXPECT_THAT(left.passed_over, HasSubstr("libno_such_torch.so"));
}

TEST(Device, TheCpuNeedsNothing) {
  EXPECT_FALSE(choose_device({DeviceKind::kCpu, 0}, {"libno_such_driver.so.1", "libno_such_torch.so"}).gpu);
}

}  // namespace
}  // namespace longlora::tensors
