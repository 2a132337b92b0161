#include "longlora/ops/cpu/keys_in_pages.h"

#include <c10/util/Half.h>

#include <algorithm>
#include <cstring>

#include "longlora/ops/cpu/vector_math.h"

namespace longlora::ops::cpu {
namespace {

template <typename T, typename From>
void convert(const std::byte* numbers, int64_t count, T* out) {
  const auto* const from = reinterpret_cast<const From*>(numbers);
  for (int64_t i = 0; i < count; ++i) store(out + i, load(from + i));
}

}  // namespace

template <typename T>
void widen_page_head(PageFormat format, const std::byte* numbers, int64_t head_dim, T* out) {
  const int64_t count = kPageTokens * head_dim;
  if (format == PageFormat::kFloat) return convert<T, float>(numbers, count, out);
  if (format == PageFormat::kBFloat16) return convert<T, Bf16>(numbers, count, out);
  const int64_t row_bytes = page_number_bytes(format, head_dim), num_scales = page_scales(format, head_dim);
  const auto* const scales = reinterpret_cast<const c10::Half*>(numbers + kPageTokens * row_bytes);
  for (int64_t t = 0; t < kPageTokens; ++t) {
    const auto* const codes = reinterpret_cast<const uint8_t*>(numbers) + t * row_bytes;
    T* const row = out + t * head_dim;
    for (int64_t begin = 0; begin < head_dim; begin += kScaleDims) {
      const auto scale = static_cast<float>(scales[t * num_scales + begin / kScaleDims]);
      const int64_t end = std::min(head_dim, begin + kScaleDims);
      if (format == PageFormat::kInt8)
        for (int64_t d = begin; d < end; ++d)
          store(row + d, scale * static_cast<float>(static_cast<int8_t>(codes[d])));
      else
        for (int64_t d = begin; d < end; ++d)
          store(row + d, scale * static_cast<float>((codes[d / 2] >> (d % 2 * 4) & 15) - 8));
    }
  }
}
template void widen_page_head<float>(PageFormat, const std::byte*, int64_t, float*);
template void widen_page_head<Bf16>(PageFormat, const std::byte*, int64_t, Bf16*);

}  // namespace longlora::ops::cpu
