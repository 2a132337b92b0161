#include "longlora/generate/text_generation.h"

#include "longlora/tokenizer/stop_text.h"
#include "longlora/tokenizer/text_stream.h"

namespace longlora::generate {
namespace {

size_t text_size(std::span<const int64_t> ids, const tokenizer::Tokenizer& tokenizer) {
  tokenizer::Ids known;
  for (const int64_t id : ids)
    if (id < tokenizer.vocab_size()) known.push_back(static_cast<int32_t>(id));
  return tokenizer.decode(known).size();
}

}  // namespace

TextGeneration generate_text(DecodeSession& session, std::span<const int64_t> prompt, const TextEnds& ends,
                             int64_t max_new_tokens, const tokenizer::Tokenizer& tokenizer,
                             const PickToken& pick, const std::function<void(std::string_view)>& show) {
  TextGeneration result;
  tokenizer::TextStream stream(tokenizer);
  tokenizer::StopText stop(ends.texts);
  const auto pass_on = [&](const std::string& piece) {
    result.text += piece;
    if (show && !piece.empty()) show(piece);
  };
  result.generation = generate(session, prompt, {.stop_ids = ends.ids, .max_new_tokens = max_new_tokens},
                               pick, [&](int64_t id) {
                                 if (id < tokenizer.vocab_size())
                                   pass_on(stop.push(stream.push(static_cast<int32_t>(id))));
                                 return !stop.found();
                               });
  pass_on(stop.push(stream.finish()));
  pass_on(stop.finish());
  if (!stop.found()) return result;
  result.generation.reason = StopReason::kStopText;
  std::vector<int64_t>& ids = result.generation.ids;
  while (!ids.empty() && text_size(std::span(ids).first(ids.size() - 1), tokenizer) >= result.text.size())
    ids.pop_back();
  return result;
}

}  // namespace longlora::generate
