#include "longlora/tokenizer/prompt_form.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <utility>

#include "longlora/core/error.h"
#include "longlora/tokenizer/taught_form.h"

namespace longlora::tokenizer {

namespace {

// The fixed words of the forms. They are what released models were trained on: every space counts.
constexpr const char* kLlama2System =
    "You are a helpful, respectful and honest assistant. Always answer as helpfully as possible, while being "
    "safe.  Your answers should not include any harmful, unethical, racist, sexist, toxic, dangerous, or "
    "illegal content. Please ensure that your responses are socially unbiased and positive in nature.\n\n"
    "If a question does not make any sense, or is not factually coherent, explain why instead of answering "
    "something not correct. If you don't know the answer to a question, please don't share false "
    "information.";
constexpr const char* kAlpacaTask =
    "Below is an instruction that describes a task. Write a response that appropriately completes the "
    "request.";
constexpr const char* kAlpacaTaskWithInput =
    "Below is an instruction that describes a task, paired with an input that provides further context. "
    "Write a response that appropriately completes the request.";

// Collects the text of a piece and remembers which parts of it are answers and material.
class PieceBuilder {
 public:
  PromptPiece piece;

  void add(std::string_view text) { piece.text += text; }
  // Adds an answer with the text that ends it. Where EOS stands behind the answer, it belongs to it.
  void add_answer(const Turn& turn, std::string_view end = "") {
    const std::string text = turn.text + std::string(end);
    turn.learn ? add_marked(text, &piece.answers) : add(text);
    piece.eos_is_learned = turn.learn;
  }
  void add_material(std::string_view text) { add_marked(text, &piece.material); }
  // Adds instruction and input with `between` in the middle. Where there is an input, it is the material.
  void add_user(const Turn& turn, std::string_view between) {
    if (turn.input.empty()) return add_material(turn.text);
    add(turn.text);
    add(between);
    add_material(turn.input);
  }

 private:
  void add_marked(std::string_view text, std::vector<TextRange>* ranges) {
    ranges->push_back({piece.text.size(), piece.text.size() + text.size()});
    piece.text += text;
  }
};

// A question with its answer, and the system's words where they belong to it.
struct Exchange {
  const Turn* system = nullptr;
  const Turn* user = nullptr;
  const Turn* assistant = nullptr;
};

std::vector<Exchange> exchanges_of(const std::vector<Turn>& turns) {
  const size_t first = !turns.empty() && turns[0].role == Role::kSystem ? 1 : 0;
  const size_t num_turns = turns.size() - first;
  if (num_turns == 0 || num_turns % 2 != 0)
    throw Error(
        fmt::format("[prompt] expected pairs of a user's and an assistant's turn, got {} turns", num_turns));
  std::vector<Exchange> exchanges;
  exchanges.reserve(num_turns / 2);
  for (size_t i = first; i < turns.size(); i += 2) {
    if (turns[i].role != Role::kUser || turns[i + 1].role != Role::kAssistant)
      throw Error("[prompt] expected a user's turn and then an assistant's, got another order");
    exchanges.push_back({i == 1 ? &turns[0] : nullptr, &turns[i], &turns[i + 1]});
  }
  return exchanges;
}

PromptPiece llama2_piece(const Exchange& exchange, bool is_first) {
  PieceBuilder builder;
  const bool has_input = !exchange.user->input.empty();
  if (has_input && !is_first) {
    // The system's words stand in front of the first question.
    builder.add("[INST] ");
    builder.add_user(*exchange.user, "\n");
    builder.add(" [/INST]");
  } else if (exchange.system != nullptr || has_input) {
    builder.add("[INST] <<SYS>>\n");
    builder.add(exchange.system != nullptr ? exchange.system->text : kLlama2System);
    builder.add("\n<</SYS>> \n\n ");
    builder.add_user(*exchange.user, " \n");
    builder.add(" [/INST]");
  } else {
    builder.add("[INST]");
    builder.add_user(*exchange.user, "");
    builder.add("[/INST]");
  }
  builder.add_answer(*exchange.assistant);
  builder.piece.bos = builder.piece.eos = true;
  return builder.piece;
}

PromptPiece alpaca_piece(const Exchange& exchange, bool is_first) {
  PieceBuilder builder;
  const bool has_input = !exchange.user->input.empty();
  if (is_first) {
    const char* task = has_input ? kAlpacaTaskWithInput : kAlpacaTask;
    builder.add(exchange.system != nullptr ? exchange.system->text : task);
  }
  builder.add("\n\n### Instruction:\n");
  builder.add_user(*exchange.user, "\n\n### Input:\n");
  builder.add("\n\n### Response:");
  builder.add_answer(*exchange.assistant);
  builder.piece.bos = is_first;
  builder.piece.eos = true;
  return builder.piece;
}

PromptPiece chatml_piece(const std::vector<Exchange>& exchanges, std::string_view eos_text) {
  PieceBuilder builder;
  for (const Exchange& exchange : exchanges) {
    if (exchange.user != exchanges.front().user) builder.add("\n");
    if (exchange.system != nullptr)
      builder.add(fmt::format("<|im_start|>system\n{}{}\n", exchange.system->text, kChatmlEnd));
    builder.add("<|im_start|>user\n");
    builder.add_user(*exchange.user, "\n");
    builder.add(fmt::format("{}\n<|im_start|>assistant\n", kChatmlEnd));
    builder.add_answer(*exchange.assistant, kChatmlEnd);
  }
  builder.piece.bos = true;
  builder.piece.eos = eos_text != kChatmlEnd;
  return builder.piece;
}

PromptPiece plain_piece(const Exchange& exchange, bool is_first) {
  PieceBuilder builder;
  if (exchange.system != nullptr) builder.add(exchange.system->text);
  builder.add_user(*exchange.user, "\n");
  builder.add_answer(*exchange.assistant);
  builder.piece.bos = is_first;
  builder.piece.eos = true;
  return builder.piece;
}

}  // namespace

const std::vector<std::string>& prompt_form_names() {
  static const std::vector<std::string> names = {"llama2", "alpaca", "chatml", "none", "template"};
  return names;
}

const char* prompt_form_name(PromptForm form) {
  return prompt_form_names()[static_cast<size_t>(form)].c_str();
}

PromptForm prompt_form_from_name(const std::string& name) {
  const auto& names = prompt_form_names();
  const auto found = std::find(names.begin(), names.end(), name);
  if (found == names.end())
    throw UsageError(fmt::format("[--prompt] expected one of {}, got \"{}\"", fmt::join(names, ", "), name));
  return static_cast<PromptForm>(found - names.begin());
}

std::vector<PromptPiece> render_prompt(PromptForm form, const std::vector<Turn>& turns,
                                       std::string_view eos_text) {
  const std::vector<Exchange> exchanges = exchanges_of(turns);
  if (form == PromptForm::kChatml) return {chatml_piece(exchanges, eos_text)};
  std::vector<PromptPiece> pieces;
  pieces.reserve(exchanges.size());
  for (size_t i = 0; i < exchanges.size(); ++i) {
    if (form == PromptForm::kLlama2)
      pieces.push_back(llama2_piece(exchanges[i], i == 0));
    else if (form == PromptForm::kAlpaca)
      pieces.push_back(alpaca_piece(exchanges[i], i == 0));
    else
      pieces.push_back(plain_piece(exchanges[i], i == 0));
  }
  return pieces;
}

}  // namespace longlora::tokenizer
