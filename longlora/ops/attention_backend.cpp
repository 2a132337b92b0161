#include "longlora/ops/attention_backend.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <fmt/format.h>
#include <torch/csrc/autograd/autograd.h>

#include <mutex>
#include <set>

#include "longlora/core/error.h"
#include "longlora/core/log.h"
#include "longlora/ops/attention_paths.h"

namespace longlora::ops {
namespace {

// The choice for the process. Before it is made, flash attention is not called.
struct Setup {
  AttentionBackend backend = AttentionBackend::kMath;
  tensors::Gpu gpu;
};

Setup& setup() {
  static Setup current;
  return current;
}

void say_once(const std::string& reason) {
  static std::mutex mutex;
  static std::set<std::string> said;
  const std::lock_guard lock(mutex);
  if (said.insert(reason).second)
    log_info(fmt::format("attention: flash attention {}; libtorch's other kernels run instead", reason));
}

// Says which kernels at::scaled_dot_product_attention may choose; it takes the first that fits.
void allow_kernels(bool flash, bool cudnn) {
  using enum at::SDPBackend;
  at::Context& context = at::globalContext();
  context.setSDPUseFlash(flash);
  context.setSDPUseCuDNN(cudnn);
  std::vector<int64_t> order;
  for (const at::SDPBackend kernel :
       {cudnn_attention, flash_attention, efficient_attention, math, overrideable})
    order.push_back(static_cast<int64_t>(kernel));
  context.setSDPPriorityOrder(order);
}

// Returns the result and the gradients of a small attention with shifted groups.
template <typename Path>
std::vector<at::Tensor> attend(const Path& path, const std::vector<at::Tensor>& operands) {
  const c10::AutoGradMode with_graph(true);
  std::vector<at::Tensor> leaves;
  leaves.reserve(operands.size());
  for (const at::Tensor& operand : operands) leaves.push_back(operand.detach().requires_grad_(true));
  const at::Tensor out = path(leaves[0], leaves[1], leaves[2]);
  std::vector<at::Tensor> results = torch::autograd::grad({out}, leaves, {at::ones_like(out)});
  results.push_back(out.detach());
  return results;
}

// Whether cuDNN's attention equals flash attention on this GPU up to the rounding of bfloat16.
bool cudnn_passes(const tensors::Gpu& gpu) {
  constexpr int64_t kTokens = 512, kHeads = 8, kKeyHeads = 4, kHeadSize = 128, kGroup = 128;
  constexpr double kTolerance = 2e-2;
  if (gpu.major < 8) return false;
  const AttentionPlan plan = make_segment_plan({.row_tokens = kTokens, .group_tokens = kGroup});
  try {
    const auto options = at::TensorOptions(at::kBFloat16).device(at::kCUDA);
    const std::vector<at::Tensor> operands = {at::randn({kTokens, kHeads, kHeadSize}, options),
                                              at::randn({kTokens, kKeyHeads, kHeadSize}, options),
                                              at::randn({kTokens, kKeyHeads, kHeadSize}, options)};
    const auto expected = attend(
        [&](const auto& q, const auto& k, const auto& v) { return attention_flash(q, k, v, plan, nullptr); },
        operands);
    const auto found =
        attend([&](const auto& q, const auto& k, const auto& v) { return attention_composed(q, k, v, plan); },
               operands);
    for (size_t i = 0; i < found.size(); ++i) {
      const at::Tensor wanted = expected[i].to(at::kFloat);
      const double off = (found[i].to(at::kFloat) - wanted).abs().max().item<double>();
      // The comparison is written so that NaN fails it.
      if (!(off <= kTolerance * wanted.abs().max().item<double>())) return false;
    }
  } catch (const c10::Error&) {
    return false;
  }
  return true;
}

}  // namespace

AttentionBackend attention_backend_from_name(const std::string& name) {
  if (name == "auto") return AttentionBackend::kAuto;
  if (name == "flash") return AttentionBackend::kFlash;
  if (name == "cudnn") return AttentionBackend::kCudnn;
  if (name == "math") return AttentionBackend::kMath;
  throw UsageError(fmt::format("[--attention_backend] expected auto, flash, cudnn or math, got {}", name));
}

void set_attention_backend(AttentionBackend backend, const tensors::Gpu& gpu) {
  setup() = {backend, gpu};
  allow_kernels(backend != AttentionBackend::kMath, backend == AttentionBackend::kCudnn);
  if (backend == AttentionBackend::kFlash && gpu.major < 8)
    log_warning(fmt::format(
        "--attention_backend flash: {} has no flash attention (compute capability {}.{}, it takes "
        "8.0); libtorch's other kernels run instead",
        gpu.name, gpu.major, gpu.minor));
  if (backend != AttentionBackend::kCudnn || cudnn_passes(gpu)) return;
  log_warning(
      "--attention_backend cudnn: its self-test against flash attention failed on this GPU; flash attention "
      "runs instead");
  setup().backend = AttentionBackend::kFlash;
  allow_kernels(/*flash=*/true, /*cudnn=*/false);
}

bool flash_takes(bool is_half_precision, int64_t head_size, bool needs_gradient) {
  const auto& [backend, gpu] = setup();
  if (backend == AttentionBackend::kMath || backend == AttentionBackend::kCudnn) return false;
  // libtorch 2.11 has the same check: the backward pass of wide heads needs the shared memory of sm_80 or
  // sm_90.
  const bool is_small = (gpu.major == 8 && gpu.minor > 0) || gpu.major == 12;
  std::string reason;
  if (gpu.major < 8)
    reason = fmt::format("does not run on compute capability {}.{}", gpu.major, gpu.minor);
  else if (!is_half_precision)
    reason = "takes bfloat16 and float16 alone";
  else if (head_size % 8 != 0 || head_size > 256)
    reason = fmt::format("takes head sizes up to 256 that 8 divides, not {}", head_size);
  else if (needs_gradient && head_size > 192 && is_small)
    reason = fmt::format("has no gradient for head size {} on compute capability {}.{}", head_size, gpu.major,
                         gpu.minor);
  if (reason.empty()) return true;
  say_once(reason);
  return false;
}

}  // namespace longlora::ops
