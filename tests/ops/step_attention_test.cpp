#include "longlora/ops/cpu/step_attention.h"

#include <cmath>

#include "longlora/ops/cpu/bf16.h"
#include "tests/support/tensors.h"

namespace longlora::ops {
namespace {

using test::random_tensor;

template <typename Body>
void for_each_variant(const Body& body) {
  for (const cpu::Isa isa : cpu::kIsas) {
    if (!cpu::is_supported(isa)) continue;
    SCOPED_TRACE(cpu::isa_name(isa));
    body(cpu::step_attention_of(isa));
  }
}

// Keys and values [K, N, D] of a layer, and the same in pages.
struct Cache {
  PageShape shape;
  at::Tensor keys, values;
  std::vector<at::Tensor> memory;
  std::vector<PageView> pages;

  Cache(const PageShape& page_shape, int64_t tokens, int64_t layer, at::ScalarType dtype)
      : shape(page_shape),
        keys(random_tensor({shape.kv_heads, tokens, shape.head_dim}, 1, dtype)),
        values(random_tensor({shape.kv_heads, tokens, shape.head_dim}, 2, dtype)) {
    const auto format = dtype == at::kFloat ? PageFormat::kFloat : PageFormat::kBFloat16;
    for (int64_t first = 0; first < tokens; first += kPageTokens) {
      pages.push_back(new_page(format));
      const int64_t count = std::min(kPageTokens, tokens - first);
      const auto write = [&]<typename T>(const T* k, const T* v) {
        const int64_t skipped = first * shape.head_dim;
        write_page<T>(shape, pages.back(), layer, 0, count,
                      {k + skipped, v + skipped, shape.head_dim, tokens * shape.head_dim});
      };
      if (dtype == at::kFloat)
        write(keys.const_data_ptr<float>(), values.const_data_ptr<float>());
      else
        write(static_cast<const cpu::Bf16*>(keys.const_data_ptr()),
              static_cast<const cpu::Bf16*>(values.const_data_ptr()));
    }
  }
  PageView new_page(PageFormat format) {
    memory.push_back(at::zeros({shape.num_bytes(format)}, at::kByte));
    return {format, reinterpret_cast<std::byte*>(memory.back().data_ptr())};
  }
  void compress(PageFormat format) {
    for (PageView& page : pages) {
      const PageView narrow = new_page(format);
      compress_page(shape, page, narrow);
      page = narrow;
    }
  }
  // Of queries [G, D] with the keys of a head: [G, D] in double.
  at::Tensor expected(const at::Tensor& queries, int64_t kv_head, int64_t first, int64_t last) const {
    const at::Tensor k = keys[kv_head].slice(0, first, last).to(at::kDouble),
                     v = values[kv_head].slice(0, first, last).to(at::kDouble);
    return at::matmul(at::softmax(at::matmul(queries.to(at::kDouble), k.t()) * std::log(2.0), -1), v);
  }
};

at::Tensor attend(const cpu::StepAttention& kernels, const Cache& cache, int64_t layer, int64_t kv_head,
                  const at::Tensor& queries, const std::vector<int64_t>& bounds) {
  const int64_t group = queries.size(0), dims = queries.size(1), size = cpu::step_part_size(group, dims);
  const auto count = static_cast<int64_t>(bounds.size()) - 1;
  at::Tensor parts = at::full({count, size}, NAN, at::kFloat), out = at::full({group, dims}, NAN, at::kFloat);
  for (int64_t i = 0; i < count; ++i)
    kernels.attend({cache.shape, cache.pages.data(), layer, kv_head, bounds[i], bounds[i + 1]},
                   queries.const_data_ptr<float>(), group, parts.mutable_data_ptr<float>() + i * size);
  kernels.merge(parts.const_data_ptr<float>(), count, group, dims, out.mutable_data_ptr<float>());
  return out;
}

const std::vector<std::vector<int64_t>> kBounds = {{0, 1},   {0, 63},           {0, 64},
                                                   {5, 130}, {0, 64, 128, 200}, {17, 20, 199, 200}};

TEST(StepAttention, EqualsSoftmaxOverTheRange) {
  for_each_variant([](const cpu::StepAttention& kernels) {
    for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16})
      for (const int64_t dims : {8, 10, 64, 80, 128, 129})
        for (const int64_t group : {1, 3, 5, 8}) {
          const Cache cache({3, 2, dims}, 200, 2, dtype);
          const at::Tensor queries = random_tensor({group, dims}, 3).div_(std::sqrt(dims));
          for (const auto& bounds : kBounds)
            EXPECT_CLOSE(attend(kernels, cache, 2, 1, queries, bounds),
                         cache.expected(queries, 1, bounds.front(), bounds.back()), 2e-6);
        }
  });
}

TEST(StepAttention, ReadsPagesInEightAndFourBits) {
  for_each_variant([](const cpu::StepAttention& kernels) {
    for (const int64_t dims : {10, 33, 64, 128})
      for (const auto& [format, tolerance] :
           {std::pair(PageFormat::kInt8, 0.02), std::pair(PageFormat::kInt4, 0.3)}) {
        Cache cache({2, 2, dims}, 192, 1, at::kBFloat16);
        cache.compress(format);
        const at::Tensor queries = random_tensor({3, dims}, 3).div_(std::sqrt(dims));
        const at::Tensor all = attend(kernels, cache, 1, 1, queries, {0, 192});
        EXPECT_CLOSE(all, cache.expected(queries, 1, 0, 192), tolerance);
        // A single token's value is its numbers within half a step of each scale.
        const at::Tensor one = attend(kernels, cache, 1, 0, queries, {100, 101})[0];
        const double step = format == PageFormat::kInt8 ? 127.0 : 7.0;
        const at::Tensor value = cache.values[0][100].to(at::kFloat);
        EXPECT_LT((one - value).abs().max().item<double>(), 0.51 / step * value.abs().max().item<double>());
      }
  });
}

TEST(StepAttention, GivesAHeadTheSameBitsInAnyCompany) {
  for_each_variant([](const cpu::StepAttention& kernels) {
    const Cache cache({1, 1, 80}, 200, 0, at::kBFloat16);
    const at::Tensor queries = random_tensor({7, 80}, 4);
    const at::Tensor all = attend(kernels, cache, 0, 0, queries, {3, 190});
    for (int64_t h = 0; h < 7; ++h)
      for (const int64_t end : {h + 1, int64_t{7}})
        EXPECT_TRUE(at::equal(attend(kernels, cache, 0, 0, queries.slice(0, h, end).contiguous(), {3, 190}),
                              all.slice(0, h, end)));
  });
}

TEST(StepAttention, StandsLargeScores) {
  for_each_variant([](const cpu::StepAttention& kernels) {
    const Cache cache({1, 1, 64}, 150, 0, at::kFloat);
    const at::Tensor queries = random_tensor({2, 64}, 5).mul_(1e4);
    EXPECT_CLOSE(attend(kernels, cache, 0, 0, queries, {0, 64, 150}), cache.expected(queries, 0, 0, 150),
                 1e-3);
  });
}

TEST(KvPage, HasTheBytesThatItsFormatSays) {
  const PageShape shape = {2, 3, 64};
  const int64_t numbers = 2 * 3 * 2 * kPageTokens * 64;
  EXPECT_EQ(shape.num_bytes(PageFormat::kFloat), 4 * numbers);
  EXPECT_EQ(shape.num_bytes(PageFormat::kBFloat16), 2 * numbers);
  EXPECT_EQ(shape.num_bytes(PageFormat::kInt8), numbers * 17 / 16);
  EXPECT_EQ(shape.num_bytes(PageFormat::kInt4), numbers * 9 / 16);
}

}  // namespace
}  // namespace longlora::ops
