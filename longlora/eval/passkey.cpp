#include "longlora/eval/passkey.h"

#include <fmt/format.h>

#include "longlora/core/error.h"
#include "longlora/core/format.h"
#include "longlora/core/log.h"
#include "longlora/core/progress.h"
#include "longlora/generate/run_jobs.h"
#include "longlora/tokenizer/chat.h"

namespace longlora::eval {
namespace {

// The ids of a prompt. A tokenizer that ends texts with EOS would end the question too early, so that EOS is
// dropped.
std::vector<int64_t> prompt_ids(const tokenizer::Tokenizer& tokenizer, const std::string& text) {
  std::vector<int64_t> ids = tokenizer::encode_for_model(tokenizer, text, /*add_special_tokens=*/true);
  if (!ids.empty() && tokenizer.eos_id() == ids.back()) ids.pop_back();
  return ids;
}

class Examiner {
 public:
  Examiner(generate::Generator& generator, const tokenizer::Tokenizer& tokenizer,
           const PasskeyOptions& options)
      : generator_(generator),
        tokenizer_(tokenizer),
        context_size_(options.context_size),
        stop_ids_(options.stop_ids) {
    if (const auto eos = tokenizer.eos_id()) stop_ids_.push_back(*eos);
  }

  // Does one trial and adds it to `result`, or counts it as skipped.
  void examine(uint32_t seed, results::PasskeyLength& result) {
    const PasskeyPrompt prompt = make_passkey_prompt(result.garbage_chars, seed);
    const std::vector<int64_t> ids = prompt_ids(tokenizer_, prompt.text);
    const std::vector<int64_t> expected =
        tokenizer::encode_for_model(tokenizer_, std::to_string(prompt.pass_key), false);
    if (static_cast<int64_t>(ids.size() + expected.size()) > context_size_) {
      ++result.num_skipped;
      return;
    }
    const std::vector<int64_t> answer =
        generate::run_job(generator_, {.prompt = ids,
                                       .stop_ids = stop_ids_,
                                       .max_new_tokens = static_cast<int64_t>(expected.size()),
                                       .sampling = {.temperature = 0.0},
                                       .is_shared = false})
            .ids;
    result.add({.seed = seed,
                .depth = prompt.depth(),
                .correct = answer == expected,
                .tokens = static_cast<int64_t>(ids.size()),
                .pass_key = prompt.pass_key,
                .answer = tokenizer::decode_written(tokenizer_, answer)});
  }

 private:
  generate::Generator& generator_;
  const tokenizer::Tokenizer& tokenizer_;
  int64_t context_size_;
  std::vector<int64_t> stop_ids_;
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

std::vector<results::PasskeyLength> run_passkey(generate::Generator& generator,
                                                const tokenizer::Tokenizer& tokenizer,
                                                const PasskeyOptions& options) {
  check(options);
  Examiner examiner(generator, tokenizer, options);
  std::vector<results::PasskeyLength> lengths;
  for (const int64_t target : options.target_tokens) {
    results::PasskeyLength result;
    result.target_tokens = target;
    result.garbage_chars = passkey_garbage_chars(target);
    result.num_skipped = 0;
    Progress progress(fmt::format("passkey, {} tokens", format_count(target)), options.num_tests, "trials");
    for (int64_t test = 0; test < options.num_tests; ++test) {
      examiner.examine(static_cast<uint32_t>(test), result);
      progress.update(test + 1, fmt::format("accuracy {:.2f}", result.accuracy));
    }
    progress.finish();
    if (result.num_skipped > 0)
      log_warning(fmt::format(
          "{} of {} prompts with {} characters of filler are longer than the context of {} tokens "
          "and were left out",
          result.num_skipped, options.num_tests, format_count(result.garbage_chars),
          format_count(options.context_size)));
    lengths.push_back(std::move(result));
  }
  return lengths;
}

}  // namespace longlora::eval
