#include <ATen/Parallel.h>

#include "longlora/ops/cpu/ops.h"
#include "longlora/ops/cpu/row_kernels.h"
#include "longlora/ops/cpu/tensor_access.h"

namespace longlora::ops::cpu {

RowLosses cross_entropy_rows(at::Tensor& logits, const at::Tensor& labels, double grad_scale) {
  const int64_t rows = logits.size(0), width = logits.size(1);
  RowLosses result = {at::empty({rows}, at::kFloat), at::empty({rows}, at::kByte)};
  dispatch_element(logits, [&]<typename T>(T) {
    at::parallel_for(0, rows, 8, [&](int64_t begin, int64_t end) {
      row_kernels<T>().cross_entropy(
          element_data<T>(logits) + begin * width, labels.const_data_ptr<int64_t>() + begin,
          result.loss.mutable_data_ptr<float>() + begin, result.correct.mutable_data_ptr<uint8_t>() + begin,
          end - begin, width, static_cast<float>(grad_scale));
    });
  });
  return result;
}

}  // namespace longlora::ops::cpu
