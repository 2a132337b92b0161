#include "longlora/generate/text_ends.h"

#include <fmt/format.h>

#include <algorithm>

#include "longlora/core/log.h"
#include "longlora/tokenizer/chat_template.h"
#include "longlora/tokenizer/taught_form.h"

namespace longlora::generate {
namespace {

template <typename T>
void append_new(std::vector<T>& list, const T& entry) {
  if (std::find(list.begin(), list.end(), entry) == list.end()) list.push_back(entry);
}

}  // namespace

TextEnds find_text_ends(const TextEndSources& sources) {
  const tokenizer::Tokenizer& tokenizer = sources.tokenizer;
  TextEnds ends;
  if (const auto eos = tokenizer.eos_id()) ends.ids.push_back(*eos);
  for (const int64_t id : sources.settings.eos_ids) append_new(ends.ids, id);
  const tokenizer::TurnEnd turn_end =
      tokenizer::turn_end_of_template(sources.chat_template, sources.tokenizer_path, tokenizer);
  if (turn_end.id) append_new(ends.ids, int64_t{*turn_end.id});
  std::vector<std::string> texts = sources.settings.stop_strings;
  // A model that is asked by the template writes its end in pieces where that is no token. What is shorter
  // than a marker stands in answers, too.
  constexpr size_t kShortestMarker = 3;
  if (sources.form == tokenizer::PromptForm::kTemplate && turn_end.text.size() >= kShortestMarker)
    texts.push_back(turn_end.text);
  if (sources.form)
    for (const std::string& marker : tokenizer::answer_ends(*sources.form)) texts.push_back(marker);
  for (const std::string& text : texts) {
    const tokenizer::Ids ids = tokenizer.encode(text, false);
    // A control token has no text in the stream, so that only its id shows it.
    if (ids.size() == 1 && tokenizer.token_bytes(ids[0]) == text) append_new(ends.ids, int64_t{ids[0]});
    append_new(ends.texts, text);
  }
  std::erase_if(ends.ids, [&](int64_t id) {
    if (id >= 0 && id < sources.vocab_size) return false;
    log_warning(
        fmt::format("the end-of-sequence id {} is none of the model's {} ids and can never end a text", id,
                    sources.vocab_size));
    return true;
  });
  if (ends.ids.empty() && ends.texts.empty())
    log_warning(
        "neither the tokenizer nor the model's files name an end of a text: it goes on to the longest");
  return ends;
}

}  // namespace longlora::generate
