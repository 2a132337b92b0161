#include "longlora/train/optimizer.h"

#include <ATen/Parallel.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>

#include "longlora/core/error.h"
#include "longlora/ops/adamw.h"
#include "longlora/ops/dynamic_map.h"
#include "longlora/tensors/disk_tensor.h"

namespace longlora::train {
namespace {

constexpr int64_t kRowsPerTask = 64;
constexpr int64_t kBlocksPerTask = 64;
// The fewest elements of a parameter whose moments can be in 8 bits.
constexpr int64_t kLeastQuantized = 4096;

float* row_of(const at::Tensor& matrix, int64_t row) {
  return static_cast<float*>(matrix.data_ptr()) + row * matrix.size(1);
}

// Returns how many rows of a matrix are updated at a time.
int64_t rows_of_piece(const at::Tensor& matrix) {
  return std::max<int64_t>(1, tensors::kDiskPieceElements / matrix.size(1));
}

// Returns the rows of a second moment that are not zero.
RowSet rows_in_use(const at::Tensor& exp_avg_sq) {
  RowSet rows(exp_avg_sq.size(0));
  int64_t begin = 0;
  for (const at::Tensor& piece : exp_avg_sq.split(rows_of_piece(exp_avg_sq))) {
    rows.add(piece.ne(0.0).any(1).nonzero().squeeze(1).add_(begin));
    tensors::release(piece);
    begin += piece.size(0);
  }
  return rows;
}

// Returns the tensors that an update reads and writes and that may be on disk.
std::array<at::Tensor, 4> state_tensors(const AdamW::Slot& slot) {
  return {slot.trained->master, slot.exp_avg, slot.exp_avg_sq, slot.trained->parameter->value.dense()};
}

// Calls body(begin, end) for all elements of a slot at once, or piece by piece where its state is on disk.
// Then the next piece is read ahead, and earlier ones need no longer be in memory.
template <typename Body>
void for_each_piece(const AdamW::Slot& slot, const Body& body) {
  const int64_t elements = slot.exp_avg.numel();
  if (!tensors::is_on_disk(slot.exp_avg)) return body(0, elements);
  const auto tensors = state_tensors(slot);
  tensors::for_each_disk_piece(elements, [&](int64_t begin, int64_t end) {
    for (const at::Tensor& x : tensors)
      tensors::will_need_elements(x, end, std::min(elements, end + tensors::kDiskPieceElements));
    body(begin, end);
    for (const at::Tensor& x : tensors) tensors::release_elements(x, begin, end);
  });
}

}  // namespace

const std::vector<std::string>& optimizer_names() {
  static const std::vector<std::string> names = {"adamw_torch", "adamw_8bit", "adamw_torch_fused",
                                                 "adamw_bnb_8bit"};
  return names;
}

const char* optimizer_name(const AdamWOptions& options) {
  return optimizer_names()[options.moments_in_8_bits ? 1 : 0].c_str();
}

bool moments_in_8_bits_from_name(const std::string& name) {
  const auto& names = optimizer_names();
  if (std::find(names.begin(), names.end(), name) == names.end())
    throw UsageError(fmt::format("[--optim] expected one of {}, got {}", fmt::join(names, ", "), name));
  return name.ends_with("8bit");
}

bool takes_8_bit_moments(const model::Parameter& parameter, model::ParameterRole role) {
  return parameter.value.numel() >= kLeastQuantized && role != model::ParameterRole::kEmbedding;
}

int64_t moment_bytes(int64_t elements, bool in_8_bits) {
  if (!in_8_bits) return 8 * elements;
  return 2 * (elements + 4 * ((elements + ops::kQuantizedBlock - 1) / ops::kQuantizedBlock));
}

AdamW::AdamW(TrainedParameters& parameters, const AdamWOptions& options) : options_(options) {
  for (TrainedParameter& trained : parameters.all()) {
    const auto moment = [&](at::ScalarType dtype) { return parameters.zeros_for(trained, dtype); };
    if (!options.moments_in_8_bits || !takes_8_bit_moments(*trained.parameter, trained.role)) {
      slots_.push_back({&trained, moment(at::kFloat), moment(at::kFloat)});
      continue;
    }
    const int64_t blocks = (trained.master.numel() + ops::kQuantizedBlock - 1) / ops::kQuantizedBlock;
    const auto scales = [&] { return at::zeros({blocks}, at::kFloat); };
    slots_.push_back({&trained, moment(at::kByte), moment(at::kByte), scales(), scales()});
  }
}

std::vector<std::pair<std::string, at::Tensor>> AdamW::Slot::state() const {
  // detach() is needed because in float32 runs the master is a leaf of autograd's graph.
  std::vector<std::pair<std::string, at::Tensor>> tensors = {
      {"master/" + trained->name, trained->master.detach()},
      {"exp_avg/" + trained->name, exp_avg},
      {"exp_avg_sq/" + trained->name, exp_avg_sq}};
  if (!exp_avg_scales.defined()) return tensors;
  tensors.emplace_back("exp_avg_scales/" + trained->name, exp_avg_scales);
  tensors.emplace_back("exp_avg_sq_scales/" + trained->name, exp_avg_sq_scales);
  return tensors;
}

void AdamW::zero_grad() {
  for (Slot& slot : slots_) slot.trained->zero_grad();
}

double AdamW::grad_norm() const {
  double sum = 0.0;
  std::vector<at::Tensor> elsewhere;
  for (const Slot& slot : slots_) {
    const TrainedParameter& trained = *slot.trained;
    // The sum is in double, because a float32 sum of an embedding's millions of terms is wrong by percents.
    if (trained.grad_rows) {
      const auto num_rows = static_cast<int64_t>(trained.grad_rows->rows().size());
      sum += ops::sum_of_squares(trained.grad.slice(0, 0, num_rows), trained.grad.size(1)).item<double>();
      continue;
    }
    const at::Tensor part = ops::sum_of_squares(trained.grad);
    if (part.is_cpu())
      sum += part.item<double>();
    else
      elsewhere.push_back(
          part);  // they are read together, because each number that is read from a GPU is waited for
  }
  if (!elsewhere.empty()) sum += at::stack(elsewhere).sum().item<double>();
  return std::sqrt(sum);
}

void AdamW::set_num_steps(int64_t steps) {
  num_steps_ = steps;
  starts_from_zero_ = false;
  for (Slot& slot : slots_) {
    slot.active_rows.reset();
    for_each_piece(slot, [&](int64_t begin, int64_t end) { slot.trained->refresh_elements(begin, end); });
  }
}

void AdamW::update_all(Slot& slot, const ops::AdamWStep& step) {
  const at::Tensor master = slot.trained->master.view(-1), grad = slot.trained->grad.view(-1);
  const at::Tensor exp_avg = slot.exp_avg.view(-1), exp_avg_sq = slot.exp_avg_sq.view(-1);
  for_each_piece(slot, [&](int64_t begin, int64_t end) {
    const auto piece = [&](const at::Tensor& x) { return x.detach().slice(0, begin, end); };
    ops::adamw(piece(master), piece(grad), piece(exp_avg), piece(exp_avg_sq), step);
    slot.trained->refresh_elements(begin, end);
  });
}

void AdamW::update_quantized(Slot& slot, const ops::AdamWStep& step) {
  const ops::DynamicMap &signed_map = ops::DynamicMap::with_sign(),
                        &unsigned_map = ops::DynamicMap::without_sign();
  float* master = static_cast<float*>(slot.trained->master.data_ptr());
  const float* grad = slot.trained->grad.const_data_ptr<float>();
  auto* codes = slot.exp_avg.mutable_data_ptr<uint8_t>();
  auto* square_codes = slot.exp_avg_sq.mutable_data_ptr<uint8_t>();
  float* scales = slot.exp_avg_scales.mutable_data_ptr<float>();
  float* square_scales = slot.exp_avg_sq_scales.mutable_data_ptr<float>();
  const auto update_block = [&](int64_t block, int64_t end) {
    float exp_avg[ops::kQuantizedBlock], exp_avg_sq[ops::kQuantizedBlock];
    const int64_t begin = block * ops::kQuantizedBlock, count = std::min(ops::kQuantizedBlock, end - begin);
    signed_map.dequantize(codes + begin, scales[block], exp_avg, count);
    unsigned_map.dequantize(square_codes + begin, square_scales[block], exp_avg_sq, count);
    ops::adamw(master + begin, grad + begin, exp_avg, exp_avg_sq, count, step);
    scales[block] = signed_map.quantize(exp_avg, codes + begin, count);
    square_scales[block] = unsigned_map.quantize(exp_avg_sq, square_codes + begin, count);
  };
  static_assert(tensors::kDiskPieceElements % ops::kQuantizedBlock == 0);
  for_each_piece(slot, [&](int64_t begin, int64_t end) {
    const int64_t end_block = (end + ops::kQuantizedBlock - 1) / ops::kQuantizedBlock;
    at::parallel_for(begin / ops::kQuantizedBlock, end_block, kBlocksPerTask,
                     [&](int64_t first, int64_t last) {
                       for (int64_t block = first; block < last; ++block) update_block(block, end);
                     });
    slot.trained->refresh_elements(begin, end);
  });
}

void AdamW::update_rows(Slot& slot, const ops::AdamWStep& step) {
  TrainedParameter& trained = *slot.trained;
  const RowSet& fresh = *trained.grad_rows;
  const int64_t num_rows = slot.exp_avg.size(0), width = slot.exp_avg.size(1);
  std::vector<int64_t> rows(static_cast<size_t>(num_rows));
  if (step.weight_decay != 0.0f) {  // weight decay changes every row
    std::iota(rows.begin(), rows.end(), int64_t{0});
  } else {
    if (!slot.active_rows)
      slot.active_rows = starts_from_zero_ ? RowSet(num_rows) : rows_in_use(slot.exp_avg_sq);
    slot.active_rows->add(at::tensor(fresh.rows(), at::kLong));
    rows = slot.active_rows->rows();
    std::sort(rows.begin(), rows.end());
  }
  const at::Tensor no_grad = at::zeros({width}, at::kFloat);
  const auto grad_of = [&](int64_t row) {
    return fresh.contains(row) ? row_of(trained.grad, fresh.place(row)) : no_grad.const_data_ptr<float>();
  };
  const auto tensors = state_tensors(slot);
  const int64_t piece_rows = tensors::is_on_disk(slot.exp_avg) ? rows_of_piece(slot.exp_avg) : num_rows;
  for (auto first = rows.begin(); first != rows.end();) {
    const int64_t piece = *first / piece_rows * piece_rows, end = std::min(num_rows, piece + piece_rows);
    const auto last = std::lower_bound(first, rows.end(), end);
    at::parallel_for(0, last - first, kRowsPerTask, [&](int64_t from, int64_t to) {
      for (int64_t i = from; i < to; ++i)
        ops::adamw(row_of(trained.master, first[i]), grad_of(first[i]), row_of(slot.exp_avg, first[i]),
                   row_of(slot.exp_avg_sq, first[i]), width, step);
    });
    trained.refresh_rows({first, last});
    for (const at::Tensor& x : tensors) tensors::release_elements(x, piece * width, end * width);
    first = last;
  }
}

void AdamW::step(double learning_rate, double grad_scale) {
  ++num_steps_;
  const auto steps = static_cast<double>(num_steps_);
  ops::AdamWStep step = {};
  step.beta1 = static_cast<float>(options_.beta1);
  step.beta2 = static_cast<float>(options_.beta2);
  step.one_minus_beta1 = static_cast<float>(1.0 - options_.beta1);
  step.one_minus_beta2 = static_cast<float>(1.0 - options_.beta2);
  step.epsilon = static_cast<float>(options_.epsilon);
  step.grad_scale = static_cast<float>(grad_scale);
  step.bias_correction1 = static_cast<float>(1.0 - std::pow(options_.beta1, steps));
  step.sqrt_bias_correction2 = static_cast<float>(std::sqrt(1.0 - std::pow(options_.beta2, steps)));
  for (Slot& slot : slots_) {
    const bool is_b = slot.trained->role == model::ParameterRole::kPairB;
    step.learning_rate =
        static_cast<float>(is_b ? learning_rate * options_.loraplus_lr_ratio : learning_rate);
    step.weight_decay =
        model::is_matrix(slot.trained->role) ? static_cast<float>(options_.weight_decay) : 0.0f;
    if (slot.exp_avg_scales.defined())
      update_quantized(slot, step);
    else if (slot.trained->grad_rows)
      update_rows(slot, step);
    else
      update_all(slot, step);
  }
}

}  // namespace longlora::train
