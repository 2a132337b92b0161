// Blocked causal attention on the CPU, after Dao et al. 2022 (arXiv 2205.14135). Scores exist only for one
// block of 64 keys and 64 queries at a time.
#include <ATen/Parallel.h>
#include <ATen/native/CPUBlas.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>
#include <atomic>
#include <vector>

#include "longlora/ops/attention_paths.h"
#include "longlora/ops/attention_saved.h"
#include "longlora/ops/cpu/attention_backward.h"
#include "longlora/ops/cpu/attention_forward.h"
#include "longlora/ops/cpu/chunks.h"
#include "longlora/ops/cpu/keys_in_pages.h"
#include "longlora/ops/cpu/tensor_access.h"

namespace longlora::ops {
namespace {

using cpu::BackwardTask;
using cpu::ForwardTask;
using cpu::HeadView;
using cpu::Task;
using cpu::Tasks;
using cpu::Window;
using torch::autograd::AutogradContext;
using torch::autograd::Function;
using torch::autograd::variable_list;

// Runs `count` pieces of work of unequal size. Each thread makes one worker, whose buffers it reuses, and
// takes the next piece when it is free. Pieces write to different places, so that their order does not
// matter.
template <typename MakeWorker, typename Run>
void run_parallel(int64_t count, const MakeWorker& make_worker, const Run& run) {
  std::atomic<int64_t> next = 0;
  cpu::parallel_tasks(std::min<int64_t>(count, at::get_num_threads()), [&](int64_t, int64_t) {
    auto worker = make_worker();
    for (int64_t i = next++; i < count; i = next++) run(worker, i);
    at::native::cpublas::brgemm_release();
  });
}

// Runs every task.
template <typename MakeWorker>
void run_tasks(const std::vector<Task>& tasks, const MakeWorker& make_worker) {
  run_parallel(static_cast<int64_t>(tasks.size()), make_worker,
               [&](auto& worker, int64_t i) { worker.run(tasks[i]); });
}

// Runs every task, all tasks of a key/value head in one thread, because they may add to the same sums.
template <typename MakeWorker>
void run_heads(const std::vector<Task>& tasks, int64_t kv_heads, const MakeWorker& make_worker) {
  run_parallel(kv_heads, make_worker, [&](auto& worker, int64_t head) {
    for (const Task& task : tasks)
      if (task.kv_head == head) worker.run(task);
  });
}

// Runs the forward pass over keys and values that `keys` brings (cpu/attention_forward.h).
template <typename T, typename Keys>
KeptAttention run_forward(const at::Tensor& q, int64_t kv_heads, const AttentionPlan& plan,
                          const Keys& keys) {
  const int64_t queries = q.size(0), heads = q.size(1), width = q.size(2);
  const Tasks list = cpu::list_tasks(plan, heads, kv_heads);
  const at::Tensor out = at::empty({queries, heads, width}, q.options());
  const at::Tensor log_sum_exp = at::empty({heads, queries}, q.options().dtype(at::kFloat));
  run_tasks(cpu::split_tasks(list.tasks, at::get_num_threads()), [&] {
    return ForwardTask<T, Keys>(HeadView<T>(q), keys, HeadView<T>(out), log_sum_exp.mutable_data_ptr<float>(),
                                queries, width, Window{plan.window_tokens});
  });
  return {out, log_sum_exp};
}

class AttentionCpu : public Function<AttentionCpu> {
 public:
  static at::Tensor forward(AutogradContext* context, const at::Tensor& q_in, const at::Tensor& k_in,
                            const at::Tensor& v_in, const AttentionPlan& plan, KeptAttention* kept) {
    const at::Tensor q = with_dense_heads(q_in), k = with_dense_heads(k_in), v = with_dense_heads(v_in);
    const KeptAttention results = kept_or_computed(kept, [&] { return attend(q, k, v, plan); });
    context->save_for_backward({q, k, v, results.out, results.log_sum_exp});
    save_plan(plan, context);
    return results.out;
  }

  static variable_list backward(AutogradContext* context, const variable_list& grads) {
    const auto saved = context->get_saved_variables();
    const at::Tensor &q = saved[0], &k = saved[1], &v = saved[2], &out = saved[3], &log_sum_exp = saved[4];
    const at::Tensor grad_out = with_dense_heads(grads[0]);
    const int64_t tokens = q.size(0), kv_heads = k.size(1), width = q.size(2);
    const AttentionPlan plan = saved_plan(context);
    const Tasks list = cpu::list_tasks(plan, q.size(1), kv_heads);

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

 private:
  static KeptAttention attend(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                              const AttentionPlan& plan) {
    KeptAttention results;
    cpu::dispatch_element(
        q, [&]<typename T>(T) { results = run_forward<T>(q, k.size(1), plan, cpu::StridedKeys<T>(k, v)); });
    return results;
  }
};

}  // namespace

bool attention_cpu_takes(const at::Tensor& q) {
  // Only the memory of tensors without values is counted. They take this way because libtorch's attention
  // does not run on all of them.
  if (q.is_meta()) return true;
  const bool is_ours = q.scalar_type() == at::kFloat || q.scalar_type() == at::kBFloat16;
  if (!is_ours || q.size(2) % 2 != 0) return false;
  static const bool runs_float = cpu::block_products_run(at::kFloat);
  static const bool runs_bfloat16 = cpu::block_products_run(at::kBFloat16);
  return q.scalar_type() == at::kFloat ? runs_float : runs_bfloat16;
}

KeptAttention paged_attention_cpu(const at::Tensor& q_in, const PagedKeys& keys, int64_t layer,
                                  const AttentionPlan& plan) {
  const at::Tensor q = with_dense_heads(q_in);
  KeptAttention results;
  cpu::dispatch_element(q, [&]<typename T>(T) {
    results = run_forward<T>(q, keys.shape.kv_heads, plan, cpu::KeysInPages<T>(keys, layer));
  });
  return results;
}

at::Tensor attention_cpu(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                         const AttentionPlan& plan, KeptAttention* kept) {
  return AttentionCpu::apply(q, k, v, plan, kept);
}

}  // namespace longlora::ops
