#include "longlora/generate/step_decoder.h"

#include <ATen/Parallel.h>
#include <c10/core/GradMode.h>
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <memory>
#include <vector>

#include "longlora/core/error.h"
#include "longlora/generate/step_plan.h"
#include "longlora/ops/backend.h"
#include "longlora/ops/cpu/step_attention.h"

namespace longlora::generate {
namespace {

using Member = StepTeam::Member;

constexpr int64_t kMostRows = StepDecoder::kMostRows;

}  // namespace

StepDecoder::Plan::Plan(const forward::ReadyDecoder& ready)
    : decoder(ready.decoder),
      config(ready.decoder.config),
      places(config),
      width(config.hidden_size),
      heads(config.num_attention_heads),
      kv_heads(config.num_key_value_heads),
      dims(config.head_dim),
      group(heads / kv_heads),
      page_shape{static_cast<int64_t>(decoder.blocks.size()), kv_heads, dims},
      is_bf16(decoder.dtype() == at::kBFloat16),
      norm(decoder.norm, config),
      head(decoder.head().value),
      frequencies(model::rotary_frequencies(config)),
      finished_ranges(static_cast<size_t>(kMostRows * kv_heads)) {
  int64_t most_rank = 0, most_middle = 0;
  for (const model::Block& block : decoder.blocks) {
    const StepLayer& layer = layers.emplace_back(block, config);
    for (const auto* linears : {&layer.projections, &layer.mlp}) {
      int64_t rank = 0;
      for (const StepLinear& linear : *linears) rank += linear.rank();
      most_rank = std::max(most_rank, rank);
    }
    most_rank = std::max({most_rank, layer.output.rank(), layer.down.rank()});
    most_middle = std::max(most_middle, layer.mlp.empty() ? 0 : config.intermediate_size);
  }
  const auto room = [](std::vector<float>& numbers, int64_t row_size) {
    numbers.resize(static_cast<size_t>(kMostRows * row_size));
  };
  const auto pairs = static_cast<int64_t>(frequencies.inverse_frequencies.size());
  for (auto* numbers : {&hidden, &update}) room(*numbers, width);
  for (auto* numbers : {&attention, &queries, &sink_queries}) room(*numbers, heads * dims);
  for (auto* numbers : {&cos, &sin, &sink_cos, &sink_sin}) room(*numbers, pairs);
  room(qkv, places.row_size);
  room(middle, most_middle);
  room(low_rank, most_rank);
  logits = at::empty({kMostRows, head.rows()}, at::kFloat);
}

void StepDecoder::Plan::begin(std::span<const StepRow> step_rows) {
  rows = step_rows;
  m = static_cast<int64_t>(rows.size());
  if (m < 1 || m > kMostRows) throw Error(fmt::format("[step] expected 1 to {} rows, got {}", kMostRows, m));
  const int64_t vocab_size = decoder.embed_tokens.value.size(0);
  const auto format = is_bf16 ? ops::PageFormat::kBFloat16 : ops::PageFormat::kFloat;
  for (const StepRow& row : rows) {
    if (row.id < 0 || row.id >= vocab_size)
      throw Error(fmt::format("[step] expected an id in [0, {}), got {}", vocab_size, row.id));
    const auto pages = static_cast<int64_t>(row.pages.size()) * ops::kPageTokens;
    if (row.num_tokens < 1 || row.num_tokens > pages)
      throw Error(fmt::format("[step] expected 1 to {} tokens, for which there are pages, got {}", pages,
                              row.num_tokens));
    const ops::PageView& page = row.pages[static_cast<size_t>((row.num_tokens - 1) / ops::kPageTokens)];
    if (page.data == nullptr || page.format != format)
      throw Error("[step] expected the page of the new token in the dtype of the decoder");
  }
  ranges.clear();
  for (const StepLayer& layer : layers)
    if (std::none_of(ranges.begin(), ranges.end(),
                     [&](const StepRanges& cut) { return cut.window_tokens() == layer.window_tokens; }))
      ranges.emplace_back(rows, layer.window_tokens);
  size_t most = 0;
  for (const StepRanges& cut : ranges) most = std::max(most, cut.all().size());
  const size_t size = most * static_cast<size_t>(kv_heads * ops::cpu::step_part_size(group, dims));
  if (parts.size() < size) parts.resize(size);
  find_angles();
  const at::Tensor& embedding = decoder.embed_tokens.value.dense();
  for (int64_t r = 0; r < m; ++r) {
    at::Tensor row = at::from_blob(&hidden[static_cast<size_t>(r * width)], {width}, at::kFloat);
    row.copy_(embedding[rows[static_cast<size_t>(r)].id]);
  }
  workspaces.resize(std::max(workspaces.size(), static_cast<size_t>(at::get_num_threads())));
  for (Workspace& own : workspaces) {
    own.normed.resize(static_cast<size_t>(kMostRows * width));
    own.heads.resize(static_cast<size_t>(heads * dims));
    own.keys.resize(static_cast<size_t>(kv_heads * dims));
    own.narrow.resize(static_cast<size_t>(2 * kv_heads * dims));
  }
}

void StepDecoder::Plan::find_angles() {
  const size_t pairs = frequencies.inverse_frequencies.size();
  for (size_t r = 0; r < rows.size(); ++r) {
    const StepRow& row = rows[r];
    if (model::depends_on_length(config.rope_scaling.type))
      frequencies = model::rotary_frequencies(config, row.num_tokens);
    model::rotary_row(frequencies, row.num_tokens - 1, &cos[r * pairs], &sin[r * pairs]);
    if (row.sinks > 0)
      model::rotary_row(frequencies, row.sink_place, &sink_cos[r * pairs], &sink_sin[r * pairs]);
  }
}

int64_t StepDecoder::Plan::num_weight_bytes() const {
  int64_t bytes = head.num_bytes();
  for (const StepLayer& layer : layers) {
    for (const auto* linears : {&layer.projections, &layer.mlp})
      for (const StepLinear& linear : *linears) bytes += linear.num_bytes();
    bytes += layer.output.num_bytes() + layer.down.num_bytes();
  }
  return bytes;
}

void StepDecoder::Plan::walk(const Member& member) {
  Workspace& own = workspaces[static_cast<size_t>(member.index())];
  auto before = std::chrono::steady_clock::now();
  // Adds the time since the last call, which is that of a part of the step.
  const auto add_time = [&](double StepTimes::*part) {
    if (times == nullptr || member.index() != 0) return;
    const auto now = std::chrono::steady_clock::now();
    times->*part += std::chrono::duration<double>(now - before).count();
    before = now;
  };
  for (size_t i = 0; i < layers.size(); ++i) {
    const auto index = static_cast<int64_t>(i);
    project(member, own, layers[i]);
    add_time(&StepTimes::projections);
    rotate(member, own, layers[i], index);
    add_time(&StepTimes::rotation);
    attend(member, layers[i], index);
    add_time(&StepTimes::attention);
    add_attention(member, own, layers[i]);
    add_time(&StepTimes::output);
    widen_hidden(member, own, layers[i]);
    add_time(&StepTimes::gate_and_up);
    add_mlp(member, own, layers[i]);
    add_time(&StepTimes::down);
  }
  find_logits(member, own);
  add_time(&StepTimes::head);
}

bool StepDecoder::takes(const forward::ReadyDecoder& ready) {
  const model::Decoder& decoder = ready.decoder;
  const ops::Weight& embedding = decoder.embed_tokens.value;
  if (!embedding.device().is_cpu() || embedding.is_nf4() || ready.source != forward::resident()) return false;
  if (&ops::backend_for(embedding.device(), decoder.dtype()) != &ops::cpu_backend()) return false;
  return ops::RightMatrix::takes(decoder.head().value) &&
         std::all_of(decoder.blocks.begin(), decoder.blocks.end(), step_takes);
}

StepDecoder::StepDecoder(const forward::ReadyDecoder& ready) {
  const c10::NoGradGuard no_grad;
  if (!takes(ready))
    throw Error("[step] expected a decoder on the CPU in float32 or bfloat16 with all weights in memory");
  plan_ = std::make_unique<Plan>(ready);
}

StepDecoder::~StepDecoder() = default;

void StepDecoder::measure(StepTimes* times) {
  plan_->times = times;
}

int64_t StepDecoder::num_weight_bytes() const {
  return plan_->num_weight_bytes();
}

at::Tensor StepDecoder::run(std::span<const StepRow> rows) {
  const c10::NoGradGuard no_grad;
  plan_->begin(rows);
  plan_->team.run(at::get_num_threads(), [&](const Member& member) { plan_->walk(member); });
  return plan_->logits.slice(0, 0, plan_->m);
}

}  // namespace longlora::generate
