// What a long row takes: neither logits of all its tokens nor every layer's activations.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <csignal>

#include "longlora/core/json.h"
#include "tests/cli/process.h"

namespace longlora::test {
namespace {

constexpr int64_t kTokens = 16384;
constexpr int64_t kMiB = int64_t{1} << 20;

// Peak resident bytes of a training step of a random model on rows of kTokens tokens, as the program
// reports it.
int64_t peak_of_training(const Json& changes, const Words& more) {
  TemporaryDirectory folder;
  Json config = {{"architectures", {"LlamaForCausalLM"}},
                 {"model_type", "llama"},
                 {"vocab_size", 512},
                 {"hidden_size", 32},
                 {"intermediate_size", 64},
                 {"num_hidden_layers", 2},
                 {"num_attention_heads", 2},
                 {"num_key_value_heads", 1},
                 {"max_position_embeddings", kTokens},
                 {"rms_norm_eps", 1e-5},
                 {"tie_word_embeddings", true}};
  config.update(changes);
  write_json(folder / "config.json", config);
  write_ids(folder / "train.bin", kTokens, 512);
  expect_exit(0, with({"fine-tune",
                       "--init",
                       "random",
                       "--config",
                       folder / "config.json",
                       "--low_rank_training",
                       "False",
                       "--data_path",
                       folder / "train.bin",
                       "--output_dir",
                       folder / "out",
                       "--model_max_length",
                       std::to_string(kTokens),
                       "--group_size",
                       "256",
                       "--max_steps",
                       "1",
                       "--save_steps",
                       "0",
                       "--json",
                       folder / "result.json"},
                      more));
  return read_json(folder / "result.json")["peak_memory_bytes"].get<int64_t>();
}

TEST(MemoryOfALongRow, HoldsNoLogitsOfAllTokens) {
  const int64_t vocabulary = 32768;
  const int64_t small = peak_of_training(Json::object(), {});
  const int64_t large = peak_of_training({{"vocab_size", vocabulary}}, {});
  // Embedding, master, gradient, two moments, and what saving them takes; the logits alone would be 1 GiB
  // even in bfloat16.
  const int64_t weights = vocabulary * 32 * (2 + 4 + 4 + 4 + 4);
  const int64_t logits = kTokens * vocabulary * 2;
  EXPECT_LT(large - small, 2 * weights + 64 * kMiB);
  EXPECT_LT(large, logits / 3);
}

TEST(MemoryOfALongRow, HoldsTheInputsOfRecomputedLayersAlone) {
  const int64_t layers = 26;
  const Words recompute = {"--gradient_checkpointing", "True"};
  const int64_t few = peak_of_training(Json::object(), recompute);
  const int64_t many = peak_of_training({{"num_hidden_layers", layers}}, recompute);
  // In bfloat16: the input of a layer is C wide; kept whole, a layer holds more than 4 C + 2 H D + 2 F.
  const int64_t inputs = (layers - 2) * kTokens * 32 * 2;
  const int64_t activations = (layers - 2) * kTokens * (4 * 32 + 2 * 32 + 2 * 64) * 2;
  EXPECT_LT(many - few, 2 * inputs + 50 * kMiB);
  EXPECT_LT(many - few, activations / 2);
  // Told to keep everything it does: the measurement can tell the difference.
  const int64_t kept =
      peak_of_training({{"num_hidden_layers", layers}}, {"--gradient_checkpointing", "False"});
  EXPECT_GT(kept - few, activations / 2);
}

// LoRA+ runs of a model whose layers hold more than the program does.
class Budget : public ::testing::Test {
 protected:
  Budget() {
    write_json(folder_ / "config.json", {{"architectures", {"LlamaForCausalLM"}},
                                         {"model_type", "llama"},
                                         {"vocab_size", 512},
                                         {"hidden_size", 192},
                                         {"intermediate_size", 512},
                                         {"num_hidden_layers", 16},
                                         {"num_attention_heads", 3},
                                         {"max_position_embeddings", kTokens},
                                         {"rms_norm_eps", 1e-5},
                                         {"tie_word_embeddings", true}});
    write_ids(folder_ / "train.bin", kTokens, 512);
    // A base model to adapt: the random weights that an update at rate 0 leaves as they are.
    expect_exit(
        0, {"fine-tune", "--init", "random", "--config", folder_ / "config.json", "--low_rank_training",
            "False", "--data_path", folder_ / "train.bin", "--output_dir", folder_ / "base",
            "--model_max_length", "64", "--max_steps", "1", "--learning_rate", "0", "--save_steps", "0"});
  }

  Words words(const std::string& budget_gib, const std::string& output,
              const std::string& steps = "1") const {
    return {"fine-tune",
            "--model_name_or_path",
            folder_ / "base",
            "--data_path",
            folder_ / "train.bin",
            "--output_dir",
            folder_ / output,
            "--model_max_length",
            std::to_string(kTokens),
            "--group_size",
            "256",
            "--max_steps",
            steps,
            "--save_steps",
            "0",
            "--learning_rate",
            "1e-3",
            "--memory_budget",
            budget_gib,
            "--json",
            folder_ / "result.json"};
  }
  Json result(const std::string& budget_gib, const std::string& output) {
    expect_exit(0, words(budget_gib, output));
    return read_json(folder_ / "result.json");
  }
  // The least budget, in bytes, of a plan in which everything is in memory and nothing kept.
  int64_t least_in_memory() {
    expect_exit(0, {"plan", "--model_name_or_path", folder_ / "base", "--model_max_length",
                    std::to_string(kTokens), "--group_size", "256", "--gradient_checkpointing", "true",
                    "--measure", "False", "--memory_budget", "8", "--json", folder_ / "plan.json"});
    return read_json(folder_ / "plan.json")["memory_bytes"].get<int64_t>();
  }
  static std::string gib(int64_t bytes) {
    return std::to_string(static_cast<double>(bytes) / static_cast<double>(int64_t{1} << 30));
  }

  TemporaryDirectory folder_;
};

TEST_F(Budget, IsKeptWhateverItLeadsTo) {
  const int64_t least = least_in_memory();
  const Json roomy = result("4", "roomy");
  EXPECT_EQ(roomy["inputs_on_disk"], 0);
  for (const int64_t below : {-200 * kMiB, 5 * kMiB, 70 * kMiB}) {
    const int64_t budget = least - below;
    const Json tight = result(gib(budget), "tight");
    EXPECT_LE(tight["peak_memory_bytes"].get<int64_t>(), budget) << tight.dump();
    EXPECT_EQ(tight["inputs_on_disk"].get<int64_t>() > 0, below == 70 * kMiB) << tight.dump();
    std::filesystem::remove_all(folder_ / "tight");
    if (below < 0) {
      EXPECT_EQ(tight["loss"], roomy["loss"]);
    }
  }
}

TEST_F(Budget, LeavesNoScratchFileWhenKilled) {
  Process process(words(gib(least_in_memory() - 70 * kMiB), "killed", "50"));
  ASSERT_TRUE(process.wait_for("step 1/50"));
  process.send(SIGKILL);
  EXPECT_EQ(process.wait().signal, SIGKILL);
  for (const std::string& name : names_in(folder_ / "killed"))
    EXPECT_TRUE(name == ".longlora.json" || !name.starts_with(".")) << name;
}

TEST_F(Budget, EndsBeforeTheFirstStepWhereTheDiskHasNoRoom) {
  const Ending ending =
      expect_exit(4, words(gib(least_in_memory() - 70 * kMiB), "full"), {.file_size_limit_bytes = 1 << 20});
  EXPECT_THAT(ending.err, ::testing::HasSubstr("scratch space"));
}

// Runs of a model whose training state, most of which can be on disk, takes more than the rest.
class StateBudget : public ::testing::Test {
 protected:
  StateBudget() {
    write_json(folder_ / "config.json", {{"architectures", {"LlamaForCausalLM"}},
                                         {"model_type", "llama"},
                                         {"vocab_size", 32768},
                                         {"hidden_size", 256},
                                         {"intermediate_size", 512},
                                         {"num_hidden_layers", 2},
                                         {"num_attention_heads", 4},
                                         {"max_position_embeddings", 512},
                                         {"rms_norm_eps", 1e-5},
                                         {"tie_word_embeddings", false}});
    write_ids(folder_ / "train.bin", 256 * 12, 32768);
  }

  Words words(const std::string& budget_gib, const std::string& output) const {
    return {"fine-tune",
            "--init",
            "random",
            "--config",
            folder_ / "config.json",
            "--low_rank_training",
            "False",
            "--data_path",
            folder_ / "train.bin",
            "--output_dir",
            folder_ / output,
            "--model_max_length",
            "256",
            "--max_steps",
            "4",
            "--save_steps",
            "2",
            "--learning_rate",
            "1e-3",
            "--resume",
            "True",
            "--memory_budget",
            budget_gib,
            "--json",
            folder_ / "result.json"};
  }
  Json result() const { return read_json(folder_ / "result.json"); }

  TemporaryDirectory folder_;
};

TEST_F(StateBudget, LeadsToTheSameResultOnDisk) {
  expect_exit(0, words("4", "roomy"));
  const Json roomy = result();
  EXPECT_EQ(roomy["state_on_disk"], "none");
  const int64_t most = roomy["predicted_memory_bytes"].get<int64_t>();
  // Without the pieces that are in memory while they are used.
  const std::string budget = std::to_string(static_cast<double>(most - 150 * kMiB) / (1 << 30));
  expect_exit(0, words(budget, "tight"));
  const Json tight = result();
  EXPECT_EQ(tight["state_on_disk"], "all");
  EXPECT_LE(tight["peak_memory_bytes"].get<int64_t>(), most - 150 * kMiB);
  EXPECT_GT(roomy["peak_memory_bytes"].get<int64_t>(), most - 100 * kMiB);  // the measure can tell
  EXPECT_EQ(tight["loss"], roomy["loss"]);
  // Killed after its first checkpoint and resumed.
  Process process(words(budget, "killed"));
  ASSERT_TRUE(process.wait_for("step 3/4"));
  process.send(SIGKILL);
  EXPECT_EQ(process.wait().signal, SIGKILL);
  for (const std::string& name : names_in(folder_ / "killed")) EXPECT_NE(name.find("scratch"), 0u) << name;
  expect_exit(0, words(budget, "killed"));
  EXPECT_LE(result()["peak_memory_bytes"].get<int64_t>(), most - 150 * kMiB);
  for (const char* file : {"model.safetensors", "checkpoint-4/optimizer.safetensors"})
    for (const char* run : {"tight", "killed"})
      EXPECT_TRUE(read_file(folder_ / (std::string("roomy/") + file)) ==
                  read_file(folder_ / (std::string(run) + "/" + file)))
          << run << " " << file;
}

TEST_F(StateBudget, EndsBeforeTheFirstStepWhereTheDiskHasNoRoom) {
  const Ending ending = expect_exit(4, words("0.4", "full"), {.file_size_limit_bytes = 1 << 20});
  EXPECT_THAT(ending.err, ::testing::HasSubstr("scratch space"));
  EXPECT_THAT(ending.err, ::testing::Not(::testing::HasSubstr("step 1/")));
}

TEST(MemoryThatIsMissing, IsSaidWithAnExitCodeOfItsOwn) {
#ifdef __SANITIZE_ADDRESS__
  GTEST_SKIP() << "the address sanitizer needs more addresses than any limit";
#endif
  TemporaryDirectory folder;
  write_ids(folder / "train.bin", 64, 512);
  Json config = read_json(data("stories260K_hf/config.json"));
  config["vocab_size"] = 40'000'000;  // an embedding of 10 GB
  write_json(folder / "config.json", config);
  const Ending ending = expect_exit(
      4,
      {"fine-tune", "--init", "random", "--config", folder / "config.json", "--low_rank_training", "False",
       "--data_path", folder / "train.bin", "--output_dir", folder / "out", "--model_max_length", "64"},
      {.address_space_limit_bytes = uint64_t{4} << 30});
  EXPECT_THAT(ending.err, ::testing::HasSubstr("error: [memory] expected the run to fit"));
  EXPECT_EQ(names_in(folder.path()), (std::vector<std::string>{"config.json", "train.bin"}));
}

}  // namespace
}  // namespace longlora::test
