#include "longlora/model/not_finite.h"

#include <c10/core/GradMode.h>
#include <fmt/format.h>

#include <cmath>

#include "longlora/model/load.h"

namespace longlora::model {
namespace {

bool is_finite(const at::Tensor& x) {
  // A sum is not finite where a term is not; in double no sum of float32 overflows.
  return !x.defined() || x.is_meta() || !x.is_floating_point() ||
         std::isfinite(x.sum(at::kDouble).item<double>());
}

bool is_finite(const Parameter& parameter) {
  if (!parameter.quantized) return is_finite(parameter.value);
  return is_finite(parameter.quantized->absmax) && is_finite(parameter.quantized->nested_absmax) &&
         std::isfinite(parameter.quantized->nested_offset);
}

}  // namespace

std::string explain_not_finite(const Decoder& decoder) {
  const c10::NoGradGuard no_grad;
  std::string first;
  visit_parameters(decoder, [&](const std::string& name, const Parameter& parameter) {
    if (first.empty() && !is_finite(parameter)) first = name;
  });
  if (!first.empty())
    return fmt::format(
        "{} holds numbers that are not finite: its file is damaged, or the training that wrote it diverged; "
        "take an earlier checkpoint or another copy",
        first);
  const std::string weights =
      decoder.streamed ? "every weight in memory is finite" : "every weight is finite";
  if (decoder.dtype() != at::kFloat)
    return fmt::format(
        "{}, so numbers outgrow {}: compute in float32 (--dtype float32, in training --fp32 True)", weights,
        dtype_name(decoder.dtype()));
  return weights +
         ", so numbers outgrow float32: compare config.json and the adapter with those of the model's makers";
}

}  // namespace longlora::model
