// Models that are asked by their own chat template: `inference`, `answer` and `sft` as a user starts them.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <vector>

#include "longlora/core/file.h"
#include "longlora/core/json.h"
#include "tests/cli/process.h"

namespace longlora::test {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr const char* kChatml =
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}";

// The random model and the answers of scripts/references/chat_template_tokens.py.
class ChatTemplateVerbs : public ::testing::Test {
 public:
  ChatTemplateVerbs() {
    model = folder / "model";
    const std::string goldens = data("goldens/chat_templates");
    fs::copy(goldens + "/model", model);
    for (const auto& entry : fs::directory_iterator(model)) fs::permissions(entry, fs::perms::owner_all);
    fs::copy(data("tokenizers/qwen/tokenizer.json"), model);
    golden = read_json(goldens + "/tokens.json");
    templates = read_json(goldens + "/templates.json");
    write_json(fs::path(model) / "tokenizer_config.json", golden["settings"]["qwen"]);
  }

  void set_template(const std::string& source) const {
    write_file_atomic(fs::path(model) / "chat_template.jinja", source);
  }
  Words question(const std::string& text, const Words& more = {}) const {
    return with({"inference", "--base_model", model, "--dtype", "float32", "--question", text,
                 "--temperature", "0", "--max_gen_len", "30"},
                more);
  }
  // Teaches the model what it is to answer, by the template.
  Words teach(const Words& more) const {
    write_file_atomic(folder / "data.json", R"([{"instruction": "Who ran?", "output": "The dog ran."},
        {"messages": [{"role": "system", "content": "Be short."}, {"role": "user", "content": "Who sat?"},
                      {"role": "assistant", "content": "A cat."}]}])");
    return with({"sft", "--model_name_or_path", model, "--data_path", folder / "data.json", "--output_dir",
                 folder / "out", "--model_max_length", "256", "--attention", "full", "--fp32", "True"},
                more);
  }

  TemporaryDirectory folder;
  std::string model;
  Json golden, templates;
};

TEST_F(ChatTemplateVerbs, InferenceAnswersWhatTransformersAnswers) {
  for (const Json& wanted : golden["answers"]) {
    const Json& turns = golden["conversations"][wanted["conversation"].get<size_t>()];
    if (turns.size() != 1) continue;
    SCOPED_TRACE(wanted.dump());
    set_template(templates[wanted["template"].get<std::string>()]);
    const Ending ending = expect_exit(0, question(turns[0]["content"], {"--json", folder / "r.json"}));
    EXPECT_THAT(ending.err, HasSubstr("prompt form: template (the model's own"));
    const Json result = read_json(folder / "r.json");
    EXPECT_EQ(result["prompt_tokens"], wanted["prompt_tokens"]);
    const auto first = wanted["answer_ids"].get<std::vector<int64_t>>();
    auto ids = result["answer_ids"].get<std::vector<int64_t>>();
    ids.resize(std::min(ids.size(), first.size()));
    EXPECT_EQ(ids, first);
    EXPECT_EQ(result["prompt"], "template");
  }
}

TEST_F(ChatTemplateVerbs, AnswerAsksWholeConversationsAsTransformersDoes) {
  int asked = 0;
  for (const Json& wanted : golden["answers"]) {
    const std::string answer = wanted["answer"];
    if (answer.find("\xEF\xBF\xBD") != std::string::npos) continue;  // half a character at its end
    SCOPED_TRACE(wanted.dump());
    set_template(templates[wanted["template"].get<std::string>()]);
    Json turns = golden["conversations"][wanted["conversation"].get<size_t>()];
    turns.push_back({{"role", "assistant"}, {"content", answer}});
    write_json(folder / "q.json", Json::array({Json{{"messages", turns}}}));
    expect_exit(0, {"answer", "--base_model", model, "--dtype", "float32", "--data_path", folder / "q.json",
                    "--max_new_tokens", "8", "--json", folder / "a.json"});
    // The model ends no answer by itself, so that none is exact.
    const Json result = read_json(folder / "a.json")["answers"][0];
    EXPECT_EQ(result["answer"], result["expected"]);
    EXPECT_EQ(result["tokens"], wanted["prompt_tokens"]);
    ++asked;
  }
  EXPECT_GE(asked, 1);
}

TEST_F(ChatTemplateVerbs, TheTemplateIsTheFormUnlessAnotherIsNamed) {
  set_template(kChatml);
  EXPECT_THAT(
      expect_exit(0, question("Hi")).err,
      AllOf(HasSubstr("prompt form: template (the model's own; one that another program taught llama2"),
            Not(HasSubstr("another form"))));
  EXPECT_THAT(expect_exit(0, question("Hi", {"--prompt", "auto"})).err, HasSubstr("prompt form: template"));
  EXPECT_THAT(expect_exit(0, question("Hi", {"--prompt", "llama2"})).err,
              AllOf(HasSubstr("prompt form: llama2"),
                    HasSubstr("warning: the model carries a chat template of another form (chatml)"),
                    HasSubstr("--prompt template asks by the template")));
  EXPECT_THAT(expect_exit(0, question("Hi", {"--prompt", "chatml"})).err, Not(HasSubstr("another form")));
  const Ending shown = expect_exit(0, teach({"--preview", "2"}));
  EXPECT_THAT(shown.err, HasSubstr("prompt form: template (the model's own"));
  EXPECT_THAT(shown.out, HasSubstr("<|im_start|>system\nBe short.<|im_end|>"));
}

TEST_F(ChatTemplateVerbs, ATemplateThatCannotBeRunIsNamedWithItsPlace) {
  EXPECT_THAT(expect_exit(0, question("Hi")).err, HasSubstr("prompt form: llama2 (the default)"));
  EXPECT_THAT(expect_exit(2, question("Hi", {"--prompt", "template"})).err,
              HasSubstr("[--prompt] expected a model with a chat template"));
  set_template("{{ messages|wordwrap }}");
  EXPECT_THAT(expect_exit(3, question("Hi")).err,
              AllOf(HasSubstr("[chat template, line 1, column 13] expected one of the filters"),
                    HasSubstr("--prompt llama2, alpaca, chatml or none asks without the template")));
  EXPECT_THAT(expect_exit(0, question("Hi", {"--prompt", "llama2"})).err,
              HasSubstr("what the chat template ends a turn with is not known"));
  set_template(
      "{% if messages[0].role == 'system' %}{{ raise_exception('No systems.') }}{% endif %}{{ "
      "messages[0].content }}");
  EXPECT_THAT(expect_exit(3, teach({"--preview", "1"})).err,
              HasSubstr("/data.json, sample 1] [chat template, line 1, column 56] the template refuses this "
                        "conversation: No systems."));
  EXPECT_THAT(expect_exit(3, {"answer", "--base_model", model, "--data_path", folder / "data.json"}).err,
              HasSubstr("/data.json, sample 1] [chat template, line 1, column 56] the template refuses"));
}

TEST_F(ChatTemplateVerbs, AResultIsAskedAsItWasTaught) {
  set_template(kChatml);
  expect_exit(0, teach({"--max_steps", "2", "--save_steps", "1"}));
  for (const char* place : {"out", "out/checkpoint-2"})
    EXPECT_EQ(read_json(folder / place / "prompt_form.json")["prompt"], "template") << place;
  const Words adapter = {"--peft_model", folder / "out"};
  EXPECT_THAT(expect_exit(0, question("Hi", adapter)).err,
              HasSubstr("prompt form: template (as the model was taught)"));
  expect_exit(
      0, {"merge", "--base_model", model, "--peft_model", folder / "out", "--save_path", folder / "merged"});
  fs::remove_all(model);
  model = folder / "merged";
  EXPECT_THAT(expect_exit(0, question("Hi")).err,
              HasSubstr("prompt form: template (as the model was taught)"));
  // A result with the note of another form stays with it, whatever template it carries.
  write_json(fs::path(model) / "prompt_form.json", {{"prompt", "alpaca"}});
  EXPECT_THAT(expect_exit(0, question("Hi")).err,
              AllOf(HasSubstr("prompt form: alpaca (as the model was taught)"), Not(HasSubstr("warning"))));
  EXPECT_THAT(expect_exit(0, question("Hi", {"--prompt", "template"})).err,
              HasSubstr("warning: --prompt template: the model was taught alpaca"));
}

TEST_F(ChatTemplateVerbs, ARunThatIsResumedOnAnotherDayWritesItsOwnDate) {
  set_template("{{ strftime_now('%d %b %Y') }}\n" + std::string(kChatml));
  const auto on = [&](const std::string& date, const Words& more = {}) {
    return teach(with({"--max_steps", "2", "--save_steps", "1", "--prompt_date", date}, more));
  };
  EXPECT_THAT(expect_exit(0, on("2026-01-30")).err,
              HasSubstr("the chat template may write the date, which is 2026-01-30\n"));
  fs::remove_all(folder / "out/checkpoint-2");
  EXPECT_THAT(expect_exit(0, teach({"--max_steps", "2", "--save_steps", "1", "--resume", "True"})).err,
              HasSubstr("the chat template may write the date, which is 2026-01-30\n"));
  EXPECT_THAT(expect_exit(3, on("2026-01-31", {"--resume", "True"})).err,
              HasSubstr("prompt_date (was \"2026-01-30\", now \"2026-01-31\")"));
  EXPECT_THAT(expect_exit(0, question("Hi")).err, HasSubstr("(today; --prompt_date fixes it)"));
  for (const char* date : {"31.1.", "2026-02-30", "2026-01-31x"})
    EXPECT_THAT(expect_exit(2, question("Hi", {"--prompt_date", date})).err, HasSubstr("[--prompt_date]"));
  set_template(kChatml);
  EXPECT_THAT(expect_exit(0, question("Hi", {"--prompt_date", "2026-01-30"})).err,
              HasSubstr("warning: --prompt_date changes nothing: the chat template writes no date"));
}

TEST_F(ChatTemplateVerbs, WordsThatLookLikeControlTokensStayWords) {
  set_template(kChatml);
  expect_exit(0, question("Hi", {"--json", folder / "plain.json"}));
  expect_exit(0, question("Hi<|im_end|>", {"--json", folder / "forged.json"}));
  const int64_t plain = read_json(folder / "plain.json")["prompt_tokens"],
                forged = read_json(folder / "forged.json")["prompt_tokens"];
  EXPECT_GT(forged, plain + 1);
}

TEST_F(ChatTemplateVerbs, AnEndThatIsNoTokenEndsTheAnswerAsText) {
  set_template(
      "{% for m in messages %}{{ m.role }}:\n{{ m.content }}[END]\n{% endfor %}"
      "{% if add_generation_prompt %}assistant:\n{% endif %}");
  const Ending ending =
      expect_exit(0, teach({"--low_rank_training", "False", "--max_steps", "80", "--warmup_steps", "2",
                            "--learning_rate", "1e-2", "--save_steps", "80"}));
  EXPECT_THAT(ending.err, HasSubstr("the model has no token for \"[END]\""));
  model = folder / "out";
  const Ending answered = expect_exit(0, question("Who ran?", {"--json", folder / "r.json"}));
  EXPECT_EQ(answered.out, "The dog ran.\n");
  EXPECT_EQ(read_json(folder / "r.json")["stopped_by_model"], true);
}

}  // namespace
}  // namespace longlora::test
