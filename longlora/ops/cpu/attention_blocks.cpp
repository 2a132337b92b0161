#include "longlora/ops/cpu/attention_blocks.h"

#include <ATen/native/CPUBlas.h>

#include <cmath>

#include "longlora/ops/cpu/product_kernels.h"

namespace longlora::ops::cpu {

void block_product(int64_t m, int64_t n, int64_t k, bool add, const float* a, const float* b, float* c) {
  at::native::cpublas::brgemm(m, n, k, k, n, n, add, a, b, c, /*is_vnni=*/false);
}
void block_product(int64_t m, int64_t n, int64_t k, bool add, const Bf16* a, const Bf16* b, float* c) {
  // These kernels need columns in whole vectors.
  if (const ProductKernels* kernels = product_kernels(); kernels != nullptr && n % 16 == 0) {
    for (int64_t column = 0; column < n; column += kPanel)
      kernels->multiply(m, std::min(kPanel, n - column), k, add, {a, k, 2}, {b + 2 * column, n}, c + column,
                        n);
    return;
  }
  at::native::cpublas::brgemm(m, n, k, k, n, n, add, reinterpret_cast<const at::BFloat16*>(a),
                              reinterpret_cast<const at::BFloat16*>(b), c, /*is_vnni=*/true);
}

bool block_products_run(at::ScalarType dtype) {
  std::vector<float> a(kBlock * kBlock, 1.0f), b(kBlock * kBlock, 1.0f), c(kBlock * kBlock);
  try {
    if (dtype == at::kFloat)
      block_product(kBlock, kBlock, kBlock, false, a.data(), b.data(), c.data());
    else
      block_product(kBlock, kBlock, kBlock, false, reinterpret_cast<const Bf16*>(a.data()),
                    reinterpret_cast<const Bf16*>(b.data()), c.data());
    at::native::cpublas::brgemm_release();
  } catch (const c10::Error&) {
    return false;  // the processor has no instructions for it
  }
  return true;
}

Tasks list_tasks(const AttentionPlan& plan, int64_t heads, int64_t kv_heads) {
  Tasks list;
  const int64_t group = heads / kv_heads;
  for (int64_t kv = 0; kv < kv_heads; ++kv) {
    const int64_t first = kv * group, last = first + group;
    const int64_t middle = std::clamp(heads / 2, first, last);
    if (middle != first && middle != last) list.any_shared = true;
    for (int half = 0; half < 2; ++half) {
      const int64_t from = half == 0 ? first : middle;
      const int64_t to = half == 0 ? middle : last;
      if (from == to) continue;
      for (int64_t i = 0; i < plan.num_segments(half); ++i) {
        const auto segment = plan.segment(half, i);
        if (segment.first_query == segment.last_query) continue;
        list.tasks.push_back({kv, from, to, segment.begin, segment.end,
                              segment.end - (segment.last_query - segment.first_query),
                              segment.end - segment.last_query});
      }
    }
  }
  // Long tasks come first, so that threads finish at about the same time.
  std::stable_sort(list.tasks.begin(), list.tasks.end(),
                   [](const Task& a, const Task& b) { return a.pairs() > b.pairs(); });
  return list;
}

std::vector<Task> split_tasks(const std::vector<Task>& tasks, int64_t threads) {
  // With so many pieces for each thread the last ones to finish are short.
  constexpr int64_t kPiecesPerThread = 4;
  double all = 0.0;
  for (const Task& task : tasks) all += static_cast<double>(task.pairs());
  const double piece = all / static_cast<double>(threads * kPiecesPerThread);
  std::vector<Task> split;
  for (const Task& task : tasks) {
    const auto wanted = threads > 1 ? std::llround(static_cast<double>(task.pairs()) / piece) : 1;
    const int64_t count = std::clamp<int64_t>(wanted, 1, num_blocks(task.end - task.first_query));
    // A query sees the keys before it, so that the work up to a query grows with the square of its place.
    const auto first = static_cast<double>(task.first_query - task.start);
    const auto last = static_cast<double>(task.end - task.start);
    int64_t begin = task.first_query;
    for (int64_t i = 1; i <= count && begin < task.end; ++i) {
      const double share = static_cast<double>(i) / static_cast<double>(count);
      const double place = std::sqrt(first * first + share * (last * last - first * first));
      int64_t end = task.start + (std::llround(place) + kBlock - 1) / kBlock * kBlock;
      end = i == count ? task.end : std::min(end, task.end);
      if (end <= begin) continue;
      Task part = task;
      part.first_query = begin;
      part.end = end;
      split.push_back(part);
      begin = end;
    }
  }
  std::stable_sort(split.begin(), split.end(),
                   [](const Task& a, const Task& b) { return a.pairs() > b.pairs(); });
  return split;
}

}  // namespace longlora::ops::cpu
