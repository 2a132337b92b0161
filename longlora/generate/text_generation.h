// Decoding as text, which is shown piece by piece and may end at a text as well as at an id.
#pragma once

#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "longlora/generate/generate.h"
#include "longlora/generate/generator.h"
#include "longlora/tokenizer/stop_text.h"
#include "longlora/tokenizer/text_stream.h"
#include "longlora/tokenizer/tokenizer.h"

namespace longlora::generate {

/// What ends an answer. Neither an id nor a text of these is part of it.
struct TextEnds {
  std::vector<int64_t> ids = {};
  /// The texts of ends that the tokenizer spells in several tokens.
  std::vector<std::string> texts = {};
};

/// What was written. Where the text ended at one of TextEnds::texts, `ids` are those that the text before it
/// takes, and the reason is kStopText.
struct TextGeneration {
  std::string text;
  Generation generation;
};

/// Makes text of the ids that a job writes, and finds the end that the tokenizer spells in several tokens.
/// Ids beyond the tokenizer's vocabulary, which a model may have rows for, have no text.
class TextWriter {
 public:
  /// `show`, where it is given, is told every piece of text that is certain not to belong to an end. The
  /// tokenizer must outlive this object.
  TextWriter(const tokenizer::Tokenizer& tokenizer, const std::vector<std::string>& end_texts,
             std::function<void(std::string_view)> show = {});

  /// Appends an id. Returns false once the text has ended.
  bool push(int64_t id);
  /// The whole text, of which nothing is held back any more. `generation` is what was written.
  TextGeneration finish(Generation generation);

 private:
  void pass_on(const std::string& piece);

  const tokenizer::Tokenizer& tokenizer_;
  tokenizer::TextStream stream_;
  tokenizer::StopText stop_;
  std::function<void(std::string_view)> show_;
  std::string text_;
};

/// Runs a job, whose stop ids become those of `ends`, and makes text of what it writes. `hear`, where it is
/// given, hears of all events and may cancel the job.
TextGeneration generate_text(Generator& generator, Job job, const TextEnds& ends,
                             const tokenizer::Tokenizer& tokenizer,
                             const std::function<void(std::string_view)>& show = {},
                             const std::function<bool(const JobEvent&)>& hear = {});
/// As above, for several jobs at once.
std::vector<TextGeneration> generate_texts(Generator& generator, std::vector<Job> jobs, const TextEnds& ends,
                                           const tokenizer::Tokenizer& tokenizer);

}  // namespace longlora::generate
