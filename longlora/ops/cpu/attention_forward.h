// One task of the forward pass of blocked causal attention.
#pragma once

#include <algorithm>
#include <cmath>
#include <utility>
#include <vector>

#include "longlora/ops/cpu/attention_blocks.h"

namespace longlora::ops::cpu {

/// Keys and values in tensors [N, K, D].
template <typename T>
class StridedKeys {
 public:
  StridedKeys(const at::Tensor& k, const at::Tensor& v)
      : k_(k), v_(v), width_(k.size(2)), kernels_(attention_kernels<T>()) {}

  void load(int64_t kv_head, int64_t token, int64_t valid, T* keys, T* values) const {
    kernels_.copy_block(k_.at(token, kv_head), k_.token_stride, valid, width_, keys);
    kernels_.transpose_block(v_.at(token, kv_head), v_.token_stride, valid, width_, values);
  }

 private:
  HeadView<T> k_, v_;
  int64_t width_;
  const AttentionKernels<T>& kernels_;
};

/// `Keys` brings keys and values: load(kv_head, token, valid, keys, values) packs those of the `valid` tokens
/// from `token` on, as copy_block and transpose_block do.
template <typename T, typename Keys>
class ForwardTask {
 public:
  ForwardTask(const HeadView<T>& q, Keys keys, const HeadView<T>& out, float* log_sum_exp, int64_t num_tokens,
              int64_t width, Window window)
      : q_(q),
        source_(std::move(keys)),
        out_(out),
        log_sum_exp_(log_sum_exp),
        num_tokens_(num_tokens),
        width_(width),
        window_(window),
        scale_(1.0f / std::sqrt(static_cast<float>(width))),
        kernels_(attention_kernels<T>()) {
    query_.resize(kBlock * width);
    late_query_.resize(kBlock * width);
    late_output_.resize(kBlock * width);
    late_log_sum_exp_.resize(kBlock);
    probabilities_.resize(kBlock * kBlock);
    scores_.resize(kBlock * kBlock);
    output_.resize(kBlock * width);
    maximum_.resize(kBlock);
    sum_.resize(kBlock);
  }

  void run(const Task& task) {
    const int64_t length = task.end - task.start, blocks = num_blocks(length), block_size = kBlock * width_;
    keys_.resize(blocks * block_size);
    values_.resize(blocks * block_size);
    const int64_t first_block = (task.first_query - task.start) / kBlock;
    for (int64_t j = window_.first_key_block(first_block); j < blocks; ++j) {
      const int64_t token = task.start + j * kBlock;
      source_.load(task.kv_head, token, std::min(kBlock, task.end - token), &keys_[j * block_size],
                   &values_[j * block_size]);
    }
    for (int64_t head = task.first_head; head < task.last_head; ++head)
      for (int64_t i = first_block; i < blocks; ++i) run_query_block(task, head, i);
  }

 private:
  /// Where the rows of a query block lie.
  struct QueryBlock {
    const T* queries;
    int64_t query_stride;
    T* out;
    int64_t out_stride;
    float* log_sum_exp;
    int64_t valid;
  };

  void run_query_block(const Task& task, int64_t head, int64_t i) {
    const int64_t token = task.start + i * kBlock, valid = std::min(kBlock, task.end - token);
    const int64_t missing = std::max<int64_t>(0, task.first_query - token);
    const int64_t row = token + missing - task.query_shift;
    float* const log_sum_exp = log_sum_exp_ + head * num_tokens_ + row;
    if (missing == 0) {
      attend(i,
             {q_.at(row, head), q_.token_stride, out_.at(row, head), out_.token_stride, log_sum_exp, valid});
      return;
    }
    // Blocks of queries have the bounds of blocks of keys, so that this one begins before the first query.
    // The missing queries are zeros here.
    std::fill(late_query_.begin(), late_query_.end(), T{});
    for (int64_t r = missing; r < valid; ++r)
      std::copy_n(q_.at(row + r - missing, head), width_, &late_query_[r * width_]);
    attend(i, {late_query_.data(), width_, late_output_.data(), width_, late_log_sum_exp_.data(), valid});
    for (int64_t r = missing; r < valid; ++r) {
      std::copy_n(&late_output_[r * width_], width_, out_.at(row + r - missing, head));
      log_sum_exp[r - missing] = late_log_sum_exp_[r];
    }
  }

  /// Computes query block i with all key blocks that it sees.
  void attend(int64_t i, const QueryBlock& block) {
    const int64_t block_size = kBlock * width_;
    kernels_.pack_transposed(block.queries, block.query_stride, block.valid, width_, query_.data());
    std::fill(maximum_.begin(), maximum_.end(), kNoMaximum);
    std::fill(sum_.begin(), sum_.end(), 0.0f);
    std::fill(output_.begin(), output_.end(), 0.0f);
    for (int64_t j = window_.first_key_block(i); j <= i; ++j) {
      block_product(kBlock, kBlock, width_, false, &keys_[j * block_size], query_.data(), scores_.data());
      kernels_.softmax_block(scores_.data(), scale_, j == i, window_.first_key(i, j), maximum_.data(),
                             sum_.data(), output_.data(), width_, probabilities_.data());
      block_product(width_, kBlock, kBlock, true, &values_[j * block_size], probabilities_.data(),
                    output_.data());
    }
    kernels_.finish_rows(output_.data(), maximum_.data(), sum_.data(), block.valid, width_, block.out,
                         block.out_stride, block.log_sum_exp);
  }

  HeadView<T> q_;
  Keys source_;
  HeadView<T> out_;
  float* log_sum_exp_;  // [H, N]
  int64_t num_tokens_, width_;
  Window window_;
  float scale_;
  const AttentionKernels<T>& kernels_;
  std::vector<T> keys_, values_, query_, probabilities_, late_query_, late_output_;
  std::vector<float> scores_, output_, maximum_, sum_, late_log_sum_exp_;
};

}  // namespace longlora::ops::cpu
