// What implementations of attention() save for their backward pass and for a second call.
#pragma once

#include <torch/csrc/autograd/custom_function.h>

#include "longlora/ops/attention.h"
#include "longlora/ops/attention_plan.h"

namespace longlora::ops {

/// Returns the results that `kept` has. Where it is null or has none, returns those of compute(), and a
/// `kept` that is given receives them.
template <typename Compute>
KeptAttention kept_or_computed(KeptAttention* kept, const Compute& compute) {
  // What is returned and what is kept are different tensor objects, because autograd marks the former.
  if (kept != nullptr && kept->out.defined()) return {kept->out.detach(), kept->log_sum_exp};
  const KeptAttention results = compute();
  if (kept != nullptr) *kept = {results.out.detach(), results.log_sum_exp};
  return results;
}

/// Saves a plan in which every token has a query for the backward pass.
inline void save_plan(const AttentionPlan& plan, torch::autograd::AutogradContext* context) {
  context->saved_data["tokens"] = plan.num_tokens;
  context->saved_data["bounds_0"] = plan.bounds[0];
  context->saved_data["bounds_1"] = plan.bounds[1];
  context->saved_data["window"] = plan.window_tokens;
}

/// Returns the plan that save_plan() saved.
inline AttentionPlan saved_plan(torch::autograd::AutogradContext* context) {
  AttentionPlan plan;
  plan.num_tokens = context->saved_data["tokens"].toInt();
  plan.bounds = {context->saved_data["bounds_0"].toIntVector(),
                 context->saved_data["bounds_1"].toIntVector()};
  plan.window_tokens = context->saved_data["window"].toInt();
  return plan;
}

}  // namespace longlora::ops
