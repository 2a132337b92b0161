// The other place where the device tests compute: libtorch's operators on the CPU or, with LONGLORA_TEST_GPU,
// on a GPU. What the CPU kernels compute is the oracle.
#pragma once

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <optional>
#include <string>

#include "longlora/core/error.h"
#include "longlora/ops/backend.h"
#include "longlora/ops/device.h"

namespace longlora::test {

class DeviceTest : public ::testing::Test {
 protected:
#ifdef LONGLORA_TEST_GPU
  void SetUp() override {
    static const std::optional<std::string> problem = open();
    if (problem) GTEST_SKIP() << *problem;
  }
  at::Device device() const {
    return {at::kCUDA, 0};
  }
  /// What compute() calls is on that device.
  template <typename Body>
  auto compute(const Body& body) const {
    return body();
  }

 private:
  static std::optional<std::string> open() {
    try {
      ops::open_device({.device = "cuda"});
    } catch (const ResourceError& error) {
      return error.what();
    }
    return std::nullopt;
  }
#else
  at::Device device() const {
    return at::kCPU;
  }
  template <typename Body>
  auto compute(const Body& body) const {
    const ops::LibtorchOperatorsOnly no_kernels;
    return body();
  }
#endif
};

}  // namespace longlora::test
