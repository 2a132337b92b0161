#include "longlora/train/trainer.h"

#include <ATen/Parallel.h>
#include <fmt/format.h>

#include <chrono>
#include <cmath>
#include <csignal>

#include "longlora/core/error.h"
#include "longlora/core/log.h"
#include "longlora/core/memory.h"
#include "longlora/model/streamed_weights.h"

namespace longlora::train {
namespace {

volatile std::sig_atomic_t stop_requested = 0;

int64_t count_rows(const data::TokenData& data, int64_t row_tokens) {
  const int64_t rows = data.size() / row_tokens;
  if (rows == 0)
    throw InputError(
        fmt::format("[data] expected at least one row of {} tokens, got {} tokens in all; give more data or "
                    "a smaller --model_max_length",
                    row_tokens, data.size()));
  return rows;
}

int64_t count_steps(const TrainOptions& options, int64_t num_rows) {
  if (options.max_steps > 0) return options.max_steps;
  const auto rows_per_step =
      static_cast<double>(options.per_device_train_batch_size * options.gradient_accumulation_steps);
  return std::max<int64_t>(
      1, static_cast<int64_t>(static_cast<double>(num_rows) * options.num_train_epochs / rows_per_step));
}

EngineOptions engine_options(const TrainOptions& options, const MemoryPlan& plan) {
  const bool elsewhere = !options.scratch_dir.empty();
  EngineOptions found;
  found.tile_rows = plan.tile_rows;
  found.loss_chunk_rows = plan.loss_chunk_rows;
  found.inputs = {plan.inputs_on_disk, elsewhere ? options.scratch_dir : options.output_dir,
                  plan.inputs_on_disk > 0 ? plan.scratch_bytes / plan.inputs_on_disk : 0};
  return found;
}

}  // namespace

MemoryPlan plan_run(const TrainOptions& options, const model::Decoder& decoder, FrozenWeights frozen_weights,
                    int64_t program_bytes) {
  PlanRequest request = options.plan_request();
  request.budget_bytes = memory_budget(options.memory_budget_bytes);
  request.frozen_weights = frozen_weights;
  if (decoder.streamed)
    request.frozen_weights =
        decoder.streamed->copies() ? FrozenWeights::kStreamedCopied : FrozenWeights::kStreamed;
  request.program_bytes = program_bytes;
  return make_memory_plan(decoder, request);
}

Trainer::Trainer(const TrainOptions& options, model::Decoder& decoder, const data::TokenData& data,
                 const data::TokenData* eval_data, TrainObserver& observer, std::optional<MemoryPlan> plan)
    : options_(options),
      decoder_(decoder),
      data_(data),
      eval_data_(eval_data),
      observer_(observer),
      order_(count_rows(data, options.model_max_length), options.shuffle, options.seed),
      max_steps_(count_steps(options, order_.num_rows())),
      plan_(plan ? *std::move(plan) : plan_run(options, decoder)),
      directory_(options),
      optimizer_(decoder, options.adamw),
      engine_(decoder, plan_.keep, options.model_max_length, engine_options(options, plan_)),
      schedule_{options.schedule, options.learning_rate, options.warmup_steps, max_steps_} {
  if (eval_data) count_rows(*eval_data, options.model_max_length);
  if (options.resume) restore();
  state_.data_tokens = data.size();
  state_.num_threads = at::get_num_threads();
  state_.tile_rows = plan_.tile_rows;
  state_.loss_chunk_rows = plan_.loss_chunk_rows;
}

void Trainer::request_stop() {
  stop_requested = 1;
}

at::Tensor Trainer::next_rows(const data::TokenData& data, int64_t count, bool in_order, int64_t position) {
  const int64_t tokens = options_.model_max_length;
  at::Tensor ids = at::empty({count, tokens}, at::kLong);
  for (int64_t i = 0; i < count; ++i) {
    const int64_t row = in_order ? position + i : order_.row_at(position + i);
    data.read(row * tokens, {ids.mutable_data_ptr<int64_t>() + i * tokens, static_cast<size_t>(tokens)});
  }
  return ids;
}

LossSums Trainer::update(int64_t step, double learning_rate, double& grad_norm) {
  const int64_t rows = options_.per_device_train_batch_size;
  const int64_t micro_batches = options_.gradient_accumulation_steps;
  const bool full = step >= max_steps_ - options_.full_attention_steps;
  const int64_t group = full ? 0 : options_.group_tokens();
  // Every row supervises all of its tokens but the last.
  const auto num_labels = static_cast<double>(rows * micro_batches * (options_.model_max_length - 1));
  optimizer_.zero_grad();
  LossSums sums;
  for (int64_t i = 0; i < micro_batches; ++i) {
    const at::Tensor ids = next_rows(data_, rows, /*in_order=*/false, state_.rows_consumed);
    sums += engine_.forward_backward(make_next_token_batch(ids, group), 1.0 / num_labels);
    state_.rows_consumed += rows;
  }
  grad_norm = optimizer_.grad_norm();
  if (!std::isfinite(sums.loss) || !std::isfinite(grad_norm))
    throw Error(
        fmt::format("[step {}] expected a finite loss and gradient, got loss {} and gradient norm {}; lower "
                    "--learning_rate, or go on from an earlier checkpoint with --resume",
                    step + 1, sums.mean(), grad_norm));
  const bool clips = options_.max_grad_norm > 0.0 && grad_norm > options_.max_grad_norm;
  optimizer_.step(learning_rate, clips ? options_.max_grad_norm / (grad_norm + 1e-6) : 1.0);
  return sums;
}

void Trainer::evaluate(int64_t step) {
  const int64_t num_rows = count_rows(*eval_data_, options_.model_max_length);
  LossSums sums;
  for (int64_t row = 0; row < num_rows; row += options_.per_device_eval_batch_size) {
    const int64_t count = std::min(options_.per_device_eval_batch_size, num_rows - row);
    sums += engine_.evaluate(make_next_token_batch(next_rows(*eval_data_, count, /*in_order=*/true, row), 0));
  }
  const EvalReport found = {step, sums.mean(), std::exp(sums.mean()),
                            static_cast<double>(sums.num_correct) / static_cast<double>(sums.num_labels)};
  directory_.log({{"step", step},
                  {"eval_loss", found.loss},
                  {"eval_perplexity", found.perplexity},
                  {"eval_accuracy", found.accuracy}});
  observer_.on_eval(found);
}

void Trainer::report(int64_t step, const LossSums& sums, double learning_rate, double grad_norm,
                     double step_seconds) {
  recent_seconds_per_step_ =
      recent_seconds_per_step_ == 0.0 ? step_seconds : 0.9 * recent_seconds_per_step_ + 0.1 * step_seconds;
  const auto tokens_per_step =
      static_cast<double>(options_.per_device_train_batch_size * options_.gradient_accumulation_steps *
                          options_.model_max_length);
  StepReport found;
  found.step = step;
  found.max_steps = max_steps_;
  found.loss = sums.mean();
  found.learning_rate = learning_rate;
  found.grad_norm = grad_norm;
  found.tokens_per_second = tokens_per_step / recent_seconds_per_step_;
  found.tokens = state_.tokens;
  found.peak_memory_bytes = peak_rss_bytes();
  found.seconds = state_.seconds;
  found.seconds_left = recent_seconds_per_step_ * static_cast<double>(max_steps_ - step);
  if (step % options_.logging_steps != 0 && step != max_steps_) return;
  directory_.log({{"step", step},
                  {"loss", found.loss},
                  {"learning_rate", learning_rate},
                  {"grad_norm", grad_norm},
                  {"tokens_per_second", found.tokens_per_second},
                  {"tokens", found.tokens},
                  {"peak_memory_bytes", found.peak_memory_bytes},
                  {"seconds", found.seconds}});
  observer_.on_step(found);
}

/// Takes up the newest checkpoint, if there is one and it continues with this data.
void Trainer::restore() {
  const auto restored = directory_.restore(optimizer_);
  if (!restored) return;
  if (restored->data_tokens != 0 && restored->data_tokens != data_.size())
    throw InputError(fmt::format(
        "[--data_path] expected the {} tokens that this run was started with, got {}; resume with "
        "the same data, or start anew in another --output_dir",
        restored->data_tokens, data_.size()));
  if (restored->num_threads != 0 && restored->num_threads != at::get_num_threads())
    log_warning(
        fmt::format("the run was computed with {} threads and goes on with {}: sums are split in "
                    "another way, so last bits may differ",
                    restored->num_threads, at::get_num_threads()));
  state_ = *restored;
  if (state_.tile_rows < 0 || state_.tile_rows == plan_.tile_rows) return;
  // The same bits need the same tiles; smaller ones than planned fit, too.
  const bool is_smaller =
      state_.tile_rows > 0 && (plan_.tile_rows == 0 || state_.tile_rows < plan_.tile_rows);
  if (is_smaller) {
    plan_.tile_rows = state_.tile_rows;
    plan_.loss_chunk_rows = state_.loss_chunk_rows;
    engine_.set_tiles(plan_.tile_rows, plan_.loss_chunk_rows);
  } else {
    log_warning(fmt::format(
        "memory is tighter than when the run was started: tiles have {} rows, so last bits may differ",
        plan_.tile_rows));
  }
}

TrainOutcome Trainer::run() {
  if (state_.step > 0)
    log_info(fmt::format("resuming after step {} of {}", state_.step, max_steps_));
  else if (options_.resume)
    log_info("no checkpoint to resume from: starting at the beginning");
  directory_.truncate_log(state_.step);
  const int64_t tokens_per_step =
      options_.per_device_train_batch_size * options_.gradient_accumulation_steps * options_.model_max_length;
  while (state_.step < max_steps_) {
    const auto start = std::chrono::steady_clock::now();
    const double learning_rate = schedule_.learning_rate(state_.step);
    double grad_norm = 0.0;
    const LossSums sums = update(state_.step, learning_rate, grad_norm);
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    ++state_.step;
    state_.tokens += tokens_per_step;
    state_.seconds += seconds;
    report(state_.step, sums, learning_rate, grad_norm, seconds);
    const bool last = state_.step == max_steps_;
    if (eval_data_ && options_.eval_steps > 0 && (last || state_.step % options_.eval_steps == 0))
      evaluate(state_.step);
    const bool due = options_.save_steps > 0 && state_.step % options_.save_steps == 0;
    // Read once: a request that comes while saving must not end the run unsaved.
    const bool stop = stop_requested != 0;
    if (due || last || stop) directory_.save(state_, optimizer_, decoder_);
    if (stop) stop_requested = 0;  // answered; the next run of this process starts afresh
    if (stop && !last) return TrainOutcome::kStopped;
  }
  directory_.write_model(decoder_, options_.output_dir);
  return TrainOutcome::kFinished;
}

}  // namespace longlora::train
