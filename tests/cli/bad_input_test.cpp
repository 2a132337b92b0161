// Input that cannot be used: the exit code and the message of each, and nothing left behind.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "longlora/core/json.h"
#include "tests/cli/process.h"

namespace longlora::test {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;
using ::testing::Not;

enum Code { kDone = 0, kUsage = 2, kInput = 3 };

// A folder of inputs, good and bad, that no failed command may add to.
class BadInput : public ::testing::Test {
 public:
  BadInput() { write_ids(folder / "good.bin", 2000, 512); }

  // The command ends with `code`, says all of `parts` in its error, and leaves the folder as it was.
  void expect_refused(Code code, const Words& words, const std::vector<std::string>& parts) const {
    const auto before = contents(folder.path());
    const Ending ending = expect_exit(code, words);
    for (const std::string& part : parts) EXPECT_THAT(ending.err, HasSubstr(part));
    EXPECT_THAT(ending.err, HasSubstr("error: "));
    EXPECT_TRUE(contents(folder.path()) == before) << ::testing::PrintToString(names_in(folder.path()));
  }

  Words score(const fs::path& model) const { return {"score", "--base_model", model, "--ids", "1,2,3"}; }
  Words fine_tune(const std::string& data, const Words& more = {}) const {
    return with(
        {"fine-tune", "--model_name_or_path", base, "--output_dir", folder / "out", "--data_path", data},
        more);
  }
  Words tune_rows_of_64(const std::string& data, const Words& more = {}) const {
    return with(fine_tune(data, {"--model_max_length", "64"}), more);
  }
  Words tokenize(const std::string& input) const {
    return {"tokenize", "--tokenizer", base, "--input", input, "--output", folder / "new.bin"};
  }

  // A copy of the model whose weights file is what `change` makes of it.
  template <typename Change>
  fs::path model_with(const std::string& name, const Change& change) const {
    fs::copy(base, folder / name);
    const fs::path weights = folder / name / "model.safetensors";
    write_file_atomic(weights, change(read_file(weights)));
    return folder / name;
  }

  const std::string base = data("stories260K_hf");
  TemporaryDirectory folder;
};

// A model with one weight that is not a number, whichever lies at the end of the file.
std::string spoiled(std::string bytes) {
  const float wrong = std::nanf("");
  std::memcpy(bytes.data() + bytes.size() - sizeof wrong, &wrong, sizeof wrong);
  return bytes;
}

TEST_F(BadInput, AModelThatIsNotFiniteEndsEveryVerbThatRunsIt) {
  const fs::path model = model_with("nan", spoiled);
  write_file_atomic(folder / "asked.jsonl",
                    R"({"instruction": "Tell me a story.", "output": "Once upon a time."})");
  const std::vector<std::string> told = {"finite", "holds numbers that are not finite: its file is damaged"};
  expect_refused(kInput, score(model), told);
  expect_refused(
      kInput, {"eval", "--base_model", model, "--seq_len", "256", "--data_path", folder / "good.bin"}, told);
  expect_refused(
      kInput,
      {"passkey", "--base_model", model, "--context_size", "2048", "--lengths", "400", "--num_tests", "1"},
      told);
  expect_refused(kInput, {"inference", "--base_model", model, "--question", "Who?", "--max_gen_len", "4"},
                 told);
  expect_refused(kInput, {"answer", "--base_model", model, "--data_path", folder / "asked.jsonl"}, told);
  const Ending trained = expect_exit(
      kInput, {"fine-tune", "--model_name_or_path", model, "--output_dir", folder / "out", "--data_path",
               folder / "good.bin", "--model_max_length", "64", "--max_steps", "2"});
  EXPECT_THAT(trained.err, HasSubstr("[step 1] expected a finite loss and gradient"));
}

TEST_F(BadInput, NumbersThatAreNotFiniteAreNotWritten) {
  const auto convert = [&](const fs::path& model, const std::string& dtype) {
    return with({"convert", "--input", model, "--output", folder / "converted"},
                dtype.empty() ? Words() : Words{"--dtype", dtype});
  };
  const fs::path nan = model_with("nan", spoiled),
                 large = model_with("large", [](std::string bytes) {
                   const float number = 1e6f;  // more than float16 can hold
                   std::memcpy(bytes.data() + bytes.size() - sizeof number, &number, sizeof number);
                   return bytes;
                 });
  expect_refused(kInput, convert(nan, ""), {"expected finite numbers to write, got nan", "damaged"});
  expect_refused(kInput, convert(large, "float16"),
                 {"expected finite numbers to write, got inf", "in float16", "--dtype bfloat16"});
  expect_refused(kInput, with(convert(nan, "bfloat16"), {"--format", "bin"}), {"got nan"});
  expect_exit(kDone, convert(large, "bfloat16"));
}

std::string replaced(std::string text, const std::string& old, const std::string& by) {
  return text.replace(text.find(old), old.size(), by);
}

TEST_F(BadInput, ModelsThatAreMissingOrDamaged) {
  expect_refused(kInput, score(folder / "nowhere"),
                 {"nowhere] expected a Hugging Face model directory or a GGUF file, got nothing there"});
  const fs::path truncated =
      model_with("truncated", [](const std::string& bytes) { return bytes.substr(0, bytes.size() / 2); });
  expect_refused(kInput, score(truncated),
                 {"model.safetensors] tensor \"", "the file is truncated or damaged"});
  const fs::path cut = model_with("cut", [](const std::string& bytes) { return bytes.substr(0, 100); });
  expect_refused(kInput, score(cut), {"expected a header of", "got a file of 100; it is truncated"});
  const fs::path renamed = model_with("renamed", [](const std::string& bytes) {
    return replaced(bytes, "model.norm.weight", "model.nurm.weight");
  });
  expect_refused(kInput, score(renamed),
                 {"expected tensor \"model.norm.weight\"", "nearest is \"model.nurm.weight\""});
  const fs::path whole_numbers = model_with("whole_numbers", [](const std::string& bytes) {
    return replaced(bytes, "\"dtype\":\"F32\"", "\"dtype\":\"I32\"");
  });
  expect_refused(kInput, score(whole_numbers), {"expected floating point, got Int"});
  fs::remove(cut / "model.safetensors");
  expect_refused(kInput, score(cut),
                 {"cut] expected model.safetensors, pytorch_model.bin, either's .index.json, Meta's "
                  "consolidated.00.pth or a GGUF file, got none of them"});
}

TEST_F(BadInput, ModelsWhoseConfigDoesNotFit) {
  expect_refused(kInput, score(data("unsupported_gpt2")),
                 {"unsupported_gpt2/config.json] expected one of the supported architectures",
                  "got gpt2 (GPT2LMHeadModel)"});
  fs::copy(base, folder / "other");
  Json config = read_json(folder / "other/config.json");
  config["intermediate_size"] = 100;
  write_json(folder / "other/config.json", config);
  expect_refused(
      kInput, score(folder / "other"),
      {"gate_proj.weight\": expected shape [100, 64], got [172, 64]; do the weights belong to this config?"});
  write_file_atomic(folder / "other/config.json", "{\"architectures\": [");
  expect_refused(kInput, score(folder / "other"), {"other/config.json"});
}

TEST_F(BadInput, DataThatCannotBeTrainedOn) {
  write_file_atomic(folder / "empty.bin", "");
  write_file_atomic(folder / "empty.txt", "");
  write_file_atomic(folder / "odd.bin", "123");
  write_ids(folder / "beyond.bin", 2000, 600);
  fs::create_directories(folder / "folder");
  expect_refused(kInput, tune_rows_of_64(folder / "nowhere.bin"),
                 {"nowhere.bin] expected a data file", "nothing of that name"});
  expect_refused(kInput, tune_rows_of_64(folder / "empty.bin"),
                 {"empty.bin] expected token ids, got an empty file"});
  expect_refused(kInput, tune_rows_of_64(folder / "empty.txt"), {"empty.txt] expected text, got none"});
  expect_refused(kInput, tune_rows_of_64(folder / "folder"),
                 {"folder] expected a folder with .txt, .json, .bin or .jsonl files, got none"});
  expect_refused(kInput, tune_rows_of_64(folder / "odd.bin"), {"odd.bin] expected a multiple of 2 bytes"});
  expect_refused(kInput, tune_rows_of_64(folder / "beyond.bin"),
                 {"beyond.bin] expected ids below the model's 512 embedding rows, got id 5"});
  expect_refused(kInput, fine_tune(folder / "good.bin", {"--model_max_length", "4096"}),
                 {"at least one row of 4096 tokens, got 2000", "--model_max_length"});
  expect_refused(kInput, {"score", "--base_model", base, "--ids", "1,700"},
                 {"expected ids in [0, 512)", "got 700 at position 1"});
}

TEST_F(BadInput, IdsOfAnotherTokenizer) {
  write_file_atomic(folder / "text.txt", std::string(500, 'a'));
  expect_exit(kDone, tokenize(folder / "text.txt"));
  Json info = read_json(folder / "new.bin.json");
  info["tokenizer"] = {{"path", "some/other/model"}, {"fingerprint", std::string(64, '0')}};
  write_json(folder / "new.bin.json", info);
  for (const Words& words :
       {tune_rows_of_64(folder / "new.bin"),
        Words{"eval", "--base_model", base, "--data_path", folder / "new.bin", "--seq_len", "64"}})
    expect_refused(kInput, words,
                   {"new.bin] expected ids of the model's tokenizer, got ids of another (some/other/model)"});
}

TEST_F(BadInput, TextsThatCannotBeTokenized) {
  write_file_atomic(folder / "utf16.txt", std::string("\xFF\xFEh\0i\0", 6));
  write_file_atomic(folder / "binary.txt", std::string("ab\0\xFF", 4));
  write_file_atomic(folder / "empty.txt", "");
  write_file_atomic(folder / "lines.jsonl", "{\"text\": \"a\"}\n{\"txt\": \"b\"}\n");
  fs::create_directories(folder / "folder");
  expect_refused(kInput, tokenize(folder / "utf16.txt"),
                 {"utf16.txt] expected UTF-8 or Latin-1 text, got UTF-16", "iconv"});
  expect_refused(kInput, tokenize(folder / "binary.txt"), {"binary.txt] expected text, got binary data"});
  expect_refused(kInput, tokenize(folder / "empty.txt"),
                 {"empty.txt] expected text, got a file without any"});
  expect_refused(kInput, tokenize(folder / "lines.jsonl"),
                 {"lines.jsonl:2] expected the field \"text\", got txt"});
  expect_refused(kInput, tokenize(folder / "nowhere.txt"), {"nowhere.txt] expected a data file"});
  expect_refused(kInput, tokenize(folder / "good.bin"), {"good.bin] expected text, got a .bin file"});
  expect_refused(
      kInput,
      {"tokenize", "--tokenizer", folder / "folder", "--input", folder / "lines.jsonl", "--output",
       folder / "new.bin"},
      {"folder] expected a tokenizer (tokenizer.json or tokenizer.model), got a folder without one"});
  // Bytes that are no UTF-8 but can be a text are one, and that is said.
  write_file_atomic(folder / "latin.txt", "caf\xE9");
  EXPECT_THAT(expect_exit(kDone, tokenize(folder / "latin.txt")).err,
              HasSubstr("latin.txt is not UTF-8; read as Latin-1"));
}

TEST_F(BadInput, AdaptersThatAreIncompleteOrOfAnotherModel) {
  const std::string tiny = data("goldens/tiny_models/gqa_untied"), adapter = data("goldens/peft_adapter");
  const auto merge = [&](const std::string& model, const std::string& peft) {
    return Words{"merge", "--base_model", model, "--peft_model", peft, "--save_path", folder / "merged"};
  };
  fs::copy(adapter, folder / "part");
  fs::remove(folder / "part/trainable_params.safetensors");
  expect_refused(kInput, merge(tiny, folder / "part"),
                 {"part] expected the trained embeddings and norms in trainable_params.safetensors or "
                  "trainable_params.bin, got no such file"});
  fs::remove(folder / "part/adapter_model.safetensors");
  expect_refused(kInput, merge(tiny, folder / "part"),
                 {"part] expected adapter_model.safetensors or adapter_model.bin, got no such file; the "
                  "adapter is incomplete"});
  fs::remove(folder / "part/adapter_config.json");
  expect_refused(kInput, merge(tiny, folder / "part"),
                 {"expected a PEFT adapter directory with adapter_config.json"});
  expect_refused(kInput, merge(base, adapter), {"was the adapter made for another base model?"});
  expect_refused(kInput, merge(folder / "nowhere", adapter), {"expected a Hugging Face model directory"});
  expect_refused(kUsage,
                 {"merge", "--base_model", tiny, "--peft_model", adapter, "--save_path", folder / "part"},
                 {"expected a new or empty directory, got one that holds "});
}

TEST_F(BadInput, CommandLinesWithoutAVerbOrAFlag) {
  expect_refused(kUsage, {}, {"expected a verb (tokenize, fine-tune, ", "got none", "longlora --help"});
  expect_refused(kUsage, {"tokenise"}, {"got tokenise; did you mean tokenize?"});
  expect_refused(kUsage, {"--halp"}, {"got --halp; did you mean --help?", "longlora --help"});
  expect_refused(kUsage, {"merge", "--base_model", base},
                 {"is required", "longlora merge --help lists the flags"});
  // A misspelt flag is named even where the flag that it should have been is missing.
  expect_refused(
      kUsage, fine_tune(folder / "good.bin", {"--model_max_lenght", "64"}),
      {"[fine-tune] expected a flag of this verb, got --model_max_lenght; did you mean --model_max_length?"});
  expect_refused(kUsage, tune_rows_of_64(folder / "good.bin", {"--gibberish=3"}), {"got --gibberish"});
  expect_refused(kUsage, tune_rows_of_64(folder / "good.bin", {"--fp16", "True"}),
                 {"[--fp16] expected no such flag or False, got True", "take --bf16 True"});
}

TEST_F(BadInput, ValuesThatAreWrongOrContradict) {
  const std::string bin = folder / "good.bin";
  // All problems at once.
  expect_refused(kUsage, tune_rows_of_64(bin, {"--init", "random", "--lora_r", "0", "--eval_steps", "3"}),
                 {"--init random starts from nothing: give either it or --model_name_or_path",
                  "--init random needs --config", "--low_rank_training False",
                  "--lora_r must be positive, got 0", "--eval_steps needs --eval_data_path"});
  expect_refused(kUsage, tune_rows_of_64(bin, {"--learning_rate", "fast"}),
                 {"[--learning_rate] expected a finite number, got fast"});
  expect_refused(kUsage, tune_rows_of_64(bin, {"--bf16", "maybe"}), {"expected True or False, got maybe"});
  expect_refused(kUsage, tune_rows_of_64(bin, {"--attention", "sparse"}),
                 {"[--attention] expected one of s2, full, got sparse"});
  expect_refused(
      kUsage, tune_rows_of_64(bin, {"--lr_scheduler_type", "poly"}),
      {"[--lr_scheduler_type] expected one of constant_with_warmup, constant, linear", "got poly"});
  expect_refused(kUsage, tune_rows_of_64(bin, {"--lora_target_modules", "c_attn"}),
                 {"expected names among down_proj, ", "got c_attn"});
  expect_refused(kUsage, tune_rows_of_64(bin, {"--trainable_params", "wte"}),
                 {"got wte which matches nothing"});
  expect_refused(
      kUsage,
      {"eval", "--base_model", base, "--data_path", bin, "--seq_len", "1024", "--context_size", "512"},
      {"[--seq_len] expected at most --context_size (512), got 1024"});
  expect_refused(kUsage, {"score", "--base_model", base},
                 {"expected one of --text, --file and --ids, got none"});
  expect_refused(kUsage, {"score", "--base_model", base, "--text", "a", "--ids", "1"},
                 {"[--text] expected no --ids beside it, got both; leave one of them out"});
  expect_refused(kUsage, {"tokenize", "--tokenizer", base, "--input", bin, "--output", folder / "new.txt"},
                 {"expected an output name that ends in .bin"});
}

TEST_F(BadInput, ReportsOfNothing) {
  fs::create_directories(folder / "run");
  expect_refused(
      kInput, {"report", folder / "run", "--output", folder / "r.html"},
      {"run] expected a run directory with train_log.jsonl", "got a directory without train_log.jsonl"});
  expect_refused(kInput, {"report", folder / "nowhere.json", "--output", folder / "r.html"},
                 {"nowhere.json"});
}

TEST_F(BadInput, RunsThatWouldMixWithAnother) {
  const Words words = tune_rows_of_64(folder / "good.bin", {"--max_steps", "1"});
  expect_exit(kDone, words);
  expect_refused(kUsage, words,
                 {"out] expected a directory without checkpoints, found checkpoint-1", "--resume"});
  expect_refused(
      kInput, with(words, {"--resume", "True", "--learning_rate", "1e-3", "--text_field", "story"}),
      {"changed: ", "text_field (was \"text\", now \"story\")", "learning_rate (was 2e-05, now 0.001)"});
  write_ids(folder / "good.bin", 1000, 512);
  expect_refused(kInput, with(words, {"--resume", "True"}),
                 {"[--data_path] expected the 2000 tokens that this run was started with, got 1000"});
}

}  // namespace
}  // namespace longlora::test
