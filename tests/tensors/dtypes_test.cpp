#include "longlora/tensors/dtypes.h"

#include <gtest/gtest.h>

#include "longlora/core/error.h"

namespace longlora::tensors {
namespace {

TEST(Dtypes, HaveTheNamesOfConfigurationsBothWays) {
  for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16, at::kHalf})
    EXPECT_EQ(weight_dtype_from_name(dtype_name(dtype)), dtype);
  EXPECT_EQ(dtype_name(at::kBFloat16), "bfloat16");
  EXPECT_EQ(dtype_name(at::kLong), "int64");
}

TEST(Dtypes, OfWeightsAreThreeAlone) {
  for (const char* name : {"auto", "int8", "float64", "Float", ""})
    EXPECT_EQ(weight_dtype_from_name(name), std::nullopt) << name;
}

TEST(Dtypes, WithoutANameAreRefused) {
  EXPECT_THROW(dtype_name(at::ScalarType::Undefined), Error);
  EXPECT_EQ(element_bytes(at::ScalarType::Undefined), 0u);
}

}  // namespace
}  // namespace longlora::tensors
