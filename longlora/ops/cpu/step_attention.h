// Attention of a decoding step: the query of one token over keys and values in pages (ops/kv_page.h). It is
// compiled once for each instruction set and takes raw pointers only, like row_kernels.h.
//
// A sequence is cut into ranges of tokens, which threads attend to by themselves and whose results are merged
// ("flash-decoding").
#pragma once

#include <cstdint>

#include "longlora/ops/cpu/isa.h"
#include "longlora/ops/kv_page.h"

namespace longlora::ops::cpu {

/// The keys and values of some neighbouring tokens of a sequence, in one layer and key/value head.
struct StepKeys {
  PageShape shape;
  const PageView* pages;  // of the sequence: page i holds the tokens from kPageTokens · i on
  int64_t layer, kv_head;
  int64_t first_token, last_token;  // [first_token, last_token); their pages are there
};

struct StepAttention {
  /// Computes what a range adds to the attention of `group` query heads that share a key/value head. queries
  /// [group, D] are rotated and multiplied by log2(e) / sqrt(D), so that weights are powers of two of scores.
  /// `part` becomes [group, D] sums of 2^(score − maximum) · value, then [group] maxima of scores, then
  /// [group] sums of 2^(score − maximum). The order of sums depends on nothing but the range.
  void (*attend)(const StepKeys& keys, const float* queries, int64_t group, float* part);
  /// Joins the parts of num_parts ranges, which follow each other in memory: out [group, D]. There is one
  /// with a token at least.
  void (*merge)(const float* parts, int64_t num_parts, int64_t group, int64_t head_dim, float* out);
};

/// How many floats a part has.
constexpr int64_t step_part_size(int64_t group, int64_t head_dim) {
  return group * (head_dim + 2);
}

/// Returns the kernels of an instruction set, by default of the widest that this machine can run.
const StepAttention& step_attention_of(Isa isa);
const StepAttention& step_attention();

}  // namespace longlora::ops::cpu
