// Every instruction-set variant that this machine can run, against plain loops in double.
#include "longlora/ops/cpu/row_kernels.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <vector>

namespace longlora::ops::cpu {
namespace {

template <typename Body>
void for_each_variant(const Body& body) {
  for (const Isa isa : kIsas) {
    if (!is_supported(isa)) continue;
    SCOPED_TRACE(isa_name(isa));
    body(isa);
  }
}

float to_float(float value) {
  return value;
}
float to_float(Bf16 value) {
  const uint32_t bits = static_cast<uint32_t>(value.bits) << 16;
  float result;
  std::memcpy(&result, &bits, sizeof result);
  return result;
}
// A bfloat16 is cut off: exact for the values that the tests make.
template <typename T>
T to_element(float value) {
  if constexpr (std::is_same_v<T, float>) {
    return value;
  } else {
    uint32_t bits;
    std::memcpy(&bits, &value, sizeof bits);
    return Bf16{static_cast<uint16_t>(bits >> 16)};
  }
}

// Normal numbers that T holds exactly.
template <typename T>
std::vector<T> random_elements(size_t count, uint32_t seed, float scale = 1.0f) {
  std::mt19937 generator(seed);
  std::normal_distribution<float> normal(0.0f, scale);
  std::vector<T> result(count);
  for (T& element : result) element = to_element<T>(normal(generator));
  return result;
}

template <typename T>
struct Precision;
template <>
struct Precision<float> {
  static constexpr double kTolerance = 2e-6;
};
template <>
struct Precision<Bf16> {
  static constexpr double kTolerance = 4.5e-3;  // half a unit in the last of 8 bits, and a little
};

// |actual − expected| within the dtype's precision of the larger of |expected| and `floor`.
template <typename T>
void expect_near(T actual, double expected, double floor = 1.0) {
  EXPECT_NEAR(to_float(actual), expected, Precision<T>::kTolerance * std::max(std::abs(expected), floor));
}

template <typename T>
class RowKernelsOf : public ::testing::Test {};
using ElementTypes = ::testing::Types<float, Bf16>;
class ElementNames {
 public:
  template <typename T>
  // NOLINTNEXTLINE(readability-identifier-naming): GoogleTest calls it by this name
  static std::string GetName(int) {
    return std::is_same_v<T, float> ? "Float32" : "Bfloat16";
  }
};
TYPED_TEST_SUITE(RowKernelsOf, ElementTypes, ElementNames);

// One element, odd rests, whole vectors, many.
constexpr int64_t kWidths[] = {1, 3, 15, 16, 17, 33, 64, 515};

TYPED_TEST(RowKernelsOf, NormalizeAsTheFormulaSays) {
  using T = TypeParam;
  for_each_variant([](Isa isa) {
    for (const int64_t width : kWidths) {
      const int64_t rows = 3;
      const auto x = random_elements<T>(rows * width, 1), weight = random_elements<T>(width, 2);
      std::vector<T> y(rows * width);
      std::vector<float> inverse(rows);
      row_kernels_of<T>(isa).rms_norm_forward(x.data(), weight.data(), y.data(), inverse.data(), rows, width,
                                              1e-5f);
      for (int64_t r = 0; r < rows; ++r) {
        double sum = 0.0;
        for (int64_t c = 0; c < width; ++c) sum += std::pow(to_float(x[r * width + c]), 2);
        const double expected = 1.0 / std::sqrt(sum / static_cast<double>(width) + 1e-5);
        EXPECT_NEAR(inverse[r], expected, 2e-6 * expected);
        for (int64_t c = 0; c < width; ++c)
          expect_near(y[r * width + c], to_float(x[r * width + c]) * expected * to_float(weight[c]));
      }
    }
  });
}

TYPED_TEST(RowKernelsOf, GiveTheSameNormGradientsInEveryVariant) {
  using T = TypeParam;
  for (const int64_t width : kWidths) {
    const int64_t rows = 5;
    const auto x = random_elements<T>(rows * width, 3), weight = random_elements<T>(width, 4),
               grad = random_elements<T>(rows * width, 5);
    std::vector<T> y(rows * width);
    std::vector<float> inverse(rows);
    row_kernels_of<T>(Isa::kBaseline)
        .rms_norm_forward(x.data(), weight.data(), y.data(), inverse.data(), rows, width, 1e-5f);
    std::vector<T> expected(rows * width);
    std::vector<float> expected_weight(width, 0.0f);
    row_kernels_of<T>(Isa::kBaseline)
        .rms_norm_backward(grad.data(), x.data(), weight.data(), inverse.data(), expected.data(),
                           expected_weight.data(), rows, width);
    for_each_variant([&](Isa isa) {
      std::vector<T> actual(rows * width);
      std::vector<float> actual_weight(width, 0.0f);
      row_kernels_of<T>(isa).rms_norm_backward(grad.data(), x.data(), weight.data(), inverse.data(),
                                               actual.data(), actual_weight.data(), rows, width);
      for (size_t i = 0; i < actual.size(); ++i) expect_near(actual[i], to_float(expected[i]), 4.0);
      for (int64_t c = 0; c < width; ++c) EXPECT_NEAR(actual_weight[c], expected_weight[c], 2e-5);
    });
  }
}

TYPED_TEST(RowKernelsOf, CentreAndNormalizeAsTheFormulaSays) {
  using T = TypeParam;
  for_each_variant([](Isa isa) {
    for (const int64_t width : kWidths) {
      const int64_t rows = 3;
      const auto x = random_elements<T>(rows * width, 20), weight = random_elements<T>(width, 21),
                 bias = random_elements<T>(width, 22);
      std::vector<T> y(rows * width);
      std::vector<float> mean(rows), inverse(rows);
      row_kernels_of<T>(isa).layer_norm_forward(x.data(), weight.data(), bias.data(), y.data(), mean.data(),
                                                inverse.data(), rows, width, 1e-2f);
      for (int64_t r = 0; r < rows; ++r) {
        double sum = 0.0, squares = 0.0;
        for (int64_t c = 0; c < width; ++c) sum += to_float(x[r * width + c]);
        const double middle = sum / static_cast<double>(width);
        for (int64_t c = 0; c < width; ++c) squares += std::pow(to_float(x[r * width + c]) - middle, 2);
        const double expected = 1.0 / std::sqrt(squares / static_cast<double>(width) + 1e-2);
        EXPECT_NEAR(mean[r], middle, 2e-6);
        EXPECT_NEAR(inverse[r], expected, 2e-6 * expected);
        for (int64_t c = 0; c < width; ++c)
          expect_near(
              y[r * width + c],
              (to_float(x[r * width + c]) - middle) * expected * to_float(weight[c]) + to_float(bias[c]),
              4.0);
      }
    }
  });
}

TYPED_TEST(RowKernelsOf, GiveTheSameLayerNormGradientsInEveryVariant) {
  using T = TypeParam;
  for (const int64_t width : kWidths) {
    const int64_t rows = 5;
    const auto x = random_elements<T>(rows * width, 23), weight = random_elements<T>(width, 24),
               grad = random_elements<T>(rows * width, 25);
    const std::vector<float> mean(rows, 0.25f), inverse(rows, 0.75f);
    std::vector<T> expected(rows * width);
    std::vector<float> expected_weight(width, 0.0f), expected_bias(width, 0.0f);
    row_kernels_of<T>(Isa::kBaseline)
        .layer_norm_backward(grad.data(), x.data(), weight.data(), mean.data(), inverse.data(),
                             expected.data(), expected_weight.data(), expected_bias.data(), rows, width);
    for_each_variant([&](Isa isa) {
      std::vector<T> actual(rows * width);
      std::vector<float> actual_weight(width, 0.0f), actual_bias(width, 0.0f);
      row_kernels_of<T>(isa).layer_norm_backward(grad.data(), x.data(), weight.data(), mean.data(),
                                                 inverse.data(), actual.data(), actual_weight.data(),
                                                 actual_bias.data(), rows, width);
      for (size_t i = 0; i < actual.size(); ++i) expect_near(actual[i], to_float(expected[i]), 4.0);
      for (int64_t c = 0; c < width; ++c) {
        EXPECT_NEAR(actual_weight[c], expected_weight[c], 2e-5);
        EXPECT_NEAR(actual_bias[c], expected_bias[c], 2e-5);
      }
    });
  }
}

TYPED_TEST(RowKernelsOf, RotateStridedRowsAndLeaveTheRestOfAHead) {
  using T = TypeParam;
  for_each_variant([](Isa isa) {
    const int64_t rows = 3, heads = 2, head_size = 22, half = 9, stride = heads * head_size + 5;
    const auto x = random_elements<T>(rows * stride, 6);
    const auto cos = random_elements<float>(8 * half, 7), sin = random_elements<float>(8 * half, 8);
    const std::vector<int64_t> positions = {7, 0, 4};
    for (const float sign : {1.0f, -1.0f}) {
      std::vector<T> y(rows * heads * head_size);
      row_kernels_of<T>(isa).rotate(x.data(), stride, y.data(), positions.data(), cos.data(), sin.data(),
                                    rows, heads, head_size, half, sign);
      for (int64_t r = 0; r < rows; ++r)
        for (int64_t h = 0; h < heads; ++h) {
          const T* in = x.data() + r * stride + h * head_size;
          const T* out = y.data() + (r * heads + h) * head_size;
          for (int64_t d = 0; d < half; ++d) {
            const double c = cos[positions[r] * half + d], s = sign * sin[positions[r] * half + d];
            expect_near(out[d], to_float(in[d]) * c - to_float(in[half + d]) * s);
            expect_near(out[half + d], to_float(in[half + d]) * c + to_float(in[d]) * s);
          }
          for (int64_t d = 2 * half; d < head_size; ++d) EXPECT_EQ(to_float(out[d]), to_float(in[d]));
        }
    }
  });
}

TYPED_TEST(RowKernelsOf, GateOverTheWholeRangeOfTheExponential) {
  using T = TypeParam;
  for_each_variant([](Isa isa) {
    std::vector<T> gate, up, grad;
    for (double g = -110.0; g <= 110.0; g += 0.37) {
      gate.push_back(to_element<T>(static_cast<float>(g)));
      up.push_back(to_element<T>(1.5f));
      grad.push_back(to_element<T>(-0.75f));
    }
    const auto count = static_cast<int64_t>(gate.size());
    std::vector<T> y(count), grad_gate(count), grad_up(count);
    row_kernels_of<T>(isa).silu_mul_forward(gate.data(), up.data(), y.data(), count);
    row_kernels_of<T>(isa).silu_mul_backward(grad.data(), gate.data(), up.data(), grad_gate.data(),
                                             grad_up.data(), count);
    for (int64_t i = 0; i < count; ++i) {
      const double g = to_float(gate[i]), sigmoid = 1.0 / (1.0 + std::exp(-g));
      SCOPED_TRACE(g);
      // Relative down to tiny values: this is where a poor exponential shows. Three
      // roundings and the exponential's 1e-7: an exponential that is 4e-6 off near
      // ±73, as with ln 2 in one part, does not pass.
      const double tolerance = std::is_same_v<T, float> ? 4e-7 : Precision<T>::kTolerance;
      const double product = std::max(std::abs(g * sigmoid), 1e-30);
      EXPECT_NEAR(to_float(y[i]), g * sigmoid * 1.5, tolerance * 1.5 * product);
      EXPECT_NEAR(to_float(grad_up[i]), -0.75 * g * sigmoid, tolerance * 0.75 * product);
      expect_near(grad_gate[i], -0.75 * 1.5 * sigmoid * (1.0 + g * (1.0 - sigmoid)));
    }
  });
}

TYPED_TEST(RowKernelsOf, ComputeCrossEntropyAndItsGradient) {
  using T = TypeParam;
  for_each_variant([](Isa isa) {
    for (const int64_t width : kWidths) {
      const int64_t rows = 4;
      const auto logits = random_elements<T>(rows * width, 9, 6.0f);
      std::vector<int64_t> labels(rows);
      for (int64_t r = 0; r < rows; ++r) labels[r] = (r * 7) % width;
      std::vector<float> loss(rows);
      std::vector<uint8_t> correct(rows);
      auto row_logits = logits;
      const float scale = 0.25f;
      row_kernels_of<T>(isa).cross_entropy(row_logits.data(), labels.data(), loss.data(), correct.data(),
                                           rows, width, scale);
      for (int64_t r = 0; r < rows; ++r) {
        const T* row = logits.data() + r * width;
        double sum = 0.0;
        int64_t best = 0;
        for (int64_t c = 0; c < width; ++c) {
          sum += std::exp(static_cast<double>(to_float(row[c])));
          if (to_float(row[c]) > to_float(row[best])) best = c;
        }
        EXPECT_NEAR(loss[r], std::log(sum) - to_float(row[labels[r]]), 5e-6 * 30);
        EXPECT_EQ(correct[r] != 0, best == labels[r]);
        for (int64_t c = 0; c < width; ++c) {
          const double probability = std::exp(static_cast<double>(to_float(row[c]))) / sum;
          expect_near(row_logits[r * width + c], scale * (probability - (c == labels[r] ? 1.0 : 0.0)), 0.25);
        }
      }
    }
  });
}

TYPED_TEST(RowKernelsOf, LeaveLogitsAloneWithoutAGradient) {
  using T = TypeParam;
  for_each_variant([](Isa isa) {
    const auto logits = random_elements<T>(70, 10);
    auto copy = logits;
    const int64_t label = 3;
    float loss;
    uint8_t correct;
    row_kernels_of<T>(isa).cross_entropy(copy.data(), &label, &loss, &correct, 1, 70, 0.0f);
    EXPECT_EQ(std::memcmp(copy.data(), logits.data(), logits.size() * sizeof(T)), 0);
  });
}

TYPED_TEST(RowKernelsOf, CountTheFirstOfEqualMaximaAsTheAnswer) {
  using T = TypeParam;
  for_each_variant([](Isa isa) {
    std::vector<T> logits(40, to_element<T>(1.0f));
    logits[9] = logits[20] = to_element<T>(2.0f);
    for (const int64_t label : {9, 20, 0}) {
      float loss;
      uint8_t correct;
      row_kernels_of<T>(isa).cross_entropy(logits.data(), &label, &loss, &correct, 1, 40, 0.0f);
      EXPECT_EQ(correct != 0, label == 9) << label;
    }
  });
}

TYPED_TEST(RowKernelsOf, LetWhatIsNotANumberThrough) {
  using T = TypeParam;
  const T bad = to_element<T>(std::numeric_limits<float>::quiet_NaN());
  for_each_variant([&](Isa isa) {
    for (const size_t place : {0u, 5u, 36u}) {
      auto logits = random_elements<T>(37, 11);
      logits[place] = bad;
      const int64_t label = 2;
      float loss;
      uint8_t correct;
      row_kernels_of<T>(isa).cross_entropy(logits.data(), &label, &loss, &correct, 1, 37, 0.0f);
      EXPECT_TRUE(std::isnan(loss)) << place;

      auto gate = random_elements<T>(37, 12);
      const auto up = random_elements<T>(37, 13);
      gate[place] = bad;
      std::vector<T> y(37);
      row_kernels_of<T>(isa).silu_mul_forward(gate.data(), up.data(), y.data(), 37);
      for (size_t i = 0; i < y.size(); ++i) EXPECT_EQ(std::isnan(to_float(y[i])), i == place);
    }
  });
}

TEST(RowKernels, RoundBfloat16ToTheNearestEvenValue) {
  for_each_variant([](Isa isa) {
    // cos = 1 + 2^-8 is half-way between two bfloat16 values; 1 + 3·2^-8 too.
    const std::vector<float> cos = {1.00390625f, 1.01171875f, 1.00390640f, 0.999f}, sin(4, 0.0f);
    const std::vector<Bf16> x(8, to_element<Bf16>(1.0f));
    std::vector<Bf16> y(8);
    const int64_t position = 0;
    row_kernels_of<Bf16>(isa).rotate(x.data(), 8, y.data(), &position, cos.data(), sin.data(), 1, 1, 8, 4,
                                     1.0f);
    EXPECT_EQ(to_float(y[0]), 1.0f);
    EXPECT_EQ(to_float(y[1]), 1.015625f);
    EXPECT_EQ(to_float(y[2]), 1.0078125f);
    EXPECT_EQ(to_float(y[3]), 1.0f);
  });
}

struct AdamWReference {
  double parameter, exp_avg = 0.0, exp_avg_sq = 0.0;

  // torch.optim.AdamW's update.
  void step(double grad, double rate, double beta1, double beta2, double epsilon, double decay, int number) {
    parameter *= 1.0 - rate * decay;
    exp_avg = beta1 * exp_avg + (1.0 - beta1) * grad;
    exp_avg_sq = beta2 * exp_avg_sq + (1.0 - beta2) * grad * grad;
    const double corrected = std::sqrt(exp_avg_sq) / std::sqrt(1.0 - std::pow(beta2, number));
    parameter -= rate / (1.0 - std::pow(beta1, number)) * exp_avg / (corrected + epsilon);
  }
};

TEST(AdamWKernel, FollowsAPlainLoopInDouble) {
  const double rate = 1e-2, beta1 = 0.9, beta2 = 0.999, epsilon = 1e-8, decay = 0.1, scale = 0.5;
  for_each_variant([&](Isa isa) {
    const int64_t count = 77;
    auto parameter = random_elements<float>(count, 14);
    std::vector<float> exp_avg(count, 0.0f), exp_avg_sq(count, 0.0f);
    std::vector<AdamWReference> reference;
    for (const float value : parameter) reference.push_back({value});
    for (int number = 1; number <= 25; ++number) {
      const auto grad = random_elements<float>(count, 100 + number, 1e-2f);
      AdamWStep step = {};
      step.learning_rate = static_cast<float>(rate);
      step.beta1 = static_cast<float>(beta1);
      step.beta2 = static_cast<float>(beta2);
      step.one_minus_beta1 = static_cast<float>(1.0 - beta1);
      step.one_minus_beta2 = static_cast<float>(1.0 - beta2);
      step.epsilon = static_cast<float>(epsilon);
      step.weight_decay = static_cast<float>(decay);
      step.grad_scale = static_cast<float>(scale);
      step.bias_correction1 = static_cast<float>(1.0 - std::pow(beta1, number));
      step.sqrt_bias_correction2 = static_cast<float>(std::sqrt(1.0 - std::pow(beta2, number)));
      adamw_kernel_of(isa)(parameter.data(), grad.data(), exp_avg.data(), exp_avg_sq.data(), count, step);
      for (int64_t i = 0; i < count; ++i)
        reference[i].step(grad[i] * scale, rate, beta1, beta2, epsilon, decay, number);
    }
    for (int64_t i = 0; i < count; ++i) {
      EXPECT_NEAR(parameter[i], reference[i].parameter, 2e-6);
      EXPECT_NEAR(exp_avg_sq[i], reference[i].exp_avg_sq, 3e-6 * reference[i].exp_avg_sq);
    }
  });
}

TEST(RowKernels, PickTheWidestSetOfTheMachine) {
  const char* widest = "";
  for_each_variant([&](Isa isa) { widest = isa_name(isa); });
  EXPECT_STREQ(isa_name(), widest);
  EXPECT_TRUE(is_supported(Isa::kBaseline));
}

TEST(InstructionSets, PickTheirOwnOfFourVariants) {
  std::vector<int> picked;
  for (const Isa isa : kIsas) picked.push_back(pick(isa, 1, 2, 3, 4));
  EXPECT_EQ(picked, (std::vector<int>{1, 2, 3, 4}));
}

}  // namespace
}  // namespace longlora::ops::cpu
