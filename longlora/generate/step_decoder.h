// A step of decoding: one new token of each of a few sequences goes through the model.
//
// It does what forward::forward() does with as many rows, in kernels that read every weight and every page
// once and hold hidden states in float32, without a tensor operation in between. forward() is its reference.
#pragma once

#include <ATen/ATen.h>

#include <cstdint>
#include <memory>
#include <span>

#include "longlora/forward/ready_decoder.h"
#include "longlora/ops/kv_page.h"

namespace longlora::generate {

/// One new token of a sequence. Several rows of a step may belong to one sequence, in order.
struct StepRow {
  int64_t id = 0;
  /// The pages of the sequence: page i holds the tokens [kPageTokens · i, kPageTokens · (i + 1)). The page of
  /// the new token has the decoder's dtype, and the step writes the token's key and value into it.
  std::span<const ops::PageView> pages = {};
  /// How many tokens the sequence has with the new one, whose place is num_tokens - 1.
  int64_t num_tokens = 0;

  /// StreamingLLM (Xiao et al. 2023, arXiv 2309.17453): the token sees the first `sinks` tokens, for which
  /// its query is rotated to sink_place, and the tokens from first_recent on. 0: it sees all tokens.
  int64_t sinks = 0;
  int64_t sink_place = 0;
  int64_t first_recent = 0;
};

/// How many seconds went into each part of the layers, and into the head.
struct StepTimes {
  double projections = 0.0;  // with the norm before them
  double rotation = 0.0;     // of queries and keys, with their norms, and the writing of keys and values
  double attention = 0.0;
  double output = 0.0;
  double gate_and_up = 0.0;  // with the norm before them and the activation
  double down = 0.0;
  double head = 0.0;  // with the last norm
};

/// Not thread-safe; it computes with all threads of libtorch.
class StepDecoder {
 public:
  /// Whether steps of this decoder can be computed so: on the CPU, in float32 or bfloat16, with all weights
  /// in memory. Everybody else goes through forward::forward().
  static bool takes(const forward::ReadyDecoder& ready);
  explicit StepDecoder(const forward::ReadyDecoder& ready);
  ~StepDecoder();

  /// Most rows that a step may have.
  static constexpr int64_t kMostRows = 16;

  /// Returns the logits [rows, V], float32, of what follows each row's token; the memory is reused by the
  /// next call. A row's result depends on its own sequence alone: not on the other rows, their number or
  /// order, nor on the number of threads. Under a scaling whose angles depend on the sequence's length,
  /// `num_tokens` is that length.
  at::Tensor run(std::span<const StepRow> rows);

  /// How many bytes of weights a step reads.
  int64_t num_weight_bytes() const;
  /// From now on each step adds its times to `times`; null: no more.
  void measure(StepTimes* times);

 private:
  struct Plan;
  std::unique_ptr<Plan> plan_;
};

}  // namespace longlora::generate
