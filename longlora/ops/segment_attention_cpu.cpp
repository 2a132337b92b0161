// Blocked causal attention on the CPU, after Dao et al. 2022 (arXiv 2205.14135):
// scores exist one 64 × 64 block at a time, keys down and queries across. A task is one key/value head in one
// segment; it packs keys and values once for all query heads that share them.
#include <ATen/Parallel.h>
#include <ATen/native/CPUBlas.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <type_traits>
#include <vector>

#include "longlora/ops/cpu/attention_kernels.h"
#include "longlora/ops/cpu/product_kernels.h"
#include "longlora/ops/cpu/tensor_access.h"
#include "longlora/ops/segment_attention_paths.h"

namespace longlora::ops {
namespace {

using cpu::Bf16;
using cpu::element_data;
using cpu::kAttentionBlock;
using torch::autograd::AutogradContext;
using torch::autograd::Function;
using torch::autograd::variable_list;

constexpr int64_t kBlock = kAttentionBlock;

int64_t num_blocks(int64_t length) {
  return (length + kBlock - 1) / kBlock;
}

/// c [m, n] (+)= a [m, k] · b [k, n], b packed as AttentionKernels says.
void block_product(int64_t m, int64_t n, int64_t k, bool add, const float* a, const float* b, float* c) {
  at::native::cpublas::brgemm(m, n, k, k, n, n, add, a, b, c, /*is_vnni=*/false);
}
void block_product(int64_t m, int64_t n, int64_t k, bool add, const Bf16* a, const Bf16* b, float* c) {
  // Whole vectors of columns in panels that the registers hold.
  if (const cpu::ProductKernels* kernels = cpu::product_kernels(); kernels != nullptr && n % 16 == 0) {
    for (int64_t column = 0; column < n; column += cpu::kPanel)
      kernels->multiply(m, std::min(cpu::kPanel, n - column), k, add, {a, k, 2}, {b + 2 * column, n},
                        c + column, n);
    return;
  }
  at::native::cpublas::brgemm(m, n, k, k, n, n, add, reinterpret_cast<const at::BFloat16*>(a),
                              reinterpret_cast<const at::BFloat16*>(b), c, /*is_vnni=*/true);
}

/// Where a sliding window cuts through the blocks of a segment; blocks and tokens count from its start.
struct Window {
  int64_t tokens = 0;  // 0: none

  /// The first key block that query block i sees anything of.
  int64_t first_key_block(int64_t i) const {
    return tokens == 0 ? 0 : std::max<int64_t>(0, i * kBlock - tokens + 1) / kBlock;
  }
  /// One past the last query block that sees anything of key block j.
  int64_t last_query_block(int64_t j, int64_t blocks) const {
    if (tokens == 0) return blocks;
    // Not by an addition, which a huge window would overflow.
    const int64_t ahead = (std::min(tokens, blocks * kBlock) + kBlock - 2) / kBlock;
    return std::min(blocks, j + ahead + 1);
  }
  /// first_key of AttentionKernels for query block i and key block j.
  int64_t first_key(int64_t i, int64_t j) const {
    return tokens == 0 ? cpu::kNoWindow : std::max(cpu::kNoWindow, (i - j) * kBlock - tokens + 1);
  }
};

/// The query heads of one key/value head that attend in one segment.
struct Task {
  int64_t kv_head;
  int64_t first_head, last_head;
  int64_t start, end;  // tokens
  /// Forward alone: the queries are those of the tokens [first_query, end), token t in row t − query_shift.
  int64_t first_query, query_shift;

  /// The work, in pairs of a query and a key.
  int64_t pairs() const { return (last_head - first_head) * (end - start) * (end - start); }
};

/// All tasks of one call. Those of a key/value head whose query heads lie in
/// both halves come in two groups, which write the same gradients.
struct Tasks {
  std::vector<Task> tasks;
  bool any_shared = false;
};

Tasks list_tasks(const SegmentPlan& plan, int64_t heads, int64_t kv_heads) {
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
        const int64_t start = plan.bounds[half][i];
        list.tasks.push_back({kv, from, to, start, plan.bounds[half][i + 1], start, 0});
      }
    }
  }
  // The longest first: what is left at the end is short.
  std::stable_sort(list.tasks.begin(), list.tasks.end(),
                   [](const Task& a, const Task& b) { return a.pairs() > b.pairs(); });
  return list;
}

/// A [N, heads, D] tensor as rows of one head.
template <typename T>
struct HeadView {
  T* data;
  int64_t token_stride, head_stride;

  explicit HeadView(const at::Tensor& x)
      : data(element_data<T>(x)), token_stride(x.stride(0)), head_stride(x.stride(1)) {}
  T* at(int64_t token, int64_t head) const { return data + token * token_stride + head * head_stride; }
};

template <typename T>
class ForwardTask {
 public:
  ForwardTask(const HeadView<T>& q, const HeadView<T>& k, const HeadView<T>& v, const HeadView<T>& out,
              float* log_sum_exp, int64_t num_tokens, int64_t width, Window window)
      : q_(q),
        k_(k),
        v_(v),
        out_(out),
        log_sum_exp_(log_sum_exp),
        num_tokens_(num_tokens),
        width_(width),
        window_(window),
        scale_(1.0f / std::sqrt(static_cast<float>(width))),
        kernels_(cpu::attention_kernels<T>()) {
    query_.resize(kBlock * width);
    late_query_.resize(kBlock * width);
    late_output_.resize(kBlock * width);
    late_log_sum_exp_.resize(kBlock);
    probabilities_.resize(kBlock * kBlock);
    scores_.resize(kBlock * kBlock);
    output_.resize(kBlock * width);
    maximum_.resize(kBlock);
    sum_.resize(kBlock);
  }

  void run(const Task& task) {
    const int64_t length = task.end - task.start, blocks = num_blocks(length), block_size = kBlock * width_;
    keys_.resize(blocks * block_size);
    values_.resize(blocks * block_size);
    for (int64_t j = 0; j < blocks; ++j) {
      const int64_t token = task.start + j * kBlock, valid = std::min(kBlock, task.end - token);
      kernels_.copy_block(k_.at(token, task.kv_head), k_.token_stride, valid, width_, &keys_[j * block_size]);
      kernels_.transpose_block(v_.at(token, task.kv_head), v_.token_stride, valid, width_,
                               &values_[j * block_size]);
    }
    for (int64_t head = task.first_head; head < task.last_head; ++head)
      for (int64_t i = (task.first_query - task.start) / kBlock; i < blocks; ++i)
        run_query_block(task, head, i);
  }

 private:
  /// Where the rows of one query block lie.
  struct QueryBlock {
    const T* queries;
    int64_t query_stride;
    T* out;
    int64_t out_stride;
    float* log_sum_exp;
    int64_t valid;
  };

  void run_query_block(const Task& task, int64_t head, int64_t i) {
    const int64_t token = task.start + i * kBlock, valid = std::min(kBlock, task.end - token);
    const int64_t missing = std::max<int64_t>(0, task.first_query - token);
    const int64_t row = token + missing - task.query_shift;
    float* const log_sum_exp = log_sum_exp_ + head * num_tokens_ + row;
    if (missing == 0) {
      attend(i,
             {q_.at(row, head), q_.token_stride, out_.at(row, head), out_.token_stride, log_sum_exp, valid});
      return;
    }
    // Blocks are those of the keys: this one begins before the first query.
    std::fill(late_query_.begin(), late_query_.end(), T{});
    for (int64_t r = missing; r < valid; ++r)
      std::copy_n(q_.at(row + r - missing, head), width_, &late_query_[r * width_]);
    attend(i, {late_query_.data(), width_, late_output_.data(), width_, late_log_sum_exp_.data(), valid});
    for (int64_t r = missing; r < valid; ++r) {
      std::copy_n(&late_output_[r * width_], width_, out_.at(row + r - missing, head));
      log_sum_exp[r - missing] = late_log_sum_exp_[r];
    }
  }

  /// Query block i against all key blocks that it sees.
  void attend(int64_t i, const QueryBlock& block) {
    const int64_t block_size = kBlock * width_;
    kernels_.pack_transposed(block.queries, block.query_stride, block.valid, width_, query_.data());
    std::fill(maximum_.begin(), maximum_.end(), cpu::kNoMaximum);
    std::fill(sum_.begin(), sum_.end(), 0.0f);
    std::fill(output_.begin(), output_.end(), 0.0f);
    for (int64_t j = window_.first_key_block(i); j <= i; ++j) {
      block_product(kBlock, kBlock, width_, false, &keys_[j * block_size], query_.data(), scores_.data());
      kernels_.softmax_block(scores_.data(), scale_, j == i, window_.first_key(i, j), maximum_.data(),
                             sum_.data(), output_.data(), width_, probabilities_.data());
      block_product(width_, kBlock, kBlock, true, &values_[j * block_size], probabilities_.data(),
                    output_.data());
    }
    kernels_.finish_rows(output_.data(), maximum_.data(), sum_.data(), block.valid, width_, block.out,
                         block.out_stride, block.log_sum_exp);
  }

  HeadView<T> q_, k_, v_, out_;
  float* log_sum_exp_;  // [H, N]
  int64_t num_tokens_, width_;
  Window window_;
  float scale_;
  const cpu::AttentionKernels<T>& kernels_;
  std::vector<T> keys_, values_, query_, probabilities_, late_query_, late_output_;
  std::vector<float> scores_, output_, maximum_, sum_, late_log_sum_exp_;
};

template <typename T>
class BackwardTask {
 public:
  struct Inputs {
    HeadView<T> q, k, v, out, grad_out;
    const float* log_sum_exp;  // [H, N]
  };
  /// Gradients; with shared key/value heads those of k and v are float32 sums to add to.
  struct Outputs {
    HeadView<T> grad_q, grad_k, grad_v;
    float* grad_k_sum;  // [N, K, D] or null
    float* grad_v_sum;
  };

  BackwardTask(const Inputs& inputs, const Outputs& outputs, int64_t num_tokens, int64_t kv_heads,
               int64_t width, Window window)
      : in_(inputs),
        out_(outputs),
        num_tokens_(num_tokens),
        kv_heads_(kv_heads),
        width_(width),
        block_size_(kBlock * width),
        window_(window),
        scale_(1.0f / std::sqrt(static_cast<float>(width))),
        kernels_(cpu::attention_kernels<T>()) {
    for (auto* block : {&key_, &key_transposed_, &value_}) block->resize(block_size_);
    for (auto* block : {&probabilities_, &grad_scores_, &grad_scores_packed_}) block->resize(kBlock * kBlock);
    for (auto* block : {&scores_, &grad_probabilities_}) block->resize(kBlock * kBlock);
  }

  void run(const Task& task) {
    const int64_t blocks = num_blocks(task.end - task.start);
    grad_keys_.assign(blocks * block_size_, 0.0f);
    grad_values_.assign(blocks * block_size_, 0.0f);
    for (int64_t head = task.first_head; head < task.last_head; ++head) run_head(task, head, blocks);
    for (int64_t j = 0; j < blocks; ++j) store_key_block(task, j);
  }

 private:
  /// Packs the head's queries and output gradients, then goes through the key blocks.
  void run_head(const Task& task, int64_t head, int64_t blocks) {
    for (auto* packed : {&query_transposed_, &query_rows_, &grad_transposed_, &grad_rows_})
      packed->resize(blocks * block_size_);
    grad_queries_.assign(blocks * block_size_, 0.0f);
    log_sum_exp_.assign(blocks * kBlock, 0.0f);
    delta_.resize(blocks * kBlock);
    for (int64_t i = 0; i < blocks; ++i) pack_query_block(task, head, i);
    for (int64_t j = 0; j < blocks; ++j) {
      const int64_t token = task.start + j * kBlock, valid = std::min(kBlock, task.end - token);
      const T* keys = in_.k.at(token, task.kv_head);
      kernels_.copy_block(keys, in_.k.token_stride, valid, width_, key_.data());
      kernels_.transpose_block(keys, in_.k.token_stride, valid, width_, key_transposed_.data());
      kernels_.copy_block(in_.v.at(token, task.kv_head), in_.v.token_stride, valid, width_, value_.data());
      for (int64_t i = j; i < window_.last_query_block(j, blocks); ++i) run_block(i, j);
    }
    for (int64_t i = 0; i < blocks; ++i) {
      const int64_t token = task.start + i * kBlock, valid = std::min(kBlock, task.end - token);
      kernels_.store_transposed(&grad_queries_[i * block_size_], valid, width_, out_.grad_q.at(token, head),
                                out_.grad_q.token_stride);
    }
  }

  void pack_query_block(const Task& task, int64_t head, int64_t i) {
    const int64_t token = task.start + i * kBlock, valid = std::min(kBlock, task.end - token);
    const int64_t place = i * block_size_;
    const T* queries = in_.q.at(token, head);
    const T* grads = in_.grad_out.at(token, head);
    kernels_.pack_transposed(queries, in_.q.token_stride, valid, width_, &query_transposed_[place]);
    kernels_.pack_rows(queries, in_.q.token_stride, valid, width_, &query_rows_[place]);
    kernels_.pack_transposed(grads, in_.grad_out.token_stride, valid, width_, &grad_transposed_[place]);
    kernels_.pack_rows(grads, in_.grad_out.token_stride, valid, width_, &grad_rows_[place]);
    kernels_.row_dots(grads, in_.grad_out.token_stride, in_.out.at(token, head), in_.out.token_stride, valid,
                      width_, &delta_[i * kBlock]);
    std::copy_n(in_.log_sum_exp + head * num_tokens_ + token, valid, &log_sum_exp_[i * kBlock]);
  }

  /// The five products of one pair of blocks; scores are [key, query].
  void run_block(int64_t i, int64_t j) {
    const int64_t queries = i * block_size_, keys = j * block_size_;
    block_product(kBlock, kBlock, width_, false, key_.data(), &query_transposed_[queries], scores_.data());
    block_product(kBlock, kBlock, width_, false, value_.data(), &grad_transposed_[queries],
                  grad_probabilities_.data());
    kernels_.softmax_backward_block(scores_.data(), grad_probabilities_.data(), &log_sum_exp_[i * kBlock],
                                    &delta_[i * kBlock], scale_, i == j, window_.first_key(i, j),
                                    probabilities_.data(), grad_scores_.data(), grad_scores_packed_.data());
    block_product(kBlock, width_, kBlock, true, probabilities_.data(), &grad_rows_[queries],
                  &grad_values_[keys]);
    block_product(kBlock, width_, kBlock, true, grad_scores_.data(), &query_rows_[queries],
                  &grad_keys_[keys]);
    block_product(width_, kBlock, kBlock, true, key_transposed_.data(), grad_scores_operand(),
                  &grad_queries_[queries]);
  }

  /// The scores' gradient as a B operand; float32 has one form for both.
  const T* grad_scores_operand() const {
    return std::is_same_v<T, float> ? grad_scores_.data() : grad_scores_packed_.data();
  }

  void store_key_block(const Task& task, int64_t j) {
    const int64_t token = task.start + j * kBlock, valid = std::min(kBlock, task.end - token);
    const float* grad_keys = &grad_keys_[j * block_size_];
    const float* grad_values = &grad_values_[j * block_size_];
    if (!out_.grad_k_sum) {
      kernels_.store_rows(grad_keys, valid, width_, out_.grad_k.at(token, task.kv_head),
                          out_.grad_k.token_stride);
      kernels_.store_rows(grad_values, valid, width_, out_.grad_v.at(token, task.kv_head),
                          out_.grad_v.token_stride);
      return;
    }
    for (int64_t r = 0; r < valid; ++r) {
      const int64_t place = ((token + r) * kv_heads_ + task.kv_head) * width_;
      for (int64_t d = 0; d < width_; ++d) {
        out_.grad_k_sum[place + d] += grad_keys[r * width_ + d];
        out_.grad_v_sum[place + d] += grad_values[r * width_ + d];
      }
    }
  }

  Inputs in_;
  Outputs out_;
  int64_t num_tokens_, kv_heads_, width_, block_size_;
  Window window_;
  float scale_;
  const cpu::AttentionKernels<T>& kernels_;
  std::vector<T> key_, key_transposed_, value_, probabilities_, grad_scores_, grad_scores_packed_;
  std::vector<T> query_transposed_, query_rows_, grad_transposed_, grad_rows_;
  std::vector<float> scores_, grad_probabilities_, grad_queries_, grad_keys_, grad_values_, log_sum_exp_,
      delta_;
};

/// Runs `count` pieces of work of unequal size: threads take the next one as they
/// get free, and each makes one worker and reuses its buffers. Pieces write to
/// different places, so their order decides nothing.
template <typename MakeWorker, typename Run>
void run_parallel(int64_t count, const MakeWorker& make_worker, const Run& run) {
  std::atomic<int64_t> next = 0;
  at::parallel_for(0, std::min<int64_t>(count, at::get_num_threads()), 1, [&](int64_t, int64_t) {
    auto worker = make_worker();
    for (int64_t i = next++; i < count; i = next++) run(worker, i);
    at::native::cpublas::brgemm_release();
  });
}

/// Runs every task.
template <typename MakeWorker>
void run_tasks(const std::vector<Task>& tasks, const MakeWorker& make_worker) {
  run_parallel(static_cast<int64_t>(tasks.size()), make_worker,
               [&](auto& worker, int64_t i) { worker.run(tasks[i]); });
}

/// Tasks of shared key/value heads add to the same sums: one thread takes all of a head.
template <typename MakeWorker>
void run_heads(const std::vector<Task>& tasks, int64_t kv_heads, const MakeWorker& make_worker) {
  run_parallel(kv_heads, make_worker, [&](auto& worker, int64_t head) {
    for (const Task& task : tasks)
      if (task.kv_head == head) worker.run(task);
  });
}

at::Tensor with_dense_heads(const at::Tensor& x) {
  return x.stride(2) == 1 ? x : x.contiguous();
}

class SegmentAttentionCpu : public Function<SegmentAttentionCpu> {
 public:
  static at::Tensor forward(AutogradContext* context, const at::Tensor& q_in, const at::Tensor& k_in,
                            const at::Tensor& v_in, const SegmentPlan& plan, KeptAttention* kept) {
    const at::Tensor q = with_dense_heads(q_in), k = with_dense_heads(k_in), v = with_dense_heads(v_in);
    const int64_t tokens = q.size(0), heads = q.size(1), width = q.size(2);
    at::Tensor out, log_sum_exp;
    if (kept != nullptr && kept->out.defined()) {
      out = kept->out.detach();  // a tensor of its own: autograd will mark it
      log_sum_exp = kept->log_sum_exp;
    } else {
      const Tasks list = list_tasks(plan, heads, k.size(1));
      out = at::empty({tokens, heads, width}, q.options());
      log_sum_exp = at::empty({heads, tokens}, q.options().dtype(at::kFloat));
      cpu::dispatch_element(q, [&]<typename T>(T) {
        run_tasks(list.tasks, [&] {
          return ForwardTask<T>(HeadView<T>(q), HeadView<T>(k), HeadView<T>(v), HeadView<T>(out),
                                log_sum_exp.mutable_data_ptr<float>(), tokens, width,
                                Window{plan.window_tokens});
        });
      });
      if (kept != nullptr) *kept = {out.detach(), log_sum_exp};
    }
    context->save_for_backward({q, k, v, out, log_sum_exp});
    context->saved_data["bounds_0"] = plan.bounds[0];
    context->saved_data["bounds_1"] = plan.bounds[1];
    context->saved_data["window"] = plan.window_tokens;
    return out;
  }

  static variable_list backward(AutogradContext* context, const variable_list& grads) {
    const auto saved = context->get_saved_variables();
    const at::Tensor &q = saved[0], &k = saved[1], &v = saved[2], &out = saved[3], &log_sum_exp = saved[4];
    const at::Tensor grad_out = with_dense_heads(grads[0]);
    const int64_t tokens = q.size(0), kv_heads = k.size(1), width = q.size(2);
    SegmentPlan plan;
    plan.num_tokens = tokens;
    plan.bounds = {context->saved_data["bounds_0"].toIntVector(),
                   context->saved_data["bounds_1"].toIntVector()};
    plan.window_tokens = context->saved_data["window"].toInt();
    const Tasks list = list_tasks(plan, q.size(1), kv_heads);

    at::Tensor grad_q = at::empty(q.sizes(), q.options());
    at::Tensor grad_k = at::empty(k.sizes(), k.options()), grad_v = at::empty(v.sizes(), v.options());
    at::Tensor k_sum, v_sum;
    if (list.any_shared) {
      k_sum = at::zeros(k.sizes(), k.options().dtype(at::kFloat));
      v_sum = at::zeros_like(k_sum);
    }
    cpu::dispatch_element(q, [&]<typename T>(T) {
      const auto make_worker = [&] {
        using Worker = BackwardTask<T>;
        return Worker({HeadView<T>(q), HeadView<T>(k), HeadView<T>(v), HeadView<T>(out),
                       HeadView<T>(grad_out), log_sum_exp.const_data_ptr<float>()},
                      {HeadView<T>(grad_q), HeadView<T>(grad_k), HeadView<T>(grad_v),
                       list.any_shared ? k_sum.mutable_data_ptr<float>() : nullptr,
                       list.any_shared ? v_sum.mutable_data_ptr<float>() : nullptr},
                      tokens, kv_heads, width, Window{plan.window_tokens});
      };
      if (list.any_shared)
        run_heads(list.tasks, kv_heads, make_worker);
      else
        run_tasks(list.tasks, make_worker);
    });
    if (list.any_shared) {
      grad_k.copy_(k_sum);
      grad_v.copy_(v_sum);
    }
    return {grad_q, grad_k, grad_v, at::Tensor(), at::Tensor()};
  }
};

/// Whether block products of this dtype run here, found out by one.
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
    return false;  // this processor has no such instructions
  }
  return true;
}

}  // namespace

bool segment_attention_cpu_supports(const at::Tensor& q) {
  if (!cpu::has_kernels(q) || q.size(2) % 2 != 0) return false;
  static const bool runs_float = block_products_run(at::kFloat);
  static const bool runs_bfloat16 = block_products_run(at::kBFloat16);
  return q.scalar_type() == at::kFloat ? runs_float : runs_bfloat16;
}

at::Tensor tail_attention_cpu(const at::Tensor& q_in, const at::Tensor& k_in, const at::Tensor& v_in,
                              int64_t rows, int64_t window_tokens) {
  const at::Tensor q = with_dense_heads(q_in), k = with_dense_heads(k_in), v = with_dense_heads(v_in);
  const int64_t queries = q.size(0) / rows, tokens = k.size(0) / rows, width = q.size(2);
  const int64_t kv_heads = k.size(1), group = q.size(1) / kv_heads;
  std::vector<Task> tasks;
  tasks.reserve(static_cast<size_t>(rows * kv_heads));
  for (int64_t row = 0; row < rows; ++row)
    for (int64_t kv = 0; kv < kv_heads; ++kv) {
      const int64_t end = (row + 1) * tokens, first_query = end - queries;
      tasks.push_back(
          {kv, kv * group, (kv + 1) * group, row * tokens, end, first_query, first_query - row * queries});
    }
  at::Tensor out = at::empty(q.sizes(), q.options());
  at::Tensor log_sum_exp = at::empty({q.size(1), q.size(0)}, q.options().dtype(at::kFloat));
  cpu::dispatch_element(q, [&]<typename T>(T) {
    run_tasks(tasks, [&] {
      return ForwardTask<T>(HeadView<T>(q), HeadView<T>(k), HeadView<T>(v), HeadView<T>(out),
                            log_sum_exp.mutable_data_ptr<float>(), q.size(0), width, Window{window_tokens});
    });
  });
  return out;
}

at::Tensor segment_attention_cpu(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                                 const SegmentPlan& plan, KeptAttention* kept) {
  return SegmentAttentionCpu::apply(q, k, v, plan, kept);
}

at::Tensor segment_attention_cpu(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                                 const SegmentPlan& plan) {
  return segment_attention_cpu(q, k, v, plan, nullptr);
}

}  // namespace longlora::ops
