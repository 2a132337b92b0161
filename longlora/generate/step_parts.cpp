#include <algorithm>

#include "longlora/generate/step_plan.h"
#include "longlora/ops/cpu/row_kernels.h"
#include "longlora/ops/cpu/step_attention.h"
#include "longlora/ops/cpu/step_kernels.h"

namespace longlora::generate {
namespace {

using model::QkvLayout;
using ops::cpu::Bf16;
using Member = StepTeam::Member;

// How many outputs of a linear layer threads divide among each other at least.
constexpr int64_t kLeastOutputs = 16;

ops::cpu::StepActivation kernel_activation(model::Activation activation) {
  switch (activation) {
    case model::Activation::kSilu:
      return ops::cpu::StepActivation::kSilu;
    case model::Activation::kGelu:
      return ops::cpu::StepActivation::kGelu;
    default:
      return ops::cpu::StepActivation::kGeluTanh;
  }
}

// Divides the outputs [0, n) of linear layers among threads, and calls body(begin, end) for at most
// StepLinear::kMostOutputs of them.
template <typename Body>
void share_outputs(const Member& member, int64_t n, const Body& body) {
  member.share((n + kLeastOutputs - 1) / kLeastOutputs, [&](int64_t first, int64_t last) {
    const int64_t end = std::min(n, last * kLeastOutputs);
    for (int64_t begin = first * kLeastOutputs; begin < end; begin += StepLinear::kMostOutputs)
      body(begin, std::min(end, begin + StepLinear::kMostOutputs));
  });
}

// As share_outputs, for layers whose outputs follow each other. Calls body(i, offset, begin, end) for
// outputs [begin, end) of layer i, whose outputs begin at `offset`.
template <typename Body>
void share_outputs(const Member& member, std::span<const StepLinear> linears, const Body& body) {
  int64_t all = 0;
  for (const StepLinear& linear : linears) all += linear.num_outputs();
  share_outputs(member, all, [&](int64_t begin, int64_t end) {
    int64_t offset = 0;
    for (size_t i = 0; i < linears.size(); ++i) {
      const int64_t n = linears[i].num_outputs();
      const int64_t from = std::max(begin - offset, int64_t{0}), to = std::min(end - offset, n);
      if (from < to) body(i, offset, from, to);
      offset += n;
    }
  });
}

}  // namespace

const StepRanges& StepDecoder::Plan::ranges_of(const StepLayer& layer) const {
  return *std::find_if(ranges.begin(), ranges.end(),
                       [&](const StepRanges& cut) { return cut.window_tokens() == layer.window_tokens; });
}

void StepDecoder::Plan::norm_hidden(Workspace& own, const StepNorm& by) {
  // Every thread norms all rows for itself, which takes less time than to meet once more.
  by.apply(hidden.data(), m, own.normed.data());
  own.operands.rows.set(own.normed.data(), m, width, width);
}

float* StepDecoder::Plan::low_rank_of(std::span<const StepLinear> linears, size_t i) {
  int64_t before = 0;
  for (size_t l = 0; l < i; ++l) before += linears[l].rank();
  return linears[i].rank() > 0 ? &low_rank[static_cast<size_t>(before * kMostRows)] : nullptr;
}

std::span<const StepLinear> StepDecoder::Plan::with_pairs(const Member& member, Workspace& own,
                                                          std::span<const StepLinear> linears) {
  // Each pair's first half has so many parts for threads.
  const auto parts_of = [](const StepLinear& linear) {
    return (linear.rank() + kLeastOutputs - 1) / kLeastOutputs;
  };
  int64_t all = 0;
  for (const StepLinear& linear : linears) all += parts_of(linear);
  if (all == 0) return linears;
  member.share(all, [&](int64_t first, int64_t last) {
    int64_t before = 0;
    for (size_t i = 0; i < linears.size(); ++i) {
      const int64_t rank = linears[i].rank();
      const int64_t begin = std::max(first - before, int64_t{0}) * kLeastOutputs;
      const int64_t end = std::min((last - before) * kLeastOutputs, rank);
      if (begin < end) linears[i].multiply_low_rank(own.operands, begin, end, low_rank_of(linears, i));
      before += parts_of(linears[i]);
    }
  });
  return linears;
}

void StepDecoder::Plan::project(const Member& member, Workspace& own, const StepLayer& layer) {
  norm_hidden(own, layer.input_norm);
  const auto linears = with_pairs(member, own, layer.projections);
  share_outputs(member, linears, [&](size_t i, int64_t offset, int64_t begin, int64_t end) {
    linears[i].multiply(own.operands, low_rank_of(linears, i), begin, end, own.values.data());
    for (int64_t r = 0; r < m; ++r)
      std::copy_n(&own.values[static_cast<size_t>(r * StepLinear::kMostOutputs)], end - begin,
                  &qkv[static_cast<size_t>(r * places.row_size + offset + begin)]);
  });
}

template <typename T>
void StepDecoder::Plan::write_keys(Workspace& own, int64_t index, int64_t r) {
  const StepRow& row = rows[static_cast<size_t>(r)];
  const int64_t place = row.num_tokens - 1;
  const ops::PageView page = row.pages[static_cast<size_t>(place / ops::kPageTokens)];
  const float* const values = &qkv[static_cast<size_t>(r * places.row_size + places.v)];
  ops::TokenRows<T> token = {.keys = nullptr, .values = nullptr, .token_stride = 0, .head_stride = dims};
  if constexpr (std::is_same_v<T, Bf16>) {
    const auto& kernels = ops::cpu::step_kernels();
    Bf16* const narrow_values = own.narrow.data() + kv_heads * dims;
    kernels.round(own.keys.data(), kv_heads * dims, own.narrow.data());
    for (int64_t h = 0; h < kv_heads; ++h)
      kernels.round(values + h * places.apart, dims, narrow_values + h * dims);
    token.keys = own.narrow.data();
    token.values = narrow_values;
  } else {
    for (int64_t h = 0; h < kv_heads; ++h)
      std::copy_n(values + h * places.apart, dims, &own.heads[static_cast<size_t>(h * dims)]);
    token.keys = own.keys.data();
    token.values = own.heads.data();
  }
  ops::write_page<T>(page_shape, page, index, place % ops::kPageTokens, 1, token);
}

void StepDecoder::Plan::rotate_row(Workspace& own, const StepLayer& layer, int64_t index, int64_t r) {
  const auto at_row = static_cast<size_t>(r);
  const size_t pairs = frequencies.inverse_frequencies.size();
  const bool norms_heads = config.form.query_key_norm == model::QueryKeyNorm::kPerHead;
  const float* const row = &qkv[static_cast<size_t>(r * places.row_size)];
  const auto gather = [&](const float* from, int64_t count, const StepNorm& by) {
    for (int64_t h = 0; h < count; ++h)
      std::copy_n(from + h * places.apart, dims, &own.heads[static_cast<size_t>(h * dims)]);
    if (norms_heads) by.apply(own.heads.data(), count, own.heads.data());
  };
  const auto turn = [&](int64_t count, const std::vector<float>& c, const std::vector<float>& s, float* to) {
    constexpr int64_t kFirst = 0;
    ops::cpu::row_kernels<float>().rotate(own.heads.data(), 0, to, &kFirst, &c[at_row * pairs],
                                          &s[at_row * pairs], 1, count, dims, static_cast<int64_t>(pairs),
                                          1.0f);
  };
  gather(row + places.k, kv_heads, layer.k_norm);
  turn(kv_heads, cos, sin, own.keys.data());
  if (is_bf16)
    write_keys<Bf16>(own, index, r);
  else
    write_keys<float>(own, index, r);

  gather(row + places.q, heads, layer.q_norm);
  // Scores in powers of two.
  const float scale = 1.44269504088896341f / std::sqrt(static_cast<float>(dims));
  for (float& q : own.heads) q *= scale;
  turn(heads, cos, sin, &queries[static_cast<size_t>(r * heads * dims)]);
  if (rows[at_row].sinks > 0)
    turn(heads, sink_cos, sink_sin, &sink_queries[static_cast<size_t>(r * heads * dims)]);
}

void StepDecoder::Plan::rotate(const Member& member, Workspace& own, const StepLayer& layer, int64_t index) {
  member.share(m, [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) rotate_row(own, layer, index, r);
  });
}

void StepDecoder::Plan::attend_range(const StepRanges& cut, int64_t index, int64_t task) {
  // Tasks are ordered by row, then key/value head, then range, and so are their parts.
  const auto& all = cut.all();
  const int64_t row = all[static_cast<size_t>(task / kv_heads)].row;
  const int64_t first = cut.first_of(row), count = cut.count_of(row);
  const int64_t in_row = task - first * kv_heads, kv_head = in_row / count;
  const StepRange& range = all[static_cast<size_t>(first + in_row % count)];
  const auto& kernels = ops::cpu::step_attention();
  const int64_t part_size = ops::cpu::step_part_size(group, dims);
  float* const part = &parts[static_cast<size_t>(task * part_size)];
  const auto from = static_cast<size_t>((row * heads + kv_head * group) * dims);
  kernels.attend({page_shape, rows[static_cast<size_t>(row)].pages.data(), index, kv_head, range.first_token,
                  range.last_token},
                 range.is_sink ? &sink_queries[from] : &queries[from], group, part);
  // Whoever is the last of a head joins its parts.
  std::atomic<int64_t>& finished = finished_ranges[static_cast<size_t>(row * kv_heads + kv_head)];
  if (finished.fetch_add(1, std::memory_order_acq_rel) + 1 < count) return;
  finished.store(0, std::memory_order_relaxed);
  kernels.merge(&parts[static_cast<size_t>((first * kv_heads + kv_head * count) * part_size)], count, group,
                dims, &attention[from]);
}

void StepDecoder::Plan::attend(const Member& member, const StepLayer& layer, int64_t index) {
  const StepRanges& cut = ranges_of(layer);
  member.share(static_cast<int64_t>(cut.all().size()) * kv_heads, [&](int64_t begin, int64_t end) {
    for (int64_t task = begin; task < end; ++task) attend_range(cut, index, task);
  });
}

void StepDecoder::Plan::add_attention(const Member& member, Workspace& own, const StepLayer& layer) {
  const bool is_sequential = config.form.residual == model::ResidualForm::kSequential;
  own.operands.rows.set(attention.data(), m, heads * dims, heads * dims);
  const auto linears = with_pairs(member, own, {&layer.output, 1});
  share_outputs(member, width, [&](int64_t begin, int64_t end) {
    layer.output.multiply(own.operands, low_rank_of(linears, 0), begin, end, own.values.data());
    // In the parallel forms the MLP reads the hidden states before attention, so that the sum has to wait.
    for (int64_t r = 0; r < m; ++r)
      for (int64_t j = begin; j < end; ++j) {
        const float value = own.values[static_cast<size_t>(r * StepLinear::kMostOutputs + j - begin)];
        const auto at = static_cast<size_t>(r * width + j);
        if (is_sequential)
          hidden[at] += value;
        else
          update[at] = value;
      }
  });
}

void StepDecoder::Plan::widen_hidden(const Member& member, Workspace& own, const StepLayer& layer) {
  using model::MlpForm;
  const model::BlockForm& form = config.form;
  norm_hidden(own, form.residual == model::ResidualForm::kSharedNorm ? layer.input_norm : layer.post_norm);
  const auto linears = with_pairs(member, own, layer.mlp);
  const int64_t between = config.intermediate_size;
  const StepLinear& gate = linears[0];
  const StepLinear& up = linears.back();  // the joined one where gate and up are joined
  const int64_t up_begin = form.mlp == MlpForm::kFusedGated ? between : 0;
  const auto activation = kernel_activation(form.activation);
  const auto& kernels = ops::cpu::step_kernels();
  share_outputs(member, between, [&](int64_t begin, int64_t end) {
    gate.multiply(own.operands, low_rank_of(linears, 0), begin, end, own.values.data());
    if (form.mlp != MlpForm::kPlain)
      up.multiply(own.operands, low_rank_of(linears, linears.size() - 1), up_begin + begin, up_begin + end,
                  own.more_values.data());
    for (int64_t r = 0; r < m; ++r) {
      const auto row = static_cast<size_t>(r * StepLinear::kMostOutputs);
      kernels.activate(activation, &own.values[row],
                       form.mlp == MlpForm::kPlain ? nullptr : &own.more_values[row], end - begin);
      std::copy_n(&own.values[row], end - begin, &middle[static_cast<size_t>(r * between + begin)]);
    }
  });
}

void StepDecoder::Plan::add_mlp(const Member& member, Workspace& own, const StepLayer& layer) {
  const bool is_sequential = config.form.residual == model::ResidualForm::kSequential;
  own.operands.rows.set(middle.data(), m, config.intermediate_size, config.intermediate_size);
  const auto downs = with_pairs(member, own, {&layer.down, 1});
  share_outputs(member, width, [&](int64_t begin, int64_t end) {
    layer.down.multiply(own.operands, low_rank_of(downs, 0), begin, end, own.values.data());
    for (int64_t r = 0; r < m; ++r)
      for (int64_t j = begin; j < end; ++j) {
        const auto at = static_cast<size_t>(r * width + j);
        float value = own.values[static_cast<size_t>(r * StepLinear::kMostOutputs + j - begin)];
        if (!is_sequential) value += update[at];
        hidden[at] += value;
      }
  });
}

void StepDecoder::Plan::find_logits(const Member& member, Workspace& own) {
  norm_hidden(own, norm);
  float* const out = logits.mutable_data_ptr<float>();
  share_outputs(member, head.rows(), [&](int64_t begin, int64_t end) {
    head.multiply(own.operands.rows, begin, end, out + begin, head.rows());
  });
}

}  // namespace longlora::generate
