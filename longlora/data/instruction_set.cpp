#include "longlora/data/instruction_set.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <optional>
#include <span>
#include <utility>

#include "longlora/core/error.h"
#include "longlora/core/format.h"
#include "longlora/core/log.h"
#include "longlora/core/progress.h"
#include "longlora/data/fit_sample.h"
#include "longlora/data/instruction_cache.h"
#include "longlora/data/instruction_file.h"
#include "longlora/data/run_parallel.h"

namespace longlora::data {

namespace fs = std::filesystem;

namespace {

constexpr size_t kProblemsNamed = 10;
constexpr size_t kSamplesAtOnce = 4096;  // how many are tokenized between two looks at the progress

// One parsed and tokenized sample, or what is wrong with it.
struct Outcome {
  InstructionTokens sample;
  std::vector<std::string> unread;
  std::optional<std::string> problem;
};

Outcome tokenize_sample(const InstructionFile& file, size_t index, const InstructionOptions& options) {
  Outcome outcome;
  Conversation turns;
  try {
    turns = file.read(index, &outcome.unread);
  } catch (const InputError& error) {
    outcome.problem = error.what();
    return outcome;
  }
  try {
    outcome.sample = tokenize_conversation(*options.tokenizer, options.prompt, turns);
    outcome.sample.index = static_cast<int64_t>(index);
  } catch (const InputError& error) {
    outcome.problem = fmt::format("[{}] {}", file.place(index), error.what());
  }
  return outcome;
}

TokenizedInstructions tokenize_file(const fs::path& path, const InstructionOptions& options) {
  const InstructionFile file(path);
  Progress progress(fmt::format("tokenizing {}", path.filename().string()), static_cast<int64_t>(file.size()),
                    "samples");
  TokenizedInstructions result;
  result.samples.reserve(file.size());
  std::vector<Outcome> outcomes;
  for (size_t start = 0; start < file.size(); start += kSamplesAtOnce) {
    outcomes.assign(std::min(kSamplesAtOnce, file.size() - start), {});
    run_parallel(outcomes.size(), options.num_threads,
                 [&](size_t i) { outcomes[i] = tokenize_sample(file, start + i, options); });
    for (Outcome& outcome : outcomes) {
      if (outcome.problem) {
        result.problems.push_back(std::move(*outcome.problem));
      } else {
        result.samples.push_back(std::move(outcome.sample));
        result.unread.add(outcome.unread);
      }
    }
    progress.update(static_cast<int64_t>(start + outcomes.size()));
  }
  return result;
}

// Takes the samples of a file from the cache where that is whole; otherwise reads them and writes the cache.
TokenizedInstructions open_file(const fs::path& path, const InstructionOptions& options, std::string* keys) {
  const std::string key = instruction_cache_key(MappedFile(path).text(), *options.tokenizer, options.prompt);
  *keys += key;
  if (!options.cache) return tokenize_file(path, options);
  const fs::path cache = instruction_cache_path(path, key);
  if (auto cached = read_instruction_cache(cache, key, options.tokenizer->vocab_size()))
    return std::move(*cached);
  TokenizedInstructions result = tokenize_file(path, options);
  write_instruction_cache(cache, key, result);
  return result;
}

void check_problems(const std::vector<std::string>& problems, bool skip) {
  if (problems.empty()) return;
  const size_t num_named = std::min(problems.size(), kProblemsNamed);
  const auto named = std::span(problems).first(num_named);
  const std::string rest =
      problems.size() > num_named ? fmt::format("\n  and {} more", problems.size() - num_named) : "";
  if (!skip)
    throw InputError(
        fmt::format("[--data_path] expected whole samples, got {} broken; mend them, or leave them out with "
                    "--skip_bad_samples\n  {}{}",
                    format_count(static_cast<int64_t>(problems.size())), fmt::join(named, "\n  "), rest));
  log_warning(fmt::format("{} broken samples are left out:\n  {}{}",
                          format_count(static_cast<int64_t>(problems.size())), fmt::join(named, "\n  "),
                          rest));
}

void check_ids(const InstructionTokens& sample, const fs::path& path, int64_t vocab_size) {
  const auto bad =
      std::find_if(sample.ids.begin(), sample.ids.end(), [&](int32_t id) { return id >= vocab_size; });
  if (bad == sample.ids.end()) return;
  throw InputError(
      fmt::format("[{}, sample {}] expected ids below the model's {} embedding rows, got {}; use the model's "
                  "own tokenizer",
                  path.string(), sample.index, vocab_size, *bad));
}

void add_sample(InstructionTokens sample, const InstructionOptions& options, InstructionSet* set) {
  check_ids(sample, set->files.back(), options.vocab_size);
  if (!fit_sample(&sample, options, &set->counts)) return;
  set->samples.push_back(std::move(sample));
  set->file_of.push_back(static_cast<int32_t>(set->files.size()) - 1);
}

// Says what to do where no sample is left.
const char* advice_for(const InstructionCounts& counts) {
  if (counts.num_broken == counts.num_read)
    return "every sample is broken: see the warning for what is wrong";
  if (counts.num_too_long == 0) return "flags of their messages or short rows leave no answer to learn";
  return "use a larger --model_max_length or another --truncate";
}

void check_options(const InstructionOptions& options) {
  if (options.tokenizer == nullptr) throw Error("[instructions] expected a tokenizer, got none");
  if (options.max_tokens < 2 || options.num_threads < 1 || options.vocab_size < 1)
    throw Error("[instructions] expected a length of at least 2, a thread and a vocabulary");
  if (!options.tokenizer->eos_id())
    throw InputError(
        "[tokenizer] expected an end-of-sequence token to end answers with, got none; set eos_token in "
        "tokenizer_config.json");
}

}  // namespace

bool fit_sample(InstructionTokens* sample, const InstructionOptions& options, InstructionCounts* counts) {
  const auto num_before = static_cast<int64_t>(sample->ids.size());
  switch (truncate(sample, options.max_tokens, options.truncation, *options.tokenizer)) {
    case Fit::kTooLong:
      ++counts->num_too_long;
      return false;
    case Fit::kWithoutTarget:
      ++counts->num_without_target;
      return false;
    case Fit::kCut:
      ++counts->num_cut;
      break;
    case Fit::kWhole:
      break;
  }
  const auto num_tokens = static_cast<int64_t>(sample->ids.size());
  counts->num_tokens_cut += num_before - num_tokens;
  counts->num_tokens += num_tokens;
  counts->num_targets += sample->num_targets();
  counts->num_uncertain += sample->is_certain ? 0 : 1;
  return true;
}

std::string InstructionSet::describe() const {
  std::vector<std::string> losses;
  const auto add = [&](int64_t count, const char* what) {
    if (count > 0) losses.push_back(fmt::format("{} {}", format_count(count), what));
  };
  add(counts.num_broken, "broken left out");
  add(counts.num_too_long, "too long left out");
  add(counts.num_without_target, "without an answer left out");
  add(counts.num_cut, "shortened");
  add(counts.num_tokens_cut, "tokens cut off those");
  return fmt::format("{} of {} samples{}, {} tokens, {} of them to learn",
                     format_count(static_cast<int64_t>(samples.size())), format_count(counts.num_read),
                     losses.empty() ? "" : fmt::format(" ({})", fmt::join(losses, ", ")),
                     format_count(counts.num_tokens), format_count(counts.num_targets));
}

InstructionSet read_instruction_set(const std::vector<fs::path>& paths, const InstructionOptions& options) {
  check_options(options);
  if (paths.empty()) throw InputError("[data] expected at least one file or folder, got none");
  InstructionSet set;
  std::vector<std::string> problems;
  std::string identity = fmt::format("{} {}\n", truncation_name(options.truncation), options.max_tokens);
  for (const fs::path& path : expand_folders(paths, FolderContents::kSamples)) {
    TokenizedInstructions file = open_file(path, options, &identity);
    file.unread.log(path.string());
    set.files.push_back(path);
    set.counts.num_read += static_cast<int64_t>(file.samples.size() + file.problems.size());
    problems.insert(problems.end(), file.problems.begin(), file.problems.end());
    set.samples.reserve(set.samples.size() + file.samples.size());
    for (InstructionTokens& sample : file.samples) add_sample(std::move(sample), options, &set);
  }
  set.counts.num_broken = static_cast<int64_t>(problems.size());
  set.fingerprint = sha256_hex(identity);
  check_problems(problems, options.skip_bad_samples);
  if (set.counts.num_uncertain > 0)
    log_warning(
        fmt::format("in {} samples the tokenizer changes the text; where their answers begin was found by "
                    "comparing ids",
                    format_count(set.counts.num_uncertain)));
  if (set.samples.empty())
    throw InputError(fmt::format("[--data_path] expected samples to learn from, got {}; {}", set.describe(),
                                 advice_for(set.counts)));
  return set;
}

}  // namespace longlora::data
