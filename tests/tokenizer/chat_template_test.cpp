#include "longlora/tokenizer/chat_template.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "longlora/core/error.h"
#include "tests/tokenizer/tokenizer_folder.h"

namespace longlora::tokenizer {
namespace {

using testing::HasSubstr;

// A byte for an id, and behind them control tokens, which decode skips; the first is EOS.
class MarkerTokenizer : public Tokenizer {
 public:
  explicit MarkerTokenizer(std::vector<std::string> markers) : markers_(std::move(markers)) {}

  Ids encode(std::string_view text, bool) const override {
    Ids ids;
    while (!text.empty()) {
      size_t taken = 1;
      int32_t id = static_cast<unsigned char>(text[0]);
      for (size_t i = 0; i < markers_.size(); ++i)
        if (text.starts_with(markers_[i])) taken = markers_[i].size(), id = 256 + static_cast<int32_t>(i);
      ids.push_back(id);
      text.remove_prefix(taken);
    }
    return ids;
  }
  Ids encode_around(std::string_view text, std::span<const TextRange>) const override {
    return encode(text, false);
  }
  std::string decode(const Ids& ids) const override {
    std::string text;
    for (const int32_t id : ids)
      if (id < 256) text += token_bytes(id);
    return text;
  }
  std::string token_bytes(int32_t id) const override {
    return id < 256 ? std::string(1, static_cast<char>(id)) : markers_[static_cast<size_t>(id) - 256];
  }
  int64_t vocab_size() const override { return 256 + std::ssize(markers_); }
  std::optional<int32_t> bos_id() const override { return std::nullopt; }
  std::optional<int32_t> eos_id() const override { return 256; }
  const std::string& fingerprint() const override { return markers_[0]; }

 private:
  std::vector<std::string> markers_;
};

// The token that ends a turn by the template for a model with these control tokens, behind the text that
// ends it in pieces; empty where the template ends a turn with nothing.
std::string turn_end(const std::string& chat_template, const std::vector<std::string>& markers) {
  const MarkerTokenizer tokenizer(markers);
  const TurnEnd end = turn_end_of_template(chat_template, "", tokenizer);
  return (end.text.empty() ? "" : "\"" + end.text + "\" ") + (end.id ? tokenizer.token_bytes(*end.id) : "");
}

// What `action` says on standard error.
template <typename Action>
std::string logged(const Action& action) {
  testing::internal::CaptureStderr();
  action();
  return testing::internal::GetCapturedStderr();
}

// A template that writes this for each message.
std::string each_message(const std::string& body) {
  return "{% for message in messages %}" + body + "{% endfor %}";
}

// Templates of released models, shortened where they speak of tools.
TEST(TurnEndOfTemplate, FindsWhatReleasedTemplatesEndTheAssistantsWordsWith) {
  EXPECT_EQ(
      turn_end("{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
               "{{ '<|im_start|>system\\nYou are a helpful assistant.<|im_end|>\\n' }}{% endif %}"
               "{{'<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n'}}"
               "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}",
               {"<|endoftext|>", "<|im_start|>", "<|im_end|>"}),
      "<|im_end|>");
  EXPECT_EQ(
      turn_end(
          "{%- for message in messages %}{%- if not (message.role == 'ipython' or message.role == 'tool') "
          "%}{{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n'+ message['content'] | "
          "trim + '<|eot_id|>' }}{%- endif %}{%- endfor %}",
          {"<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"}),
      "<|eot_id|>");
  EXPECT_EQ(
      turn_end(
          "{% for message in messages %}{% if message['role'] == 'system' and message['content'] %}"
          "{{'<|system|>\\n' + message['content'] + '<|end|>\\n'}}{% elif message['role'] == 'user' %}"
          "{{'<|user|>\\n' + message['content'] + '<|end|>\\n'}}{% elif message['role'] == 'assistant' %}"
          "{{'<|assistant|>\\n' + message['content'] + '<|end|>\\n'}}{% endif %}{% endfor %}",
          {"<|endoftext|>", "<|system|>", "<|user|>", "<|assistant|>", "<|end|>"}),
      "<|end|>");
  EXPECT_EQ(
      turn_end(
          each_message(
              "{% if (message['role'] == 'assistant') %}{% set role = 'model' %}{% else %}{% set role = "
              "message['role'] %}{% endif %}{{ '<start_of_turn>' + role + '\\n' + message['content'] | trim "
              "+ '<end_of_turn>\\n' }}"),
          {"<eos>", "<start_of_turn>", "<end_of_turn>"}),
      "<end_of_turn>");
  EXPECT_EQ(
      turn_end(
          each_message("{%- if message['role'] == 'user' %}{{- '<|User|>' + message['content'] }}{%- endif %}"
                       "{%- if message['role'] == 'assistant' %}{{- '<|Assistant|>' + message['content'] + "
                       "'<|turn_close|>' }}{%- endif %}"),
          {"<eos>", "<|User|>", "<|Assistant|>", "<|turn_close|>"}),
      "<|turn_close|>");
  // The end stands behind a condition about the content.
  EXPECT_EQ(
      turn_end(
          each_message("{%- if message['role'] == 'assistant' -%}{%- set role = \"model\" -%}{%- else -%}"
                       "{%- set role = message['role'] -%}{%- endif -%}{{ '<start_of_turn>' + role + '\n' }}"
                       "{%- if message['content'] is string -%}{{ message['content'] | trim }}"
                       "{%- elif message['content'] is iterable -%}{%- for item in message['content'] -%}"
                       "{%- if item['type'] == 'image' -%}{{ '<start_of_image>' }}{%- endif -%}{%- endfor -%}"
                       "{%- endif -%}{{ '<end_of_turn>\n' }}"),
          {"<eos>", "<start_of_turn>", "<end_of_turn>", "<start_of_image>"}),
      "<end_of_turn>");
  // Thoughts and calls of tools end nothing.
  EXPECT_EQ(
      turn_end(each_message("{%- if message.role == \"assistant\" %}{{- '<|im_start|>' + message.role }}"
                            "{{- '\\n' + message.content }}{%- for tool_call in message.tool_calls %}"
                            "{{- '\\n<tool_call>\\n' }}{%- endfor %}{{- '<|im_end|>\\n' }}{%- endif %}"),
               {"<|endoftext|>", "<|im_start|>", "<tool_call>", "<think>", "<|im_end|>"}),
      "<|im_end|>");
}

TEST(TurnEndOfTemplate, IsEosOrTextWhereTheModelHasNoTokenForIt) {
  const std::string with_eos = each_message(
      "{% if message['role'] == 'user' %}{{ '[INST] ' + message['content'] + ' [/INST]' }}"
      "{% elif message['role'] == 'assistant' %}{{ message['content'] + eos_token }}{% endif %}");
  EXPECT_EQ(turn_end(with_eos, {"</s>", "[INST]", "[/INST]"}), "</s>");
  EXPECT_EQ(
      turn_end(with_eos + "{% for document in documents or [] %}{{ document.content }}<|doc|>{% endfor %}",
               {"</s>", "<|doc|>"}),
      "</s>");
  const std::string chatml =
      "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}"
      "<|im_end|>\n{% endfor %}";
  EXPECT_EQ(turn_end(chatml, {"</s>", "<|im_end|>"}), "<|im_end|>");
  EXPECT_EQ(turn_end(chatml, {"</s>"}), "\"<|im_end|>\" ");
  EXPECT_EQ(turn_end("{% for message in messages %}{{ message.content }} END {{ eos_token }}{% endfor %}",
                     {"</s>"}),
            "\"END\" </s>");
  EXPECT_EQ(turn_end(each_message("{{ message.role }}: {{ message.content }}\n\n"), {"</s>"}), "");
  EXPECT_EQ(turn_end("", {"</s>"}), "");
}

TEST(TurnEndOfTemplate, IsNotKnownWhereTheTemplateCannotBeRun) {
  EXPECT_THAT(logged([] { EXPECT_EQ(turn_end("{% include 'x' %}", {"</s>"}), ""); }),
              HasSubstr("what the chat template ends a turn with is not known: [chat template, line 1, "));
  EXPECT_EQ(turn_end("{{ raise_exception('No.') }}", {"</s>"}), "");
}

TEST(NamedTokens, AreThoseOfTheSettingsBesideTheTokenizerAndOfNoOtherFolder) {
  const MarkerTokenizer tokenizer({"</s>"});
  const std::string source = "{{ bos_token }}|{{ eos_token }}|{{ pad_token is defined }}";
  const auto text = [&](const std::filesystem::path& path) {
    return ChatTemplate(source, path, tokenizer, {}).question({{Role::kUser, "Hi"}}).text;
  };
  const TokenizerFolder folder(
      Json{{"tokenizer_config.json", Json{{"bos_token", "<b>"}, {"eos_token", {{"content", "<e>"}}}}},
           {"special_tokens_map.json", Json{{"pad_token", "<p>"}, {"bos_token", "<x>"}}}});
  EXPECT_EQ(text(folder.path()), "<b>|<e>|True");
  EXPECT_EQ(text(folder / "tokenizer.json"), "<b>|<e>|True");
  EXPECT_EQ(text(""), "|</s>|False");
  const std::filesystem::path before = std::filesystem::current_path();
  std::filesystem::current_path(folder.path());
  EXPECT_EQ(text(""), "|</s>|False");
  std::filesystem::current_path(before);
}

TEST(ChatTemplate, IsGivenTextAlsoWhereAQuestionIsNone) {
  const MarkerTokenizer tokenizer({"</s>"});
  EXPECT_EQ(ChatTemplate("{{ messages[0].content|upper }}", "", tokenizer, {})
                .question({{Role::kUser, "a\xff\xc3\xa9"}})
                .text,
            "A\xEF\xBF\xBD\xC3\x89");
}

TEST(FormOfTemplate, IsToldByItsMarkers) {
  EXPECT_EQ(form_of_template("{{'<|im_start|>' + role}}"), PromptForm::kChatml);
  EXPECT_EQ(form_of_template("{{ '[INST] ' + content }}"), PromptForm::kLlama2);
  EXPECT_EQ(form_of_template("### Instruction:\n{{ content }}"), PromptForm::kAlpaca);
  EXPECT_EQ(form_of_template("<|start_header_id|>{{ role }}"), std::nullopt);
}

TEST(ReadChatTemplate, TakesTheFileBeforeTheSettingsAndTheDefaultOfSeveral) {
  const TokenizerFolder none;
  EXPECT_EQ(read_chat_template(none.path()), "");
  const TokenizerFolder one(Json{{"tokenizer_config.json", Json{{"chat_template", "A"}}}});
  EXPECT_EQ(read_chat_template(one.path()), "A");
  EXPECT_EQ(read_chat_template(one / "tokenizer.model"), "A");
  write_file_atomic(one / "chat_template.jinja", "B");
  EXPECT_EQ(read_chat_template(one.path()), "B");
  const Json named =
      Json::array({Json{{"name", "rag"}, {"template", "C"}}, Json{{"name", "default"}, {"template", "D"}}});
  const TokenizerFolder several(Json{{"tokenizer_config.json", Json{{"chat_template", named}}}});
  EXPECT_EQ(read_chat_template(several.path()), "D");
  const Json others = Json{{"rag", "C"}, {"tool_use", "D"}};
  const TokenizerFolder without(Json{{"tokenizer_config.json", Json{{"chat_template", others}}}});
  EXPECT_THAT(
      logged([&] { EXPECT_EQ(read_chat_template(without.path()), ""); }),
      HasSubstr("expected a chat template named \"default\" among several, got \"rag\", \"tool_use\""));
  const TokenizerFolder processor(Json{{"chat_template.json", Json{{"chat_template", "E"}}}});
  EXPECT_EQ(read_chat_template(processor.path()), "E");
  const TokenizerFolder wrong(Json{{"tokenizer_config.json", Json{{"chat_template", Json::array({3})}}}});
  EXPECT_THAT(test::message_of<InputError>([&] { read_chat_template(wrong.path()); }),
              HasSubstr("tokenizer_config.json] expected chat_template to be a text"));
}

}  // namespace
}  // namespace longlora::tokenizer
