// One task of the backward pass of blocked causal attention.
#pragma once

#include <algorithm>
#include <cmath>
#include <type_traits>
#include <vector>

#include "longlora/ops/cpu/attention_blocks.h"

namespace longlora::ops::cpu {

template <typename T>
class BackwardTask {
 public:
  struct Inputs {
    HeadView<T> q, k, v, out, grad_out;
    const float* log_sum_exp;  // [H, N]
  };
  /// Where gradients go. With key/value heads that both halves share, those of k and v are added to float32
  /// sums.
  struct Outputs {
    HeadView<T> grad_q, grad_k, grad_v;
    float* grad_k_sum;  // [N, K, D]; null: there are no shared heads
    float* grad_v_sum;
  };

  BackwardTask(const Inputs& inputs, const Outputs& outputs, int64_t num_tokens, int64_t kv_heads,
               int64_t width, Window window)
      : in_(inputs),
        out_(outputs),
        num_tokens_(num_tokens),
        kv_heads_(kv_heads),
        width_(width),
        block_size_(kBlock * width),
        window_(window),
        scale_(1.0f / std::sqrt(static_cast<float>(width))),
        kernels_(attention_kernels<T>()) {
    for (auto* block : {&key_, &key_transposed_, &value_}) block->resize(block_size_);
    for (auto* block : {&probabilities_, &grad_scores_, &grad_scores_packed_}) block->resize(kBlock * kBlock);
    for (auto* block : {&scores_, &grad_probabilities_}) block->resize(kBlock * kBlock);
  }

  void run(const Task& task) {
    const int64_t blocks = num_blocks(task.end - task.start);
    grad_keys_.assign(blocks * block_size_, 0.0f);
    grad_values_.assign(blocks * block_size_, 0.0f);
    for (int64_t head = task.first_head; head < task.last_head; ++head) run_head(task, head, blocks);
    for (int64_t j = 0; j < blocks; ++j) store_key_block(task, j);
  }

 private:
  /// Packs the queries and the output gradients of a head, then goes through the key blocks.
  void run_head(const Task& task, int64_t head, int64_t blocks) {
    for (auto* packed : {&query_transposed_, &query_rows_, &grad_transposed_, &grad_rows_})
      packed->resize(blocks * block_size_);
    grad_queries_.assign(blocks * block_size_, 0.0f);
    log_sum_exp_.assign(blocks * kBlock, 0.0f);
    delta_.resize(blocks * kBlock);
    for (int64_t i = 0; i < blocks; ++i) pack_query_block(task, head, i);
    for (int64_t j = 0; j < blocks; ++j) {
      const int64_t token = task.start + j * kBlock, valid = std::min(kBlock, task.end - token);
      const T* keys = in_.k.at(token, task.kv_head);
      kernels_.copy_block(keys, in_.k.token_stride, valid, width_, key_.data());
      kernels_.transpose_block(keys, in_.k.token_stride, valid, width_, key_transposed_.data());
      kernels_.copy_block(in_.v.at(token, task.kv_head), in_.v.token_stride, valid, width_, value_.data());
      for (int64_t i = j; i < window_.last_query_block(j, blocks); ++i) run_block(i, j);
    }
    for (int64_t i = 0; i < blocks; ++i) {
      const int64_t token = task.start + i * kBlock, valid = std::min(kBlock, task.end - token);
      kernels_.store_transposed(&grad_queries_[i * block_size_], valid, width_, out_.grad_q.at(token, head),
                                out_.grad_q.token_stride);
    }
  }

  void pack_query_block(const Task& task, int64_t head, int64_t i) {
    const int64_t token = task.start + i * kBlock, valid = std::min(kBlock, task.end - token);
    const int64_t place = i * block_size_;
    const T* queries = in_.q.at(token, head);
    const T* grads = in_.grad_out.at(token, head);
    kernels_.pack_transposed(queries, in_.q.token_stride, valid, width_, &query_transposed_[place]);
    kernels_.pack_rows(queries, in_.q.token_stride, valid, width_, &query_rows_[place]);
    kernels_.pack_transposed(grads, in_.grad_out.token_stride, valid, width_, &grad_transposed_[place]);
    kernels_.pack_rows(grads, in_.grad_out.token_stride, valid, width_, &grad_rows_[place]);
    kernels_.row_dots(grads, in_.grad_out.token_stride, in_.out.at(token, head), in_.out.token_stride, valid,
                      width_, &delta_[i * kBlock]);
    std::copy_n(in_.log_sum_exp + head * num_tokens_ + token, valid, &log_sum_exp_[i * kBlock]);
  }

  /// Computes the five products of a pair of blocks. Scores are [key, query].
  void run_block(int64_t i, int64_t j) {
    const int64_t queries = i * block_size_, keys = j * block_size_;
    block_product(kBlock, kBlock, width_, false, key_.data(), &query_transposed_[queries], scores_.data());
    block_product(kBlock, kBlock, width_, false, value_.data(), &grad_transposed_[queries],
                  grad_probabilities_.data());
    kernels_.softmax_backward_block(scores_.data(), grad_probabilities_.data(), &log_sum_exp_[i * kBlock],
                                    &delta_[i * kBlock], scale_, i == j, window_.first_key(i, j),
                                    probabilities_.data(), grad_scores_.data(), grad_scores_packed_.data());
    block_product(kBlock, width_, kBlock, true, probabilities_.data(), &grad_rows_[queries],
                  &grad_values_[keys]);
    block_product(kBlock, width_, kBlock, true, grad_scores_.data(), &query_rows_[queries],
                  &grad_keys_[keys]);
    block_product(width_, kBlock, kBlock, true, key_transposed_.data(), grad_scores_operand(),
                  &grad_queries_[queries]);
  }

  /// The gradient of the scores as a B operand. In float32 A and B operands have the same form.
  const T* grad_scores_operand() const {
    return std::is_same_v<T, float> ? grad_scores_.data() : grad_scores_packed_.data();
  }

  void store_key_block(const Task& task, int64_t j) {
    const int64_t token = task.start + j * kBlock, valid = std::min(kBlock, task.end - token);
    const float* grad_keys = &grad_keys_[j * block_size_];
    const float* grad_values = &grad_values_[j * block_size_];
    if (!out_.grad_k_sum) {
      kernels_.store_rows(grad_keys, valid, width_, out_.grad_k.at(token, task.kv_head),
                          out_.grad_k.token_stride);
      kernels_.store_rows(grad_values, valid, width_, out_.grad_v.at(token, task.kv_head),
                          out_.grad_v.token_stride);
      return;
    }
    for (int64_t r = 0; r < valid; ++r) {
      const int64_t place = ((token + r) * kv_heads_ + task.kv_head) * width_;
      for (int64_t d = 0; d < width_; ++d) {
        out_.grad_k_sum[place + d] += grad_keys[r * width_ + d];
        out_.grad_v_sum[place + d] += grad_values[r * width_ + d];
      }
    }
  }

  Inputs in_;
  Outputs out_;
  int64_t num_tokens_, kv_heads_, width_, block_size_;
  Window window_;
  float scale_;
  const AttentionKernels<T>& kernels_;
  std::vector<T> key_, key_transposed_, value_, probabilities_, grad_scores_, grad_scores_packed_;
  std::vector<T> query_transposed_, query_rows_, grad_transposed_, grad_rows_;
  std::vector<float> scores_, grad_probabilities_, grad_queries_, grad_keys_, grad_values_, log_sum_exp_,
      delta_;
};

}  // namespace longlora::ops::cpu
