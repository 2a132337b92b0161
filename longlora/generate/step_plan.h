// What a step of decoding works on: the decoder in the form of kernels, and the numbers of the step.
#pragma once

#include <ATen/ATen.h>

#include <array>
#include <atomic>
#include <cstdint>
#include <span>
#include <vector>

#include "longlora/forward/ready_decoder.h"
#include "longlora/generate/step_decoder.h"
#include "longlora/generate/step_ranges.h"
#include "longlora/generate/step_team.h"
#include "longlora/generate/step_weights.h"
#include "longlora/model/rotary.h"
#include "longlora/ops/few_rows.h"

namespace longlora::generate {

/// Where the heads of queries, keys and values lie in a row of their projections.
struct HeadPlaces {
  int64_t q, k, v;   // of the first head
  int64_t apart;     // from one head to the next
  int64_t row_size;  // of all heads

  explicit HeadPlaces(const model::ModelConfig& config) {
    const int64_t heads = config.num_attention_heads, kv_heads = config.num_key_value_heads,
                  dims = config.head_dim;
    const bool per_head = config.form.qkv == model::QkvLayout::kPerHead;
    q = 0;
    k = per_head ? dims : heads * dims;
    v = per_head ? 2 * dims : (heads + kv_heads) * dims;
    apart = per_head ? 3 * dims : dims;
    row_size = (heads + 2 * kv_heads) * dims;
  }
};

/// What one thread needs for itself.
struct Workspace {
  StepOperands operands;
  std::vector<float> normed;           // [rows, C]
  std::vector<float> heads;            // the normed heads of a row
  std::vector<float> keys;             // the rotated keys of a row
  std::vector<ops::cpu::Bf16> narrow;  // keys and values of a row in bfloat16
  std::array<float, StepDecoder::kMostRows * StepLinear::kMostOutputs> values, more_values;
};

/// The decoder in the form of kernels, and the numbers of the step that is computed.
struct StepDecoder::Plan {
  const model::Decoder& decoder;
  const model::ModelConfig& config;
  const HeadPlaces places;
  const int64_t width, heads, kv_heads, dims, group;
  const ops::PageShape page_shape;
  const bool is_bf16;

  std::vector<StepLayer> layers;
  StepNorm norm;
  ops::RightMatrix head;
  model::RotaryFrequencies frequencies;

  StepTeam team;
  std::vector<Workspace> workspaces;  // of each thread

  // Of the step, all float32, by rows.
  std::span<const StepRow> rows;
  int64_t m = 0;
  std::vector<StepRanges> ranges;  // for each width of a window that a layer has
  std::vector<float> hidden, update, qkv, attention, middle, low_rank;
  std::vector<float> queries, sink_queries;           // [H, D], rotated and scaled
  std::vector<float> cos, sin, sink_cos, sink_sin;    // the angles of a row's query
  std::vector<float> parts;                           // of attention: for each row, key/value head and range
  std::vector<std::atomic<int64_t>> finished_ranges;  // of each row and key/value head
  at::Tensor logits;
  StepTimes* times = nullptr;

  explicit Plan(const forward::ReadyDecoder& ready);
  void begin(std::span<const StepRow> step_rows);
  int64_t num_weight_bytes() const;
  void find_angles();
  void walk(const StepTeam::Member& member);

  // The parts of a layer. Every thread runs them.
  void project(const StepTeam::Member& member, Workspace& own, const StepLayer& layer);
  void rotate(const StepTeam::Member& member, Workspace& own, const StepLayer& layer, int64_t index);
  void attend(const StepTeam::Member& member, const StepLayer& layer, int64_t index);
  void add_attention(const StepTeam::Member& member, Workspace& own, const StepLayer& layer);
  void widen_hidden(const StepTeam::Member& member, Workspace& own, const StepLayer& layer);
  void add_mlp(const StepTeam::Member& member, Workspace& own, const StepLayer& layer);
  void find_logits(const StepTeam::Member& member, Workspace& own);

  void rotate_row(Workspace& own, const StepLayer& layer, int64_t index, int64_t r);
  template <typename T>
  void write_keys(Workspace& own, int64_t index, int64_t r);
  void attend_range(const StepRanges& cut, int64_t index, int64_t task);

  void norm_hidden(Workspace& own, const StepNorm& by);
  std::span<const StepLinear> with_pairs(const StepTeam::Member& member, Workspace& own,
                                         std::span<const StepLinear> linears);
  float* low_rank_of(std::span<const StepLinear> linears, size_t i);
  const StepRanges& ranges_of(const StepLayer& layer) const;
};

}  // namespace longlora::generate
