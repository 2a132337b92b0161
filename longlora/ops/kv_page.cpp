#include "longlora/ops/kv_page.h"

#include <c10/util/Half.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "longlora/core/error.h"
#include "longlora/ops/cpu/page_layout.h"

namespace longlora::ops {
namespace {

float as_float(float value) {
  return value;
}
float as_float(cpu::Bf16 value) {
  const uint32_t bits = static_cast<uint32_t>(value.bits) << 16;
  float number;
  std::memcpy(&number, &bits, sizeof number);
  return number;
}

// Writes a token's numbers and scales in 8 or 4 bits. A number is code · scale for codes from -127 to 127 or
// from -7 to 7, of which the largest is that of the largest number.
template <typename T>
void compress_token(const T* row, int64_t head_dim, PageFormat format, uint8_t* numbers, c10::Half* scales) {
  const float most = format == PageFormat::kInt8 ? 127.0f : 7.0f;
  for (int64_t begin = 0; begin < head_dim; begin += cpu::kScaleDims) {
    const int64_t end = std::min(head_dim, begin + cpu::kScaleDims);
    float largest = 0.0f;
    bool is_finite = true;
    for (int64_t d = begin; d < end; ++d) {
      largest = std::max(largest, std::abs(as_float(row[d])));
      is_finite = is_finite && std::isfinite(as_float(row[d]));
    }
    // A number beyond float16's range is cut off there. One that is not finite makes all of them NaN, so that
    // a broken model does not look sound.
    const c10::Half scale(is_finite ? std::min(largest / most, 65504.0f)
                                    : std::numeric_limits<float>::quiet_NaN());
    scales[begin / cpu::kScaleDims] = scale;
    const float inverse = static_cast<float>(scale) > 0.0f ? 1.0f / static_cast<float>(scale) : 0.0f;
    for (int64_t d = begin; d < end; ++d) {
      const float scaled = is_finite ? as_float(row[d]) * inverse : 1.0f;
      const auto code = static_cast<int>(std::lround(std::clamp(scaled, -most, most)));
      if (format == PageFormat::kInt8)
        numbers[d] = static_cast<uint8_t>(static_cast<int8_t>(code));
      else if (d % 2 == 0)
        numbers[d / 2] = static_cast<uint8_t>(code + 8);
      else
        numbers[d / 2] = static_cast<uint8_t>(numbers[d / 2] | (code + 8) << 4);
    }
  }
}

template <typename T>
void compress(const PageShape& shape, PageView from, PageView to) {
  const int64_t dims = shape.head_dim, heads = 2 * shape.layers * shape.kv_heads;  // of keys and of values
  const int64_t from_bytes = cpu::page_head_bytes(from.format, dims);
  const int64_t to_bytes = cpu::page_head_bytes(to.format, dims);
  const int64_t number_bytes = cpu::page_number_bytes(to.format, dims);
  const int64_t num_scales = cpu::page_scales(to.format, dims);
  for (int64_t h = 0; h < heads; ++h) {
    const T* const rows = reinterpret_cast<const T*>(from.data + h * from_bytes);
    std::byte* const numbers = to.data + h * to_bytes;
    auto* const scales = reinterpret_cast<c10::Half*>(numbers + kPageTokens * number_bytes);
    for (int64_t t = 0; t < kPageTokens; ++t)
      compress_token(rows + t * dims, dims, to.format, reinterpret_cast<uint8_t*>(numbers) + t * number_bytes,
                     scales + t * num_scales);
  }
}

}  // namespace

int64_t PageShape::num_bytes(PageFormat format) const {
  return layers * kv_heads * 2 * cpu::page_head_bytes(format, head_dim);
}

template <typename T>
void write_page(const PageShape& shape, PageView page, int64_t layer, int64_t first, int64_t count,
                const TokenRows<T>& rows) {
  const auto row_bytes = static_cast<size_t>(shape.head_dim) * sizeof(T);
  for (int64_t h = 0; h < shape.kv_heads; ++h) {
    std::byte* const keys = page.data + cpu::page_head_place(shape, page.format, layer, h);
    std::byte* const values = keys + cpu::page_head_bytes(page.format, shape.head_dim);
    for (int64_t t = 0; t < count; ++t) {
      const size_t place = static_cast<size_t>(first + t) * row_bytes;
      const int64_t from = t * rows.token_stride + h * rows.head_stride;
      std::memcpy(keys + place, rows.keys + from, row_bytes);
      std::memcpy(values + place, rows.values + from, row_bytes);
    }
  }
}
template void write_page<float>(const PageShape&, PageView, int64_t, int64_t, int64_t,
                                const TokenRows<float>&);
template void write_page<cpu::Bf16>(const PageShape&, PageView, int64_t, int64_t, int64_t,
                                    const TokenRows<cpu::Bf16>&);

void compress_page(const PageShape& shape, PageView from, PageView to) {
  const bool is_narrower = to.format == PageFormat::kInt8 || to.format == PageFormat::kInt4;
  if (is_narrower && from.format == PageFormat::kFloat)
    compress<float>(shape, from, to);
  else if (is_narrower && from.format == PageFormat::kBFloat16)
    compress<cpu::Bf16>(shape, from, to);
  else
    throw Error("[compress_page] expected a page in float32 or bfloat16 and one in 8 or 4 bits");
}

}  // namespace longlora::ops
