#include "longlora/generate/text_generation.h"

#include "longlora/tokenizer/chat.h"
#include "longlora/tokenizer/stop_text.h"
#include "longlora/tokenizer/text_stream.h"

namespace longlora::generate {
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
                                 pass_on(stop.push(stream.push(id)));
                                 return !stop.found();
                               });
  pass_on(stop.push(stream.finish()));
  pass_on(stop.finish());
  if (!stop.found()) return result;
  result.generation.reason = StopReason::kStopText;
  std::vector<int64_t>& ids = result.generation.ids;
  const auto size_without_last = [&] {
    return tokenizer::decode_written(tokenizer, std::span(ids).first(ids.size() - 1)).size();
  };
  while (!ids.empty() && size_without_last() >= result.text.size()) ids.pop_back();
  return result;
}

}  // namespace longlora::generate
