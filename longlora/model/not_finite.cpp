#include "longlora/model/not_finite.h"

#include <c10/core/GradMode.h>
#include <fmt/format.h>

#include <cmath>

#include "longlora/tensors/dtypes.h"

namespace longlora::model {
namespace {

bool is_finite(const at::Tensor& x) {
  // The sum is not finite where a term is not, and a sum of float32 numbers does not overflow in double.
  return !x.defined() || x.is_meta() || !x.is_floating_point() ||
         std::isfinite(x.sum(at::kDouble).item<double>());
}

bool is_finite(const ops::Weight& weight) {
  if (!weight.is_nf4()) return is_finite(weight.dense());
  const ops::Nf4Matrix& matrix = weight.nf4();
  return is_finite(matrix.absmax) && is_finite(matrix.nested_absmax) && std::isfinite(matrix.nested_offset);
}

}  // namespace

std::string explain_not_finite(const Decoder& decoder) {
  const c10::NoGradGuard no_grad;
  std::string first;
  bool in_memory = true;
  visit_parameters(decoder, [&](const std::string& name, const Parameter& parameter) {
    if (first.empty() && !is_finite(parameter.value)) first = name;
    in_memory = in_memory && !parameter.value.is_meta();
  });
  if (!first.empty())
    return fmt::format(
        "{} holds numbers that are not finite: its file is damaged, or the training that wrote it diverged; "
        "take an earlier checkpoint or another copy",
        first);
  const std::string weights = in_memory ? "every weight is finite" : "every weight in memory is finite";
  if (decoder.dtype() != at::kFloat)
    return fmt::format(
        "{}, so numbers outgrow {}: compute in float32 (--dtype float32, in training --fp32 True)", weights,
        tensors::dtype_name(decoder.dtype()));
  return weights +
         ", so numbers outgrow float32: compare config.json and the adapter with those of the model's makers";
}

}  // namespace longlora::model
