#include "longlora/data/instruction_tokens.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "longlora/core/error.h"
#include "longlora/tokenizer/chat.h"
#include "longlora/tokenizer/token_ranges.h"

namespace longlora::data {

namespace {

using tokenizer::Ids;
using tokenizer::PromptPiece;
using tokenizer::TextRange;

// How many ids two sequences have in common at their beginning.
int64_t common_beginning(const Ids& a, const Ids& b) {
  return std::mismatch(a.begin(), a.end(), b.begin(), b.end()).first - a.begin();
}

// Finds the tokens of ranges of one piece's text.
class TokenFinder {
 public:
  TokenFinder(const tokenizer::Tokenizer& tokenizer, const std::string& text, const Ids& ids)
      : tokenizer_(tokenizer), text_(text), ids_(ids), ranges_(find_token_ranges(tokenizer, text, ids)) {}

  bool is_certain() const { return ranges_.has_value(); }

  // The tokens that have a byte of the range.
  TokenRange touching(const TextRange& range) const {
    if (range.size() == 0) return {};
    return {first_ending_after(range.begin), first_starting_at(range.end)};
  }

  // The tokens all of whose bytes lie in the range.
  TokenRange inside(const TextRange& range) const {
    const TokenRange found = {first_starting_at(range.begin), first_ending_after(range.end)};
    return found.size() > 0 ? found : TokenRange{};
  }

 private:
  int64_t first_ending_after(size_t byte) const {
    if (byte >= text_.size()) return static_cast<int64_t>(ids_.size());
    if (!ranges_) return common_beginning(tokenizer_.encode(text_.substr(0, byte), false), ids_);
    return std::partition_point(ranges_->begin(), ranges_->end(),
                                [&](const TextRange& token) { return token.end <= byte; }) -
           ranges_->begin();
  }

  int64_t first_starting_at(size_t byte) const {
    if (byte >= text_.size()) return static_cast<int64_t>(ids_.size());
    if (!ranges_) return first_ending_after(byte);
    return std::partition_point(ranges_->begin(), ranges_->end(),
                                [&](const TextRange& token) { return token.begin < byte; }) -
           ranges_->begin();
  }

  const tokenizer::Tokenizer& tokenizer_;
  const std::string& text_;
  const Ids& ids_;
  std::optional<std::vector<TextRange>> ranges_;
};

TokenRange moved(TokenRange range, int64_t by) {
  return {range.begin + by, range.end + by};
}

void append_piece(const tokenizer::Tokenizer& tokenizer, const PromptPiece& piece,
                  InstructionTokens* sample) {
  if (piece.bos && tokenizer::begins_with_bos(tokenizer)) sample->ids.push_back(*tokenizer.bos_id());
  const auto start = static_cast<int64_t>(sample->ids.size());
  const Ids ids = encode_piece(tokenizer, piece);
  const TokenFinder finder(tokenizer, piece.text, ids);
  sample->is_certain = sample->is_certain && finder.is_certain();
  sample->ids.insert(sample->ids.end(), ids.begin(), ids.end());
  for (const TextRange& answer : piece.answers)
    sample->answers.push_back(moved(finder.touching(answer), start));
  for (const TextRange& text : piece.material) {
    const TokenRange found = moved(finder.inside(text), start);
    if (found.size() > sample->material.size()) sample->material = found;
  }
  if (!piece.eos) return;
  const auto end = static_cast<int64_t>(sample->ids.size());
  sample->ids.push_back(*tokenizer.eos_id());
  if (!piece.eos_is_learned) return;
  if (!sample->answers.empty() && sample->answers.back().end == end)
    ++sample->answers.back().end;
  else
    sample->answers.push_back({end, end + 1});
}

int64_t without_removed(int64_t place, const TokenRange& removed) {
  return place - std::clamp<int64_t>(place - removed.begin, 0, removed.size());
}

void remove_tokens(InstructionTokens* sample, const TokenRange& removed) {
  sample->ids.erase(sample->ids.begin() + removed.begin, sample->ids.begin() + removed.end);
  const auto shrink = [&](TokenRange& range) {
    range = {without_removed(range.begin, removed), without_removed(range.end, removed)};
  };
  for (TokenRange& answer : sample->answers) shrink(answer);
  std::erase_if(sample->answers, [](const TokenRange& answer) { return answer.size() == 0; });
  shrink(sample->material);
}

}  // namespace

int64_t InstructionTokens::num_targets() const {
  int64_t count = 0;
  for (const TokenRange& answer : answers) count += answer.end - std::max<int64_t>(answer.begin, 1);
  return count;
}

InstructionTokens tokenize_conversation(const tokenizer::Tokenizer& tokenizer,
                                        const tokenizer::Prompt& prompt, const Conversation& conversation) {
  InstructionTokens sample;
  for (const PromptPiece& piece : prompt.conversation(conversation, tokenizer))
    append_piece(tokenizer, piece, &sample);
  return sample;
}

const std::vector<std::string>& truncation_names() {
  static const std::vector<std::string> names = {"drop", "left", "right", "middle"};
  return names;
}

const char* truncation_name(Truncation truncation) {
  return truncation_names()[static_cast<size_t>(truncation)].c_str();
}

Truncation truncation_from_name(const std::string& name) {
  const auto& names = truncation_names();
  const auto found = std::find(names.begin(), names.end(), name);
  if (found == names.end())
    throw UsageError(
        fmt::format("[--truncate] expected one of {}, got \"{}\"", fmt::join(names, ", "), name));
  return static_cast<Truncation>(found - names.begin());
}

Fit truncate(InstructionTokens* sample, int64_t max_tokens, Truncation truncation,
             const tokenizer::Tokenizer& tokenizer) {
  const int64_t excess = static_cast<int64_t>(sample->ids.size()) - max_tokens;
  if (excess <= 0) return sample->num_targets() > 0 ? Fit::kWhole : Fit::kWithoutTarget;
  TokenRange removed;
  switch (truncation) {
    case Truncation::kDrop:
      return Fit::kTooLong;
    case Truncation::kLeft: {
      const auto bos = tokenizer.bos_id();
      const int64_t first = bos && sample->ids.front() == *bos && max_tokens > 1 ? 1 : 0;
      removed = {first, first + excess};
      break;
    }
    case Truncation::kRight:
      removed = {max_tokens, max_tokens + excess};
      break;
    case Truncation::kMiddle: {
      const int64_t kept = sample->material.size() - excess;
      if (kept <= 0) return Fit::kTooLong;
      // The question stands at the beginning or at the end of the material, so both of these stay as long as
      // possible.
      const int64_t first = sample->material.begin + (kept + 1) / 2;
      removed = {first, first + excess};
      break;
    }
  }
  remove_tokens(sample, removed);
  return sample->num_targets() > 0 ? Fit::kCut : Fit::kWithoutTarget;
}

}  // namespace longlora::data
