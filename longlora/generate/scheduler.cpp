#include "longlora/generate/scheduler.h"

#include <ATen/Parallel.h>
#include <c10/core/GradMode.h>
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <exception>

#include "longlora/core/error.h"
#include "longlora/core/format.h"
#include "longlora/core/log.h"
#include "longlora/core/memory.h"
#include "longlora/forward/forward.h"
#include "longlora/model/not_finite.h"

namespace longlora::generate {
namespace {

using Clock = std::chrono::steady_clock;

ops::PageShape page_shape(const model::ModelConfig& config) {
  return {.layers = config.num_hidden_layers,
          .kv_heads = config.num_key_value_heads,
          .head_dim = config.head_dim};
}

ops::PageFormat format_of(at::ScalarType dtype) {
  return dtype == at::kFloat ? ops::PageFormat::kFloat : ops::PageFormat::kBFloat16;
}

ops::PageFormat kept_format(const std::string& name, ops::PageFormat written) {
  if (name == "int8") return ops::PageFormat::kInt8;
  if (name == "int4") return ops::PageFormat::kInt4;
  if (name != "auto")
    throw UsageError(fmt::format("[--cache_dtype] expected auto, int8 or int4, got {}", name));
  return written;
}

int64_t cache_limit(const EngineOptions& options) {
  return options.cache_limit_bytes > 0 ? options.cache_limit_bytes : available_memory_bytes() / 2;
}

// Adds the seconds that it lives to a sum.
class Timed {
 public:
  explicit Timed(double& seconds) : seconds_(seconds), start_(Clock::now()) {}
  ~Timed() { seconds_ += std::chrono::duration<double>(Clock::now() - start_).count(); }
  Timed(const Timed&) = delete;
  Timed& operator=(const Timed&) = delete;

 private:
  double& seconds_;
  Clock::time_point start_;
};

}  // namespace

Engine::Scheduler::Scheduler(const forward::ReadyDecoder& ready,
                             std::shared_ptr<const model::Decoder> kept_alive, int64_t context_size,
                             const EngineOptions& options)
    : ready_(ready),
      kept_alive_(std::move(kept_alive)),
      context_size_(context_size > 0 ? context_size : ready.decoder.config.context_window()),
      options_(options),
      num_threads_(at::get_num_threads()),
      written_(format_of(ready.decoder.dtype())),
      kept_(kept_format(options.cache_dtype, written_)),
      pool_(page_shape(ready.decoder.config), cache_limit(options)),
      depends_on_length_(model::depends_on_length(ready.decoder.config.rope_scaling.type)),
      // transformers makes keys again for Phi-3 alone, whose configuration knows the original window.
      remakes_keys_(ready.decoder.config.rope_scaling.type == model::RopeType::kLongRope &&
                    ready.decoder.config.family().longrope_only),
      streamed_(ready.source != forward::resident()) {
  state_.cache_limit_bytes = pool_.limit_bytes();
  if (!options_.cache_dir.empty()) {
    if (options_.identity.empty()) throw Error("[cache_dir] expected the identity of the model, got none");
    store_.emplace(PrefixStore::Options{.folder = options_.cache_dir,
                                        .identity = options_.identity,
                                        .limit_bytes = pool_.limit_bytes(),
                                        .first_page = written_,
                                        .other_pages = kept_},
                   pool_.shape());
  }
  ready_.rotary->reserve(context_size_);
  if (StepDecoder::takes(ready_)) step_ = std::make_unique<StepDecoder>(ready_);
  thread_ = std::thread([this] { run(); });
}

Engine::Scheduler::~Scheduler() {
  {
    const std::lock_guard lock(mutex_);
    stops_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

JobId Engine::Scheduler::submit(Job job, Listener hear) {
  check_job(ready_.decoder, job, context_size_);
  auto running = std::make_unique<RunningJob>(std::move(job), std::move(hear),
                                              PagedSequence(pool_, written_, kept_), streamed_);
  const std::lock_guard lock(mutex_);
  if (std::ssize(waiting_) >= options_.max_waiting)
    throw ResourceError(fmt::format("[queue] expected fewer than {} waiting requests; try again later",
                                    options_.max_waiting));
  running->set_id(next_id_);
  waiting_.push_back(std::move(running));
  changed_.notify_all();
  return next_id_++;
}

void Engine::Scheduler::cancel(JobId id) {
  const std::lock_guard lock(mutex_);
  cancelled_.insert(id);
  changed_.notify_all();
}

GeneratorState Engine::Scheduler::state() const {
  const std::lock_guard lock(mutex_);
  GeneratorState state = state_;
  state.waiting = std::ssize(waiting_);
  state.cache_bytes = pool_.held_bytes();
  return state;
}

double Engine::Scheduler::cache_bytes_per_token() const {
  return static_cast<double>(pool_.shape().num_bytes(kept_)) / static_cast<double>(ops::kPageTokens);
}

void Engine::Scheduler::run() {
  at::set_num_threads(num_threads_);
  const c10::NoGradGuard no_grad;
  while (true) {
    take_cancels();
    admit();
    if (work() || save_chunk()) continue;
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return stops_ || !waiting_.empty() || !cancelled_.empty(); });
    if (stops_) break;
  }
  while (!running_.empty()) end(*running_.front(), Ended{StopReason::kCaller});
  while (save_chunk()) {
  }
}

bool Engine::Scheduler::work() {
  std::vector<JobId> writers;
  bool reads = false;
  for (const JobPointer& job : running_) {
    if (job->is_reading())
      reads = true;
    else
      writers.push_back(job->id());
  }
  if (!reads || writers.empty()) reading_seconds_ = writing_seconds_ = 0.0;
  if (!writers.empty() && (!reads || writing_seconds_ <= reading_seconds_)) {
    const Timed timed(writing_seconds_);
    for (size_t i = 0; i < writers.size(); i += StepDecoder::kMostRows)
      write_step(std::span(writers).subspan(i, std::min<size_t>(StepDecoder::kMostRows, writers.size() - i)));
    return true;
  }
  if (!reads) return false;
  const Timed timed(reading_seconds_);
  read_layer();
  return true;
}

void Engine::Scheduler::take_cancels() {
  std::set<JobId> ids;
  std::vector<JobPointer> never_ran;
  {
    const std::lock_guard lock(mutex_);
    ids.swap(cancelled_);
    if (stops_)
      for (const JobPointer& job : running_) ids.insert(job->id());
    for (auto job = waiting_.begin(); job != waiting_.end();) {
      if (!stops_ && ids.count((*job)->id()) == 0) {
        ++job;
        continue;
      }
      never_ran.push_back(std::move(*job));
      job = waiting_.erase(job);
      ++state_.cancelled;
    }
  }
  for (const JobPointer& job : never_ran) job->tell(Ended{StopReason::kCaller});
  for (auto job = running_.begin(); job != running_.end();) {
    RunningJob& running = **job++;
    if (ids.count(running.id()) > 0) end(running, Ended{StopReason::kCaller});
  }
}

int64_t Engine::Scheduler::held_by_running() const {
  int64_t bytes = 0;
  for (const JobPointer& job : running_)
    for (const ops::PageView& page : job->sequence().views()) bytes += pool_.shape().num_bytes(page.format);
  return bytes;
}

bool Engine::Scheduler::has_room_for(const RunningJob& job) const {
  if (running_.empty()) return true;
  const int64_t pages = std::ssize(job.ids()) / ops::kPageTokens + 2;
  return held_by_running() + pages * pool_.shape().num_bytes(written_) <= pool_.limit_bytes();
}

// Of those that wait, the first of the scope that has the fewest jobs running comes next.
void Engine::Scheduler::admit() {
  std::map<std::string, int64_t> running;
  for (const JobPointer& job : running_) ++running[job->job().cache_scope];
  std::vector<RunningJob*> told;
  std::unique_lock lock(mutex_);
  while (!waiting_.empty() && std::ssize(running_) < options_.max_running) {
    const auto next =
        std::min_element(waiting_.begin(), waiting_.end(), [&](const JobPointer& a, const JobPointer& b) {
          return running[a->job().cache_scope] < running[b->job().cache_scope];
        });
    if (!has_room_for(**next)) break;
    ++running[(*next)->job().cache_scope];
    running_.push_back(std::move(*next));
    waiting_.erase(next);
  }
  state_.running = std::ssize(running_);
  if (std::ssize(waiting_) == told_waiting_) return;
  told_waiting_ = std::ssize(waiting_);
  for (const JobPointer& job : waiting_) told.push_back(job.get());
  const int64_t ahead = state_.running;
  lock.unlock();  // this thread alone takes jobs away
  for (size_t i = 0; i < told.size(); ++i) told[i]->tell(Waiting{static_cast<int64_t>(i) + ahead});
}

// Those that read take turns, chunk by chunk.
void Engine::Scheduler::read_layer() {
  if (!walk_) {
    RunningJob* next = nullptr;
    for (const JobPointer& job : running_) {
      if (!job->is_reading()) continue;
      if (next == nullptr) next = job.get();
      if (job->id() <= last_reader_) continue;
      next = job.get();
      break;
    }
    last_reader_ = next->id();
    guard(*next, [&] { start_chunk(*next); });
    return;
  }
  RunningJob& job = *walking_;
  guard(job, [&] {
    const bool more = walk_->run_layer();
    const auto behind = static_cast<double>(walk_->num_tokens()) * (1.0 - walk_->share_done());
    if (more)
      job.tell_reading(job.sequence().num_tokens() - static_cast<int64_t>(std::ceil(behind)));
    else
      finish_chunk();
  });
}

bool Engine::Scheduler::start_chunk(RunningJob& job) {
  job.tell_reading(0);
  adopt_chunks(job);
  if (load_chunk(job)) return true;  // others have their turn between two of them
  const int64_t begin = job.sequence().num_tokens();
  const int64_t end = job.chunks_with_next().back();
  if (!make_room(job, end - begin)) return false;
  const auto ids = job.ids().subspan(static_cast<size_t>(begin), static_cast<size_t>(end - begin));
  walk_.emplace(ready_, job.sequence(), pool_.shape(), ids, job.num_to_read(),
                /*wants_hidden=*/end == job.num_to_read());
  walking_ = &job;
  job.set_in_chunk(true);
  return true;
}

void Engine::Scheduler::finish_chunk() {
  RunningJob& job = *walking_;
  PagedSequence& sequence = job.sequence();
  const ChunkWalk walk = std::move(*walk_);
  walk_.reset();
  walking_ = nullptr;
  job.set_in_chunk(false);
  const int64_t end = sequence.num_tokens(), begin = end - walk.num_tokens();
  sequence.compress(begin / ops::kPageTokens, end / ops::kPageTokens);
  if (shares(job) && end < std::ssize(job.job().prompt)) {
    const auto read = job.chunks_with_next();
    const auto first = static_cast<size_t>(begin / ops::kPageTokens);
    prefixes_.add(job.job().cache_scope, job.job().prompt, read.first(read.size() - 1),
                  sequence.pages().subspan(first, static_cast<size_t>(end / ops::kPageTokens) - first));
  }
  {
    const std::lock_guard lock(mutex_);
    state_.prompt_tokens += walk.num_tokens();
  }
  job.tell_reading(end);
  if (!job.is_reading() && !job.is_repeating()) go_on(job, walk.logits());
}

bool Engine::Scheduler::leaves_short_factors(RunningJob& job) const {
  const int64_t before = job.sequence().num_tokens(), window = ready_.decoder.config.original_window();
  return remakes_keys_ && before <= window && before + 1 > window;
}

void Engine::Scheduler::go_on(RunningJob& job, const at::Tensor& logits) {
  // A sum of float32 does not overflow in double, so that it is finite where every term is.
  const auto sum = logits.sum(at::kDouble).item<double>();
  if (!std::isfinite(sum))
    throw InputError(fmt::format("[logits] expected finite numbers after token {} of the text, got {}; {}",
                                 job.sequence().num_tokens(), sum,
                                 model::explain_not_finite(ready_.decoder)));
  if (job.job().max_new_tokens < 1) return end(job, Ended{StopReason::kMaxTokens});
  const auto reason = job.write(logits, context_size_);
  {
    const std::lock_guard lock(mutex_);
    ++state_.written_tokens;
  }
  if (reason) return end(job, Ended{*reason});
  if (leaves_short_factors(job)) job.read_all_again();
}

RunningJob* Engine::Scheduler::find_writer(JobId id) const {
  for (const JobPointer& job : running_)
    if (job->id() == id) return job->is_reading() ? nullptr : job.get();
  return nullptr;
}

void Engine::Scheduler::write_step(std::span<const JobId> ids) {
  for (const JobId id : ids) {
    RunningJob* const job = find_writer(id);
    if (job == nullptr) continue;  // a job before this one took its pages
    PagedSequence& sequence = job->sequence();
    const int64_t pages = sequence.num_tokens() / ops::kPageTokens;
    if (sequence.num_tokens() % ops::kPageTokens == 0) sequence.compress(pages - 1, pages);
    guard(*job, [&] { make_room(*job, 1); });
  }
  std::vector<RunningJob*> rows;
  for (const JobId id : ids)
    if (RunningJob* const job = find_writer(id)) rows.push_back(job);
  if (rows.empty()) return;
  std::vector<at::Tensor> logits;
  try {
    logits = step_ ? step_logits(rows) : forward_logits(rows);
  } catch (const std::exception& error) {
    for (RunningJob* job : rows) end(*job, Failed{error.what()});
    return;
  }
  for (size_t i = 0; i < rows.size(); ++i)
    if (!rows[i]->is_repeating()) guard(*rows[i], [&] { go_on(*rows[i], logits[i]); });
}

std::vector<at::Tensor> Engine::Scheduler::step_logits(const std::vector<RunningJob*>& rows) {
  std::vector<StepRow> step;
  step.reserve(rows.size());
  for (RunningJob* job : rows) {
    PagedSequence& sequence = job->sequence();
    const int64_t id = job->ids()[static_cast<size_t>(sequence.num_tokens())];
    sequence.extend(1);
    step.push_back({.id = id, .pages = sequence.views(), .num_tokens = sequence.num_tokens()});
  }
  return step_->run(step).unbind(0);
}

std::vector<at::Tensor> Engine::Scheduler::forward_logits(const std::vector<RunningJob*>& rows) {
  std::vector<at::Tensor> logits;
  logits.reserve(rows.size());
  for (RunningJob* job : rows) {
    PagedSequence& sequence = job->sequence();
    const int64_t id = job->ids()[static_cast<size_t>(sequence.num_tokens())];
    ChunkWalk walk(ready_, sequence, pool_.shape(), std::span(&id, 1), sequence.num_tokens() + 1,
                   /*wants_hidden=*/true);
    while (walk.run_layer()) {
    }
    logits.push_back(walk.logits());
  }
  return logits;
}

bool Engine::Scheduler::make_room(RunningJob& job, int64_t tokens) {
  while (!job.sequence().reserve(tokens)) {
    if (prefixes_.forget_oldest()) continue;
    if (running_.size() == 1)
      throw ResourceError(
          fmt::format("[key/value cache] expected room for {} tokens, but {} are all that {} hold; raise the "
                      "limit of the "
                      "cache, shorten the text, or store it in fewer bits (--cache_dtype int8)",
                      job.sequence().num_tokens() + tokens, job.sequence().num_tokens(),
                      format_bytes(pool_.limit_bytes())));
    RunningJob& youngest = *running_.back();
    const bool is_own = &youngest == &job;
    put_back(youngest);
    if (is_own) return false;
  }
  return true;
}

void Engine::Scheduler::put_back(RunningJob& job) {
  if (walking_ == &job) {
    walk_.reset();
    walking_ = nullptr;
  }
  JobPointer taken = remove(job);
  taken->begin_again();
  const std::lock_guard lock(mutex_);
  waiting_.push_front(std::move(taken));
}

Engine::Scheduler::JobPointer Engine::Scheduler::remove(RunningJob& job) {
  const auto found = std::find_if(running_.begin(), running_.end(),
                                  [&](const JobPointer& running) { return running.get() == &job; });
  JobPointer taken = std::move(*found);
  running_.erase(found);
  return taken;
}

void Engine::Scheduler::end(RunningJob& job, const JobEvent& event) {
  if (walking_ == &job) {
    walk_.reset();
    walking_ = nullptr;
  }
  const JobPointer ended = remove(job);
  ended->begin_again();  // its pages are free before anybody hears of the end
  {
    const std::lock_guard lock(mutex_);
    state_.running = std::ssize(running_);
    if (std::holds_alternative<Failed>(event))
      ++state_.failed;
    else if (std::get<Ended>(event).reason == StopReason::kCaller)
      ++state_.cancelled;
    else
      ++state_.finished;
  }
  ended->tell(event);
}

// What goes wrong with a job ends that job alone.
template <typename Work>
void Engine::Scheduler::guard(RunningJob& job, const Work& work) {
  try {
    work();
  } catch (const std::exception& error) {
    end(job, Failed{error.what()});
  }
}

}  // namespace longlora::generate
