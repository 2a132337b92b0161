#include "longlora/train/trainer.h"

#include <ATen/Parallel.h>
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <csignal>

#include "longlora/core/error.h"
#include "longlora/core/log.h"
#include "longlora/core/random.h"
#include "longlora/model/not_finite.h"
#include "longlora/ops/cross_entropy.h"
#include "longlora/tensors/device.h"

namespace longlora::train {
namespace {

volatile std::sig_atomic_t stop_requested = 0;

data::RowOrder make_order(const TrainOptions& options, const data::TrainingRows& data) {
  const uint64_t seed = options.data_seed.value_or(options.seed);
  if (!options.group_by_length) return {data.num_rows(), options.shuffle, seed};
  std::vector<int64_t> row_tokens(static_cast<size_t>(data.num_rows()));
  for (size_t i = 0; i < row_tokens.size(); ++i) row_tokens[i] = data.row_tokens(static_cast<int64_t>(i));
  return {std::move(row_tokens), options.per_device_train_batch_size, seed};
}

EpochShape epoch_shape(const TrainOptions& options, int64_t num_rows) {
  return {num_rows, options.per_device_train_batch_size, options.gradient_accumulation_steps,
          options.dataloader_drop_last};
}

int64_t count_labels_of_all(const data::TrainingRows& data) {
  int64_t count = 0;
  for (int64_t row = 0; row < data.num_rows(); ++row) count += data.num_labels(row);
  return count;
}

// Returns the data. Throws InputError where none of its tokens has a label, so that nothing can be learned or
// measured.
const data::TrainingRows& check_labels(const data::TrainingRows& data, const char* flag) {
  if (count_labels_of_all(data) > 0) return data;
  throw InputError(fmt::format(
      "[{}] expected tokens to predict, got none in {} rows; give samples whose answers are learned", flag,
      data.num_rows()));
}

const checkpoint::PeftAdapter* adapter_of(const BuiltRun& run) {
  return run.adapter ? &*run.adapter : nullptr;
}

EngineOptions engine_options(const TrainOptions& options, const MemoryPlan& plan) {
  EngineOptions found;
  found.tile_tokens = plan.tile_tokens;
  found.loss_chunk_rows = plan.loss_chunk_rows;
  found.inputs = {plan.inputs_on_disk, options.scratch_folder(),
                  plan.inputs_on_disk > 0 ? plan.scratch_bytes / plan.inputs_on_disk : 0};
  return found;
}

}  // namespace

Trainer::Trainer(BuiltRun& run, std::unique_ptr<const data::TrainingRows> data,
                 std::unique_ptr<const data::TrainingRows> eval_data, TrainObserver& observer)
    : options_(run.options),
      decoder_(run.decoder),
      data_(std::move(data)),
      eval_data_(std::move(eval_data)),
      observer_(observer),
      order_(make_order(options_, check_labels(*data_, "--data_path"))),
      updates_(epoch_shape(options_, order_.num_rows())),
      max_steps_(options_.max_steps > 0 ? options_.max_steps
                                        : updates_.updates_in(options_.num_train_epochs)),
      plan_(run.plan),
      directory_(options_, adapter_of(run)),
      trained_(decoder_, {.place = {plan_.state_on_disk, options_.scratch_folder()},
                          .update_tokens = options_.update_tokens()}),
      optimizer_(trained_, options_.adamw),
      engine_(trained_, plan_.keep, options_.model_max_length, engine_options(options_, plan_), run.source),
      schedule_{options_.schedule, options_.learning_rate, options_.warmup_updates(max_steps_), max_steps_} {
  if (eval_data_) check_labels(*eval_data_, "--eval_data_path");
  const RunState asked = {
      .data_tokens = data_->num_tokens(), .data_fingerprint = data_->fingerprint(), .max_steps = max_steps_};
  if (run.base) trained_.load_masters(run.base->weights, adapter_of(run));
  if (options_.resume) restore(asked);
  state_.data_tokens = asked.data_tokens;
  state_.data_fingerprint = asked.data_fingerprint;
  state_.max_steps = asked.max_steps;
  state_.num_threads = at::get_num_threads();
  state_.tile_tokens = plan_.tile_tokens;
  state_.loss_chunk_rows = plan_.loss_chunk_rows;
}

void Trainer::request_stop() {
  stop_requested = 1;
}

std::vector<data::TrainingRow> Trainer::read_rows(const RowRange& range) {
  std::vector<data::TrainingRow> rows;
  rows.reserve(static_cast<size_t>(range.size()));
  for (int64_t place = range.begin; place < range.end; ++place) {
    rows.push_back(data_->row(order_.row_at(place)));
    state_.tokens += static_cast<int64_t>(rows.back().ids.size());
  }
  return rows;
}

// `position` is the place of the batch's first row in the order. With the seed it decides noise and dropout.
Batch Trainer::training_batch(const std::vector<data::TrainingRow>& rows, const GroupRule& group_for,
                              int64_t position) const {
  Batch batch = make_batch(rows, group_for);
  if (options_.neftune_noise_alpha > 0.0)
    batch.embedding_noise =
        embedding_noise(batch, rows, options_.neftune_noise_alpha, decoder_.config.hidden_size,
                        decoder_.dtype(), mix_bits(options_.seed, static_cast<uint64_t>(position)));
  batch.dropout = {options_.lora.dropout, mix_bits(~options_.seed, static_cast<uint64_t>(position))};
  return batch;
}

int64_t Trainer::count_labels(const RowRange& rows) {
  int64_t count = 0;
  for (int64_t place = rows.begin; place < rows.end; ++place)
    count += data_->num_labels(order_.row_at(place));
  return count;
}

LossSums Trainer::update(int64_t step, double learning_rate, double& grad_norm) {
  const bool full = step >= max_steps_ - options_.full_attention_steps;
  const GroupRule group_for = [&](int64_t tokens) { return full ? 0 : options_.group_for(tokens); };
  const RowRange range = updates_.rows_of(step);
  const int64_t num_labels = count_labels(range);
  optimizer_.zero_grad();
  LossSums sums;
  for (int64_t begin = range.begin; begin < range.end; begin += options_.per_device_train_batch_size) {
    const auto rows = read_rows({begin, std::min(begin + options_.per_device_train_batch_size, range.end)});
    const Batch batch = training_batch(rows, group_for, begin);
    if (batch.labels.ne(ops::kIgnoreLabel).any().item<bool>())
      sums += engine_.forward_backward(batch, 1.0 / static_cast<double>(num_labels));
    else
      ++batches_without_label_;
  }
  state_.rows_consumed = range.end;
  if (num_labels == 0) {
    log_warning(fmt::format("step {} has nothing to learn: {} batches without a label so far are passed over",
                            step + 1, batches_without_label_));
    return sums;
  }
  grad_norm = optimizer_.grad_norm();
  check_finite(step, sums, grad_norm);
  const bool clips = options_.max_grad_norm > 0.0 && grad_norm > options_.max_grad_norm;
  optimizer_.step(learning_rate, clips ? options_.max_grad_norm / (grad_norm + 1e-6) : 1.0);
  return sums;
}

void Trainer::check_finite(int64_t step, const LossSums& sums, double grad_norm) const {
  if (std::isfinite(sums.loss) && std::isfinite(grad_norm)) return;
  const std::string found =
      fmt::format("[step {}] expected a finite loss and gradient, got loss {} and gradient norm {}", step + 1,
                  sums.mean(), grad_norm);
  // At the first update the cause is in the model, not in the run.
  if (step == 0) throw InputError(fmt::format("{}; {}", found, model::explain_not_finite(decoder_)));
  throw Error(
      fmt::format("{}; lower --learning_rate, or go on from an earlier checkpoint with --resume", found));
}

void Trainer::evaluate(int64_t step) {
  const GroupRule full_attention = [](int64_t) { return int64_t{0}; };
  LossSums sums;
  for (int64_t row = 0; row < eval_data_->num_rows();) {
    std::vector<data::TrainingRow> rows;
    for (int64_t i = 0; i < options_.per_device_eval_batch_size && row < eval_data_->num_rows(); ++i)
      rows.push_back(eval_data_->row(row++));
    sums += engine_.evaluate(make_batch(rows, full_attention));
  }
  if (!std::isfinite(sums.loss))
    throw InputError(fmt::format("[step {}] expected a finite loss on held-out data, got {}; {}", step,
                                 sums.mean(), model::explain_not_finite(decoder_)));
  const results::TrainEvaluation found = {
      .step = step,
      .loss = sums.mean(),
      .perplexity = std::exp(sums.mean()),
      .accuracy = static_cast<double>(sums.num_correct) / static_cast<double>(sums.num_labels)};
  directory_.log().add(found);
  observer_.on_eval(found);
}

void Trainer::report(int64_t step, const LossSums& sums, double learning_rate, double grad_norm,
                     double step_seconds, int64_t step_tokens) {
  const bool is_first = recent_seconds_per_step_ == 0.0;
  const auto smoothed = [&](double before, double now) { return is_first ? now : 0.9 * before + 0.1 * now; };
  recent_seconds_per_step_ = smoothed(recent_seconds_per_step_, step_seconds);
  recent_tokens_per_step_ = smoothed(recent_tokens_per_step_, static_cast<double>(step_tokens));
  StepReport found;
  found.step = step;
  found.max_steps = max_steps_;
  found.epoch = updates_.epochs_after(step);
  found.loss = sums.mean();
  found.learning_rate = learning_rate;
  found.grad_norm = grad_norm;
  found.tokens_per_second = recent_tokens_per_step_ / recent_seconds_per_step_;
  found.tokens = state_.tokens;
  found.peak_memory_bytes = tensors::peak_memory_bytes(options_.device);
  found.seconds = state_.seconds;
  found.seconds_left = recent_seconds_per_step_ * static_cast<double>(max_steps_ - step);
  if (step % options_.logging_steps != 0 && step != max_steps_) return;
  directory_.log().add(found);
  observer_.on_step(found);
}

// Resumes from the newest checkpoint, if there is one.
void Trainer::restore(const RunState& asked) {
  const auto restored = directory_.restore(optimizer_, asked);
  if (!restored) return;
  const int64_t expected_rows = restored->step > 0 ? updates_.rows_of(restored->step - 1).end : 0;
  if (restored->rows_consumed != expected_rows)
    throw InputError(fmt::format(
        "[{}] expected {} rows behind step {}, got {}: an older version, which divided the rows in another "
        "way, started this run; start anew in another --output_dir",
        options_.output_dir.string(), expected_rows, restored->step, restored->rows_consumed));
  if (restored->num_threads != 0 && restored->num_threads != at::get_num_threads())
    log_warning(
        fmt::format("the run was computed with {} threads and goes on with {}: sums are split in "
                    "another way, so last bits may differ",
                    restored->num_threads, at::get_num_threads()));
  state_ = *restored;
  take_tiles_of_checkpoint();
}

// Takes the tiles and chunks that the checkpoint was made with, without which results would differ in their
// last bits. It does so where they are not larger than planned, so that they fit.
void Trainer::take_tiles_of_checkpoint() {
  const bool same =
      state_.tile_tokens == plan_.tile_tokens && state_.loss_chunk_rows == plan_.loss_chunk_rows;
  if (state_.tile_tokens < 0 || same) return;
  const auto fits = [](int64_t rows, int64_t planned) {  // 0 stands for all rows
    return rows == planned || (rows > 0 && (planned == 0 || rows < planned));
  };
  if (fits(state_.tile_tokens, plan_.tile_tokens) && fits(state_.loss_chunk_rows, plan_.loss_chunk_rows)) {
    plan_.tile_tokens = state_.tile_tokens;
    plan_.loss_chunk_rows = state_.loss_chunk_rows;
    engine_.set_tiles(plan_.tile_tokens, plan_.loss_chunk_rows);
  } else {
    log_warning(
        fmt::format("memory is tighter than when the run was started: tiles have {} rows and chunks of "
                    "the loss {}, so last bits may differ",
                    plan_.tile_tokens, plan_.loss_chunk_rows));
  }
}

TrainOutcome Trainer::run() {
  if (state_.step == max_steps_ && directory_.is_finished(state_)) {
    log_info(fmt::format("this run is finished after {} steps: nothing is left to do", max_steps_));
    return TrainOutcome::kFinished;
  }
  if (state_.step > 0)
    log_info(fmt::format("resuming after step {} of {}", state_.step, max_steps_));
  else if (options_.resume)
    log_info("no checkpoint to resume from: starting at the beginning");
  directory_.log().truncate(state_.step);
  while (state_.step < max_steps_) {
    const auto start = std::chrono::steady_clock::now();
    const double learning_rate = schedule_.learning_rate(state_.step);
    double grad_norm = 0.0;
    const int64_t tokens_before = state_.tokens;
    const LossSums sums = update(state_.step, learning_rate, grad_norm);
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    ++state_.step;
    state_.seconds += seconds;
    report(state_.step, sums, learning_rate, grad_norm, seconds, state_.tokens - tokens_before);
    const bool last = state_.step == max_steps_;
    if (eval_data_ && options_.eval_steps > 0 && (last || state_.step % options_.eval_steps == 0))
      evaluate(state_.step);
    const bool due = options_.save_steps > 0 && state_.step % options_.save_steps == 0;
    // The request is read once, because one that comes after the state was saved must not end the run with
    // nothing saved.
    const bool stop = stop_requested != 0;
    if (due || last || stop) directory_.save(state_, optimizer_, trained_);
    if (stop) stop_requested = 0;  // it is answered, and must not stop the next run of this process
    if (stop && !last) return TrainOutcome::kStopped;
  }
  directory_.finish(state_, trained_);
  return TrainOutcome::kFinished;
}

}  // namespace longlora::train
