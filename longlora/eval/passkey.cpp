#include "longlora/eval/passkey.h"

#include <fmt/format.h>

#include "longlora/core/error.h"
#include "longlora/core/log.h"
#include "longlora/core/progress.h"
#include "longlora/generate/generator.h"

namespace longlora::eval {
namespace {

std::vector<int64_t> wide(const tokenizer::Ids& ids) {
  return {ids.begin(), ids.end()};
}

/// The prompt as the model gets it. A tokenizer that ends texts with EOS would end the question too early.
std::vector<int64_t> prompt_ids(const tokenizer::Tokenizer& tokenizer, const std::string& text) {
  std::vector<int64_t> ids = wide(tokenizer.encode(text, /*add_special_tokens=*/true));
  if (!ids.empty() && tokenizer.eos_id() == ids.back()) ids.pop_back();
  return ids;
}

class Examiner {
 public:
  Examiner(const forward::ReadyDecoder& ready, const tokenizer::Tokenizer& tokenizer,
           const PasskeyOptions& options)
      : tokenizer_(tokenizer), context_size_(options.context_size), session_(ready, options.context_size) {
    rules_.stop_ids = options.stop_ids;
    if (const auto eos = tokenizer.eos_id()) rules_.stop_ids.push_back(*eos);
  }

  /// Adds one trial to `result`, or counts it as skipped.
  void examine(uint32_t seed, PasskeyLengthResult& result) {
    const PasskeyPrompt prompt = make_passkey_prompt(result.garbage_chars, seed);
    const std::vector<int64_t> ids = prompt_ids(tokenizer_, prompt.text);
    const std::vector<int64_t> expected = wide(tokenizer_.encode(std::to_string(prompt.pass_key), false));
    if (static_cast<int64_t>(ids.size() + expected.size()) > context_size_) {
      ++result.num_skipped;
      return;
    }
    rules_.max_new_tokens = static_cast<int64_t>(expected.size());
    session_.reset();
    const std::vector<int64_t> answer = generate::generate(session_, ids, rules_).ids;
    result.trials.push_back({.seed = seed,
                             .depth = prompt.depth(),
                             .tokens = static_cast<int64_t>(ids.size()),
                             .pass_key = prompt.pass_key,
                             .answer = answer_text(answer),
                             .correct = answer == expected});
  }

 private:
  std::string answer_text(const std::vector<int64_t>& ids) const {
    tokenizer::Ids known;  // a model may have more rows than its tokenizer has pieces
    for (const int64_t id : ids)
      if (id < tokenizer_.vocab_size()) known.push_back(static_cast<int32_t>(id));
    return tokenizer_.decode(known);
  }

  const tokenizer::Tokenizer& tokenizer_;
  int64_t context_size_;
  generate::DecodeSession session_;
  generate::StopRules rules_;
};

void check(const PasskeyOptions& options) {
  if (options.target_tokens.empty()) throw UsageError("[--lengths] expected at least one length, got none");
  for (const int64_t tokens : options.target_tokens)
    if (passkey_garbage_chars(tokens) < 1)
      throw UsageError(
          fmt::format("[--lengths, --interval] expected at least 274 tokens, room for 1024 characters of "
                      "filler, got {}",
                      tokens));
  if (options.num_tests < 1)
    throw UsageError(fmt::format("[--num_tests] expected at least 1, got {}", options.num_tests));
  if (options.context_size < 1)
    throw UsageError(fmt::format("[--context_size] expected at least 1 token, got {}", options.context_size));
}

}  // namespace

double PasskeyLengthResult::accuracy() const {
  double correct = 0.0;
  for (const PasskeyTrial& trial : trials) correct += trial.correct ? 1.0 : 0.0;
  return trials.empty() ? 0.0 : correct / static_cast<double>(trials.size());
}

double PasskeyLengthResult::mean_tokens() const {
  double tokens = 0.0;
  for (const PasskeyTrial& trial : trials) tokens += static_cast<double>(trial.tokens);
  return trials.empty() ? 0.0 : tokens / static_cast<double>(trials.size());
}

std::vector<PasskeyLengthResult> run_passkey(const forward::ReadyDecoder& ready,
                                             const tokenizer::Tokenizer& tokenizer,
                                             const PasskeyOptions& options) {
  check(options);
  Examiner examiner(ready, tokenizer, options);
  std::vector<PasskeyLengthResult> results;
  for (const int64_t target : options.target_tokens) {
    PasskeyLengthResult result;
    result.target_tokens = target;
    result.garbage_chars = passkey_garbage_chars(target);
    Progress progress(fmt::format("passkey, {} tokens", format_count(target)), options.num_tests, "trials");
    for (int64_t test = 0; test < options.num_tests; ++test) {
      examiner.examine(static_cast<uint32_t>(test), result);
      progress.update(test + 1, fmt::format("accuracy {:.2f}", result.accuracy()));
    }
    progress.finish();
    if (result.num_skipped > 0)
      log_warning(fmt::format(
          "{} of {} prompts with {} characters of filler are longer than the context of {} tokens "
          "and were left out",
          result.num_skipped, options.num_tests, format_count(result.garbage_chars),
          format_count(options.context_size)));
    results.push_back(std::move(result));
  }
  return results;
}

}  // namespace longlora::eval
