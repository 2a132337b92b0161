#include "longlora/ops/backend.h"

#include "tests/support/tensors.h"

namespace longlora::ops {
namespace {

TEST(Backend, IsTheKernelsForFloat32AndBfloat16OnTheCpu) {
  for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16})
    EXPECT_EQ(&backend_for(at::empty({2}, dtype)), &cpu_backend()) << c10::toString(dtype);
}

TEST(Backend, IsLibtorchsOperatorsForEverythingElse) {
  for (const at::ScalarType dtype : {at::kDouble, at::kHalf, at::kByte})
    EXPECT_EQ(&backend_for(at::empty({2}, dtype)), &composed_backend()) << c10::toString(dtype);
  EXPECT_EQ(&backend_for(at::Device(at::kCUDA, 0), at::kFloat), &composed_backend());
}

TEST(Backend, IsLibtorchsOperatorsAsLongAsOneAsksForThem) {
  const at::Tensor x = at::ones({2});
  {
    const LibtorchOperatorsOnly no_kernels;
    EXPECT_EQ(&backend_for(x), &composed_backend());
  }
  EXPECT_EQ(&backend_for(x), &cpu_backend());
}

}  // namespace
}  // namespace longlora::ops
