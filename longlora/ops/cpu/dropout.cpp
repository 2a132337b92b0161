#include <ATen/Dispatch.h>

#include <cmath>

#include "longlora/core/random.h"
#include "longlora/ops/cpu/chunks.h"
#include "longlora/ops/cpu/ops.h"

namespace longlora::ops::cpu {
namespace {

// How many random bits decide about an element. A draw of 64 bits serves four elements.
constexpr int kBits = 16;
constexpr int64_t kElementsPerDraw = 4;
constexpr int64_t kOne = int64_t{1} << kBits;

template <typename T>
void drop_row(const T* x, T* y, int64_t width, uint64_t row_key, uint64_t threshold, float scale) {
  for (int64_t begin = 0; begin < width; begin += kElementsPerDraw) {
    uint64_t draw = mix_bits(row_key, static_cast<uint64_t>(begin / kElementsPerDraw));
    const int64_t end = std::min(width, begin + kElementsPerDraw);
    for (int64_t c = begin; c < end; ++c, draw >>= kBits) {
      const bool stays = (draw & (kOne - 1)) >= threshold;
      y[c] = stays ? static_cast<T>(x[c] * scale) : T(0);
    }
  }
}

}  // namespace

at::Tensor dropout(const at::Tensor& x, const Dropout& dropout) {
  const at::Tensor source = x.detach().contiguous();
  const int64_t rows = x.size(0), width = x.size(1);
  const auto threshold = static_cast<uint64_t>(std::min(std::lround(dropout.probability * kOne), kOne - 1));
  // The factor follows from the probability as it was rounded, so that the mean of the result is x.
  const float scale = static_cast<float>(kOne) / static_cast<float>(kOne - static_cast<int64_t>(threshold));
  at::Tensor y = at::empty_like(source);
  AT_DISPATCH_FLOATING_TYPES_AND(at::kBFloat16, source.scalar_type(), "dropout", [&] {
    parallel_chunks(rows, kRowsPerTask, [&](int64_t, int64_t begin, int64_t end) {
      const auto* from = source.const_data_ptr<scalar_t>();
      auto* to = y.mutable_data_ptr<scalar_t>();
      for (int64_t r = begin; r < end; ++r)
        drop_row(from + r * width, to + r * width, width,
                 mix_bits(dropout.key, static_cast<uint64_t>(dropout.first_row + r)), threshold, scale);
    });
  });
  return y;
}

}  // namespace longlora::ops::cpu
