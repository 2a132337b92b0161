#include <ATen/Parallel.h>
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <optional>

#include "longlora/cli/flags.h"
#include "longlora/cli/model_flags.h"
#include "longlora/cli/verbs.h"
#include "longlora/core/error.h"
#include "longlora/core/format.h"
#include "longlora/core/json.h"
#include "longlora/core/log.h"
#include "longlora/core/random.h"
#include "longlora/core/read_bandwidth.h"
#include "longlora/generate/engine.h"
#include "longlora/results/speed.h"

namespace longlora::cli {
namespace {

using Clock = std::chrono::steady_clock;

struct BenchArguments {
  generate::RuntimeOptions model;
  std::vector<int64_t> prompt_tokens = {16, 6144};
  std::vector<int64_t> sequences = {1};
  int64_t new_tokens = 64;
  int64_t repeat = 3;
  std::optional<double> memory_budget_gib;
  std::filesystem::path json;
};

double seconds_between(Clock::time_point a, Clock::time_point b) {
  return std::chrono::duration<double>(b - a).count();
}

// Waits for several jobs and keeps the times at which all had written their first token and their last.
class Times {
 public:
  explicit Times(int64_t jobs) : first_missing_(jobs), running_(jobs) {}

  generate::Listener listener() {
    return [this, wrote = int64_t{0}](const generate::JobEvent& event) mutable {
      const std::lock_guard lock(mutex_);
      if (std::holds_alternative<generate::Wrote>(event)) {
        if (wrote++ == 0 && --first_missing_ == 0) all_started_ = Clock::now();
        if (first_missing_ == 0) ++written_together_;
        last_ = Clock::now();
      } else if (const auto* failed = std::get_if<generate::Failed>(&event)) {
        error_ = failed->message;
        end_one();
      } else if (std::holds_alternative<generate::Ended>(event)) {
        end_one();
      }
    };
  }
  void wait() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return running_ == 0; });
    if (!error_.empty()) throw InputError(error_);
  }
  Clock::time_point all_started() const { return all_started_; }
  // Tokens a second since all jobs write, the one that completed that not counted.
  double rate() const {
    const double seconds = seconds_between(all_started_, last_);
    return seconds > 0.0 ? static_cast<double>(written_together_ - 1) / seconds : 0.0;
  }

 private:
  void end_one() {
    --running_;
    changed_.notify_all();
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  int64_t first_missing_, running_, written_together_ = 0;
  Clock::time_point all_started_, last_;
  std::string error_;
};

std::vector<int64_t> random_ids(int64_t count, int64_t vocab_size, uint64_t seed) {
  std::vector<int64_t> ids(static_cast<size_t>(count));
  for (size_t i = 0; i < ids.size(); ++i)
    ids[i] = static_cast<int64_t>(mix_bits(seed, i) % static_cast<uint64_t>(vocab_size));
  return ids;
}

// The bytes of the weights that a step reads: all but the rows of the embedding, of which it reads one.
double weight_bytes(const model::Decoder& decoder) {
  int64_t bytes = 0;
  model::visit_parameters(decoder, [&](const std::string&, model::ParameterRole role, const auto& parameter) {
    const bool is_looked_up = role == model::ParameterRole::kEmbedding && decoder.lm_head.value.defined();
    if (!is_looked_up) bytes += parameter.value.num_bytes();
  });
  return static_cast<double>(bytes);
}

class Bench {
 public:
  Bench(const BenchArguments& arguments, const generate::Runtime& model, generate::Engine& engine)
      : arguments_(arguments),
        engine_(engine),
        weight_bytes_(weight_bytes(*model.decoder)),
        bandwidth_(measure_read_bandwidth(at::get_num_threads())) {}

  double bandwidth() const { return bandwidth_; }

  // The best of several runs, each with prompts that were never read before.
  results::SpeedRow measure(int64_t prompt_tokens, int64_t sequences) {
    results::SpeedRow best;
    for (int64_t i = 0; i < arguments_.repeat; ++i) {
      const results::SpeedRow row = run_once(prompt_tokens, sequences);
      const double prompt_rate = std::max(best.prompt_rate, row.prompt_rate);
      if (row.rate > best.rate) best = row;
      best.prompt_rate = prompt_rate;
    }
    return best;
  }

 private:
  results::SpeedRow run_once(int64_t prompt_tokens, int64_t sequences) {
    Times times(sequences);
    const auto start = Clock::now();
    for (int64_t i = 0; i < sequences; ++i)
      engine_.submit({.prompt = random_ids(prompt_tokens, engine_.vocab_size(), seed_++),
                      .max_new_tokens = arguments_.new_tokens,
                      .sampling = {.temperature = 0.0}},
                     times.listener());
    times.wait();
    results::SpeedRow row = {
        .prompt_tokens = prompt_tokens, .sequences = sequences, .new_tokens = arguments_.new_tokens};
    row.prompt_seconds = seconds_between(start, times.all_started());
    row.prompt_rate = static_cast<double>(prompt_tokens * sequences) / row.prompt_seconds;
    row.rate = times.rate();
    const auto seen = static_cast<double>(prompt_tokens) + static_cast<double>(arguments_.new_tokens) / 2.0;
    row.bytes_per_step =
        weight_bytes_ + static_cast<double>(sequences * engine_.cache_bytes_per_token()) * seen;
    row.share_of_bandwidth = row.bytes_per_step * row.rate / static_cast<double>(sequences) / bandwidth_;
    return row;
  }

  const BenchArguments& arguments_;
  generate::Engine& engine_;
  double weight_bytes_, bandwidth_;
  uint64_t seed_ = 1;
};

void print_row(const results::SpeedRow& row) {
  fmt::print("{:>8} {:>10} {:>16.1f} {:>15.1f} {:>10.1f} {:>10.0f} %\n", row.prompt_tokens, row.sequences,
             row.prompt_rate, row.rate,
             row.bytes_per_step * row.rate / static_cast<double>(row.sequences) / 1e9,
             100.0 * row.share_of_bandwidth);
}

void run_bench(BenchArguments& arguments) {
  prepare_output_files({{"--json", arguments.json}}, model_inputs(arguments.model));
  arguments.model.memory_budget_bytes = memory_budget_bytes(arguments.memory_budget_gib);
  const int64_t most = *std::max_element(arguments.prompt_tokens.begin(), arguments.prompt_tokens.end());
  const int64_t sequences = *std::max_element(arguments.sequences.begin(), arguments.sequences.end());
  // What a prompt says does not matter here, so that its length is the only thing that the window limits.
  arguments.model.context_size = std::max(arguments.model.context_size, most + arguments.new_tokens);
  if (arguments.model.rope_scaling.empty()) arguments.model.rope_scaling = "none";
  arguments.model.pass_tokens = [&](int64_t context_size) {
    generate::PassTokens tokens = generate::tokens_of_generation(context_size, most, arguments.new_tokens);
    tokens.cached *= sequences;
    return tokens;
  };
  const generate::Runtime model = generate::open_runtime(arguments.model);
  generate::Engine engine(model, {.shares_prefixes = false});
  Bench bench(arguments, model, engine);
  results::Speed result;
  result.model = evaluated_model(arguments.model, model);
  result.threads = at::get_num_threads();
  result.read_bandwidth = bench.bandwidth();
  log_info(
      fmt::format("this machine reads {:.1f} GB/s with {} threads", bench.bandwidth() / 1e9, result.threads));
  fmt::print("{:>8} {:>10} {:>16} {:>15} {:>10} {:>12}\n", "prompt", "sequences", "read, tokens/s",
             "write, tokens/s", "GB/s", "of bandwidth");
  for (const int64_t tokens : arguments.prompt_tokens)
    for (const int64_t count : arguments.sequences) {
      result.rows.push_back(bench.measure(tokens, count));
      print_row(result.rows.back());
    }
  if (!arguments.json.empty()) write_json(arguments.json, result.to_json());
}

}  // namespace

void add_bench_verb(CLI::App& app) {
  CLI::App& verb = *app.add_subcommand("bench", "How fast a model reads prompts and writes on this machine");
  auto arguments = std::make_shared<BenchArguments>();
  add_runtime_flags(verb, arguments->model);
  verb.add_option("--prompt_tokens", arguments->prompt_tokens,
                  "Lengths of prompts, which are random: 16,6144")
      ->delimiter(',')
      ->check(at_least(1))
      ->capture_default_str();
  verb.add_option("--sequences", arguments->sequences, "How many are read and written at once: 1,8")
      ->delimiter(',')
      ->check(at_least(1))
      ->capture_default_str();
  verb.add_option("--new_tokens", arguments->new_tokens, "Tokens that each of them writes")
      ->check(at_least(2))
      ->capture_default_str();
  verb.add_option("--repeat", arguments->repeat, "The best of so many runs counts")
      ->check(at_least(1))
      ->capture_default_str();
  add_memory_budget(verb, arguments->memory_budget_gib);
  verb.add_option("--json", arguments->json, "Write the result to this file")->type_name("FILE");
  verb.callback([arguments] { run_bench(*arguments); });
}

}  // namespace longlora::cli
