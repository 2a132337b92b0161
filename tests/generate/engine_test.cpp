#include "longlora/generate/engine.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <filesystem>
#include <mutex>
#include <thread>

#include "longlora/core/error.h"
#include "longlora/core/random.h"
#include "longlora/generate/generate.h"
#include "longlora/generate/run_jobs.h"
#include "longlora/ops/kv_page.h"
#include "tests/generate/test_models.h"
#include "tests/model/tiny_models.h"

namespace longlora::generate {
namespace {

using testing::HasSubstr;
using testing::ThrowsMessage;
using Ids = std::vector<int64_t>;

constexpr int64_t kContext = 4096;

Job greedy(Ids prompt, int64_t count) {
  return {.prompt = std::move(prompt), .max_new_tokens = count, .sampling = {.temperature = 0.0}};
}

Job drawn(Ids prompt, int64_t count, uint64_t seed) {
  return {.prompt = std::move(prompt),
          .max_new_tokens = count,
          .sampling = {.temperature = 1.5, .top_p = 1.0, .seed = seed}};
}

Generation run_alone(const model::Decoder& decoder, int64_t context_size, const Job& job) {
  Engine engine(decoder, context_size, {.shares_prefixes = false});
  return run_job(engine, job);
}

// Waits for jobs and keeps what each wrote.
class Written {
 public:
  explicit Written(size_t jobs) : ids(jobs), reasons(jobs), messages(jobs), cached(jobs), left_(jobs) {}
  Listener listener(size_t i) {
    return [this, i](const JobEvent& event) {
      const std::lock_guard lock(mutex_);
      if (const auto* wrote = std::get_if<Wrote>(&event)) ids[i].push_back(wrote->id);
      if (const auto* reading = std::get_if<Reading>(&event)) cached[i] = reading->cached;
      if (const auto* ended = std::get_if<Ended>(&event)) reasons[i] = ended->reason;
      if (const auto* failed = std::get_if<Failed>(&event)) messages[i] = failed->message;
      if (std::holds_alternative<Ended>(event) || std::holds_alternative<Failed>(event)) {
        --left_;
        changed_.notify_all();
      }
    };
  }
  void wait() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return left_ == 0; });
  }

  std::vector<Ids> ids;
  std::vector<StopReason> reasons;
  std::vector<std::string> messages;
  std::vector<int64_t> cached;

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  size_t left_;
};

TEST(Engine, WritesWhatASessionWrites) {
  const model::Decoder decoder = small_decoder(4, 2);
  for (const int64_t prompt : {1, 63, 64, 65, 511, 512, 513, 1100}) {
    DecodeSession session(decoder, kContext);
    const Generation expected = generate(session, walk(prompt), {.max_new_tokens = 90});
    Engine engine(decoder, kContext);
    const Generation got = run_job(engine, greedy(walk(prompt), 90));
    EXPECT_EQ(got.ids, expected.ids) << prompt;
    EXPECT_EQ(got.reason, StopReason::kMaxTokens);
  }
}

// Every family, under every rotary scaling, beyond the window that it was trained for.
TEST(Engine, WritesWhatASessionWritesInEveryFamily) {
  std::vector<std::filesystem::path> models;
  for (const char* name : model::kTinyModels) models.push_back(model::tiny_model(name));
  for (const char* name : model::kFamilyModels) models.push_back(model::family_model(name));
  for (const auto& path : models) {
    const model::Decoder decoder = model::load_decoder(path, at::kFloat);
    for (const int64_t count : {10, 100}) {
      Ids prompt = walk(count);
      for (int64_t& id : prompt) id %= decoder.config.vocab_size;
      DecodeSession session(decoder, 300);
      const Generation expected = generate(session, prompt, {.max_new_tokens = 150});
      EXPECT_EQ(run_alone(decoder, 300, greedy(prompt, 150)).ids, expected.ids) << path << " after " << count;
    }
  }
}

TEST(Engine, WritesAlmostTheSameFromKeysInEightBits) {
  const model::Decoder decoder = small_decoder(4, 2);
  const Ids ids = walk(700);
  const auto likeliest = [&](const std::string& cache_dtype) {
    Engine engine(decoder, kContext, {.cache_dtype = cache_dtype});
    Job job = greedy(ids, 1);
    job.num_likeliest = 61;
    std::vector<float> by_id(61);
    run_job(engine, job, [&](const JobEvent& event) {
      if (const auto* wrote = std::get_if<Wrote>(&event))
        for (const auto& [id, log_probability] : wrote->likeliest)
          by_id[static_cast<size_t>(id)] = log_probability;
      return true;
    });
    return by_id;
  };
  const auto expected = likeliest("auto"), eight = likeliest("int8"), four = likeliest("int4");
  EXPECT_NE(eight, expected);  // else nothing was stored in fewer bits
  EXPECT_NE(four, eight);
  for (size_t id = 0; id < expected.size(); ++id) {
    EXPECT_NEAR(eight[id], expected[id], 0.05) << id;
    EXPECT_NEAR(four[id], expected[id], 0.8) << id;
  }
}

TEST(Engine, StopsAtAnIdAndWhereTheContextEnds) {
  const model::Decoder decoder = small_decoder(4, 2);
  Engine engine(decoder, 100);
  const Ids all = run_job(engine, greedy(walk(40), 30)).ids;
  Job job = greedy(walk(40), 30);
  job.stop_ids = {all[7]};
  const Generation stopped = run_job(engine, job);
  EXPECT_EQ(stopped.reason, StopReason::kStopId);
  EXPECT_LE(stopped.ids.size(), 7u);
  const Generation full = run_job(engine, greedy(walk(40), 1000));
  EXPECT_EQ(full.reason, StopReason::kContextFull);
  EXPECT_EQ(full.ids.size(), 61u);  // the last of them follows a full context
}

TEST(Engine, ReadsWhatAnEarlierPromptBeganWithOnce) {
  const model::Decoder decoder = small_decoder(4, 2);
  Engine engine(decoder, kContext);
  Ids first = walk(1500), second = first;
  second.back() = (second.back() + 1) % 61;
  Written written(3);
  engine.submit(greedy(first, 40), written.listener(0));
  while (engine.state().finished == 0) std::this_thread::yield();
  engine.submit(greedy(second, 40), written.listener(1));
  Job foreign = greedy(second, 40);
  foreign.cache_scope = "somebody else";
  engine.submit(foreign, written.listener(2));
  written.wait();
  EXPECT_EQ(written.cached[0], 0);
  EXPECT_EQ(written.cached[1], 1024);  // in chunks of 512
  EXPECT_EQ(written.cached[2], 0);
  EXPECT_EQ(written.ids[1], written.ids[2]);
  EXPECT_EQ(written.ids[1], run_alone(decoder, kContext, greedy(second, 40)).ids);
}

// Eight conversations, which share beginnings, in one engine at once, with little memory or much, give what
// each gives alone.
TEST(Engine, WritesTheSameTextWhateverElseItDoes) {
  const model::Decoder decoder = small_decoder(4, 2);
  std::vector<Job> jobs;
  for (uint64_t i = 0; i < 8; ++i) {
    Ids prompt = walk(600 + 70 * static_cast<int64_t>(i));
    if (i % 2 == 1) prompt[530] = (prompt[530] + static_cast<int64_t>(i)) % 61;
    jobs.push_back(drawn(prompt, 40 + static_cast<int64_t>(i), i));
  }
  std::vector<Ids> expected;
  for (const Job& job : jobs) expected.push_back(run_alone(decoder, kContext, job).ids);
  const int64_t page = ops::PageShape{decoder.config.num_hidden_layers, 2, decoder.config.head_dim}.num_bytes(
      ops::PageFormat::kFloat);
  for (const int64_t pages : {25, 40, 1000})
    for (const int64_t running : {1, 3, 16}) {
      Engine engine(decoder, kContext, {.cache_limit_bytes = pages * page, .max_running = running});
      for (int64_t round = 0; round < 2; ++round) {
        Written written(jobs.size());
        for (size_t i = 0; i < jobs.size(); ++i) engine.submit(jobs[i], written.listener(i));
        written.wait();
        for (size_t i = 0; i < jobs.size(); ++i) {
          EXPECT_EQ(written.messages[i], "");
          EXPECT_EQ(written.ids[i], expected[i])
              << i << " of " << pages << " pages, " << running << " at once";
        }
      }
      EXPECT_LE(engine.state().cache_bytes, pages * page);
    }
}

TEST(Engine, GivesBackAllPages) {
  const model::Decoder decoder = small_decoder(4, 2);
  Engine engine(decoder, kContext, {.shares_prefixes = false});
  for (int64_t i = 0; i < 5; ++i) run_job(engine, greedy(walk(300 + 100 * i), 20));
  EXPECT_EQ(engine.state().cache_bytes, 0);
}

TEST(Engine, SaysThatATextDoesNotFit) {
  const model::Decoder decoder = small_decoder(4, 2);
  const int64_t page = ops::PageShape{decoder.config.num_hidden_layers, 2, decoder.config.head_dim}.num_bytes(
      ops::PageFormat::kFloat);
  Engine engine(decoder, kContext, {.cache_limit_bytes = 10 * page});
  EXPECT_THAT([&] { run_job(engine, greedy(walk(700), 10)); },
              ThrowsMessage<InputError>(HasSubstr("raise the limit of the cache")));
  EXPECT_EQ(run_job(engine, greedy(walk(100), 10)).ids.size(), 10u);
}

TEST(Engine, RefusesWhatItCannotDo) {
  const model::Decoder decoder = small_decoder(4, 2);
  Engine engine(decoder, 50);
  EXPECT_THROW(run_job(engine, greedy({}, 10)), InputError);
  EXPECT_THROW(run_job(engine, greedy({1, 61}, 10)), InputError);
  EXPECT_THROW(run_job(engine, greedy(walk(51), 10)), InputError);
  Job job = greedy(walk(5), 10);
  job.sampling.temperature = -1.0;
  EXPECT_THROW(run_job(engine, job), UsageError);
  EXPECT_THROW(Engine(decoder, 50, {.cache_dtype = "int3"}), UsageError);
}

TEST(Engine, CancelsAtAnyPlaceAndDisturbsNobody) {
  const model::Decoder decoder = small_decoder(4, 2);
  const int64_t page = ops::PageShape{decoder.config.num_hidden_layers, 2, decoder.config.head_dim}.num_bytes(
      ops::PageFormat::kFloat);
  Engine engine(decoder, kContext, {.cache_limit_bytes = 60 * page, .max_running = 4});
  const Job kept = drawn(walk(700), 200, 5);
  const Ids expected = run_alone(decoder, kContext, kept).ids;
  Written written(1);
  engine.submit(kept, written.listener(0));
  std::atomic<int> ended = 0;
  constexpr int kJobs = 1000;
  for (int i = 0; i < kJobs; ++i) {
    const auto bits = mix_bits(7, static_cast<uint64_t>(i));
    const JobId id = engine.submit(drawn(walk(1 + static_cast<int64_t>(bits % 900)), 50, bits),
                                   [&](const JobEvent& event) {
                                     if (std::holds_alternative<Ended>(event)) ++ended;
                                   });
    if (bits % 3 == 0) std::this_thread::sleep_for(std::chrono::microseconds(bits % 2000));
    engine.cancel(id);
  }
  written.wait();
  while (ended < kJobs) std::this_thread::yield();
  EXPECT_EQ(written.ids[0], expected);
  const GeneratorState state = engine.state();
  EXPECT_EQ(state.running, 0);
  EXPECT_EQ(state.waiting, 0);
  EXPECT_EQ(state.finished + state.cancelled, kJobs + 1);
}

TEST(Engine, TellsLogProbabilitiesOfTheModelsOwnDistribution) {
  const model::Decoder decoder = small_decoder(4, 2);
  Engine engine(decoder, kContext);
  Job job = drawn(walk(20), 5, 1);
  job.num_likeliest = 3;
  Ids ids = walk(20);
  std::vector<Wrote> told;
  run_job(engine, job, [&](const JobEvent& event) {
    if (const auto* wrote = std::get_if<Wrote>(&event)) told.push_back(*wrote);
    return true;
  });
  ASSERT_EQ(told.size(), 5u);
  for (const Wrote& wrote : told) {
    const at::Tensor expected = at::log_softmax(full_forward(decoder, ids)[-1], -1);
    EXPECT_NEAR(wrote.log_probability, expected[wrote.id].item<float>(), 1e-3);
    ASSERT_EQ(wrote.likeliest.size(), 3u);
    EXPECT_NEAR(wrote.likeliest[0].second, expected.max().item<float>(), 1e-3);
    ids.push_back(wrote.id);
  }
}

TEST(Engine, ReadsLongChunksAndThenShortOnes) {
  EXPECT_EQ(chunk_ends(1, false), (Ids{1}));
  EXPECT_EQ(chunk_ends(512, false), (Ids{512}));
  EXPECT_EQ(chunk_ends(2047, false), (Ids{512, 1024, 1536, 2047}));
  EXPECT_EQ(chunk_ends(2048, false), (Ids{2048}));
  EXPECT_EQ(chunk_ends(4700, false), (Ids{2048, 4096, 4608, 4700}));
  EXPECT_EQ(chunk_ends(4700, true), (Ids{4096, 4700}));
}

TEST(Engine, SharesLongChunksAndTheShortOnesBehindThem) {
  const model::Decoder decoder = small_decoder(4, 2);
  Engine engine(decoder, 8192);
  Ids first = walk(3000), longer = first;
  longer.resize(3400, 5);
  run_job(engine, greedy(first, 10));
  int64_t cached = 0;
  const auto hear = [&](const JobEvent& event) {
    if (const auto* reading = std::get_if<Reading>(&event)) cached = reading->cached;
    return true;
  };
  const Generation got = run_job(engine, greedy(longer, 10), hear);
  EXPECT_EQ(cached, 2560);
  EXPECT_EQ(got.ids, run_alone(decoder, 8192, greedy(longer, 10)).ids);
}

TEST(Engine, TellsHowFarAPromptIsRead) {
  const model::Decoder decoder = small_decoder(4, 2);
  Engine engine(decoder, kContext);
  std::vector<int64_t> done;
  run_job(engine, greedy(walk(2000), 1), [&](const JobEvent& event) {
    if (const auto* reading = std::get_if<Reading>(&event)) {
      done.push_back(reading->done);
      EXPECT_EQ(reading->total, 2000);
    }
    return true;
  });
  EXPECT_EQ(done.front(), 0);
  EXPECT_EQ(done.back(), 2000);
  EXPECT_TRUE(std::is_sorted(done.begin(), done.end()));
}

}  // namespace
}  // namespace longlora::generate
