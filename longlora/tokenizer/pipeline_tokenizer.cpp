#include "longlora/tokenizer/pipeline_tokenizer.h"

#include <fmt/core.h>

#include <algorithm>
#include <set>
#include <unordered_map>
#include <utility>

#include "longlora/core/error.h"
#include "longlora/core/file.h"
#include "longlora/core/log.h"
#include "longlora/core/utf8.h"
#include "longlora/tokenizer/unicode.h"

namespace longlora::tokenizer {

namespace {

// A larger id could only be a mistake, and every id up to the largest gets an entry in a table.
constexpr int32_t kMaxId = 1 << 24;

BpeAlphabet alphabet_of(const PipelineSpec& spec) {
  const bool has_bytes = std::any_of(
      spec.pre_tokenizers.begin(), spec.pre_tokenizers.end(),
      [](const PreTokenizerStep& step) { return step.kind == PreTokenizerStep::Kind::kByteLevel; });
  return has_bytes ? BpeAlphabet::kBytes : BpeAlphabet::kCharacters;
}

// The text whose hash is the fingerprint: every field comes with its length, so that no two specs write the
// same.
class FingerprintText {
 public:
  void add(std::string_view text) {
    text_ += fmt::format("{}:", text.size());
    text_ += text;
  }
  void add(int64_t number) { text_ += fmt::format("{};", number); }
  void add(const PatternSpec& pattern) {
    add(pattern.text);
    add(static_cast<int64_t>(pattern.is_regex));
  }
  const std::string& text() const { return text_; }

 private:
  std::string text_;
};

void add_steps(const PipelineSpec& spec, FingerprintText* text) {
  for (const NormalizerStep& step : spec.normalizers) {
    text->add("normalizer");
    text->add(static_cast<int64_t>(step.kind));
    text->add(step.pattern);
    text->add(step.content);
    text->add(step.strip_left * 2 + step.strip_right);
  }
  for (const PreTokenizerStep& step : spec.pre_tokenizers) {
    text->add("pre_tokenizer");
    text->add(static_cast<int64_t>(step.kind));
    text->add(step.pattern);
    text->add(static_cast<int64_t>(step.behavior));
    text->add(step.replacement);
    text->add(static_cast<int64_t>(step.prepend));
    text->add(step.invert * 16 + step.individual_digits * 8 + step.split * 4 + step.add_prefix_space * 2 +
              step.use_regex);
  }
}

void add_model(const BpeSpec& model, FingerprintText* text) {
  text->add("model");
  text->add(model.fuse_unk * 4 + model.byte_fallback * 2 + model.ignore_merges);
  text->add(model.unk_token.value_or(""));
  std::vector<const std::pair<std::string, int32_t>*> vocab;
  vocab.reserve(model.vocab.size());
  for (const auto& entry : model.vocab) vocab.push_back(&entry);
  std::sort(vocab.begin(), vocab.end(), [](const auto* a, const auto* b) {
    return a->second != b->second ? a->second < b->second : a->first < b->first;
  });
  for (const auto* entry : vocab) {
    text->add(entry->second);
    text->add(entry->first);
  }
  for (const auto& merge : model.merges) {
    text->add(merge.first);
    text->add(merge.second);
  }
  for (const uint32_t rank : model.merge_ranks) text->add(static_cast<int64_t>(rank));
}

}  // namespace

// The end of the chain of pre-tokenizers.
class PipelineTokenizer::BpeSink : public PieceSink {
 public:
  BpeSink(const Bpe* bpe, BpeScratch* scratch, Ids* ids) : bpe_(bpe), scratch_(scratch), ids_(ids) {}
  void take(Piece piece) override { bpe_->encode(piece.text, scratch_, ids_); }

 private:
  const Bpe* bpe_;
  BpeScratch* scratch_;
  Ids* ids_;
};

// Hands the pieces of one pre-tokenizer to the next.
class PipelineTokenizer::ChainSink : public PieceSink {
 public:
  ChainSink(const PipelineTokenizer* tokenizer, size_t step, PieceSink* last)
      : tokenizer_(tokenizer), step_(step), last_(last) {}
  void take(Piece piece) override { tokenizer_->pre_tokenize(step_, piece, last_); }

 private:
  const PipelineTokenizer* tokenizer_;
  size_t step_;
  PieceSink* last_;
};

PipelineTokenizer::PipelineTokenizer(const PipelineSpec& spec)
    : source_(spec.source),
      bpe_(spec.model, alphabet_of(spec), spec.source),
      decoder_(spec, spec.source),
      prefix_ids_(spec.prefix_ids),
      suffix_ids_(spec.suffix_ids) {
  for (const NormalizerStep& step : spec.normalizers)
    normalizers_.push_back(make_normalizer(step, spec.source));
  add_pre_tokenizers(spec);
  for (const auto& entry : bpe_.vocab()) set_token(entry.second, entry.first, false);
  all_added_ = resolve_added_tokens(spec);
  add_tokens(all_added_, spec.split_special_tokens);
  check_template();
  const auto find_id = [&](const std::optional<std::string>& token) -> std::optional<int32_t> {
    if (!token) return std::nullopt;
    for (const AddedToken& each : all_added_)
      if (each.content == *token) return each.id;
    const int32_t id = bpe_.find(*token);
    return id >= 0 ? std::optional(id) : std::nullopt;
  };
  bos_id_ = find_id(spec.bos_token);
  eos_id_ = find_id(spec.eos_token);
  fingerprint_ = make_fingerprint(spec, all_added_);
}

void PipelineTokenizer::add_pre_tokenizers(const PipelineSpec& spec) {
  for (size_t i = 0; i < spec.pre_tokenizers.size(); ++i) {
    const PreTokenizerStep& step = spec.pre_tokenizers[i];
    if (step.kind == PreTokenizerStep::Kind::kByteLevel) {
      if (i + 1 < spec.pre_tokenizers.size()) {
        throw InputError(fmt::format(
            "[{}] expected ByteLevel to be the last pre-tokenizer, got another one behind it; this order "
            "is not supported",
            source_));
      }
      if (!step.use_regex && !step.add_prefix_space) continue;  // such a step leaves the text alone
    }
    pre_tokenizers_.push_back(make_pre_tokenizer(step, source_));
  }
}

// Gives added tokens their ids: those of the vocabulary, and for tokens that it lacks the next ones behind
// it.
std::vector<AddedToken> PipelineTokenizer::resolve_added_tokens(const PipelineSpec& spec) const {
  std::vector<AddedToken> added;
  std::unordered_map<std::string_view, int32_t> ids;
  const auto num_tokens = static_cast<int32_t>(bpe_.size());
  int32_t max_id = -1;
  for (const AddedToken& token : spec.added_tokens) {
    if (token.content.empty()) continue;
    AddedToken resolved = token;
    const auto known = ids.find(token.content);
    resolved.id = known != ids.end() ? known->second : bpe_.find(token.content);
    if (resolved.id < 0) resolved.id = std::max(max_id + 1, num_tokens);
    if (token.id >= 0 && token.id != resolved.id) {
      log_warning(
          fmt::format("{}: the added token \"{}\" states id {} and gets {}, as in Hugging Face's library",
                      source_, token.content, token.id, resolved.id));
    }
    max_id = std::max(max_id, resolved.id);
    ids[token.content] = resolved.id;
    added.push_back(std::move(resolved));
  }
  // Where a special and another token of equal length match at one place, the special one counts.
  std::stable_partition(added.begin(), added.end(), [](const AddedToken& token) { return token.special; });
  return added;
}

// A token that is looked for in normalized text is written as that text holds it, and skipped only where a
// special token is spelled so: what the library does since 0.21.
void PipelineTokenizer::add_tokens(const std::vector<AddedToken>& added, bool splits_special) {
  std::set<std::string> special_texts;
  for (const AddedToken& token : added)
    if (token.special) special_texts.insert(token.content);
  for (const AddedToken& token : added) {
    const std::string text = token.normalized ? normalize(token.content) : token.content;
    if (!splits_special || !special_texts.contains(token.content))
      (token.normalized ? normalized_added_tokens_ : added_tokens_).add(token, text);
    set_token(token.id, text, special_texts.contains(text));
  }
}

void PipelineTokenizer::set_token(int32_t id, const std::string& token, bool special) {
  if (id < 0 || id >= kMaxId) {
    throw InputError(fmt::format("[{}] expected ids from 0 to {}, got {} for \"{}\"; the file is damaged",
                                 source_, kMaxId - 1, id, token));
  }
  const auto place = static_cast<size_t>(id);
  if (place >= tokens_.size()) tokens_.resize(place + 1);
  tokens_[place] = {decoder_.prepare(token), true, special};
}

void PipelineTokenizer::check_template() const {
  for (const auto* ids : {&prefix_ids_, &suffix_ids_}) {
    for (const int32_t id : *ids) {
      if (id >= 0 && static_cast<size_t>(id) < tokens_.size()) continue;
      throw InputError(fmt::format(
          "[{}] expected the ids of post_processor to be smaller than {}, got {}; the file is damaged",
          source_, tokens_.size(), id));
    }
  }
}

std::string PipelineTokenizer::make_fingerprint(const PipelineSpec& spec,
                                                const std::vector<AddedToken>& added) const {
  FingerprintText text;
  text.add("pipeline 1");
  add_steps(spec, &text);
  add_model(spec.model, &text);
  std::vector<std::string> lines;
  lines.reserve(added.size());
  for (const AddedToken& token : added) {
    lines.push_back(fmt::format("{} {}{}{}{} {}", token.id, token.lstrip ? "l" : "", token.rstrip ? "r" : "",
                                token.single_word ? "w" : "", token.normalized ? "n" : "", token.content));
  }
  std::sort(lines.begin(), lines.end());
  for (const std::string& line : lines) text.add(line);
  if (spec.split_special_tokens) text.add("special tokens are split");
  text.add(eos_id_.value_or(-1));
  return sha256_hex(text.text());
}

std::string PipelineTokenizer::normalize(std::string_view text) const {
  std::string normalized(text);
  for (const auto& normalizer : normalizers_) normalizer->apply(&normalized);
  return normalized;
}

Ids PipelineTokenizer::encode(std::string_view text, bool add_special_tokens) const {
  Ids ids;
  ids.reserve(text.size() / 4 + 8);
  if (add_special_tokens) ids.insert(ids.end(), prefix_ids_.begin(), prefix_ids_.end());
  encode_bytes(text, {}, &ids);
  if (add_special_tokens) ids.insert(ids.end(), suffix_ids_.begin(), suffix_ids_.end());
  return ids;
}

Ids PipelineTokenizer::encode_around(std::string_view text, std::span<const TextRange> plain) const {
  Ids ids;
  ids.reserve(text.size() / 4 + 8);
  encode_bytes(text, plain, &ids);
  return ids;
}

void PipelineTokenizer::encode_bytes(std::string_view text, std::span<const TextRange> plain,
                                     Ids* ids) const {
  std::unique_ptr<BpeScratch> scratch;
  {
    const std::lock_guard lock(scratches_mutex_);
    if (!scratches_.empty()) {
      scratch = std::move(scratches_.back());
      scratches_.pop_back();
    }
  }
  if (scratch == nullptr) scratch = std::make_unique<BpeScratch>();
  if (find_invalid_utf8(text) == std::string_view::npos) {
    encode_text(text, plain, scratch.get(), ids);
  } else {
    const std::string mended = replace_broken_utf8(text);
    const TextRange whole{0, mended.size()};
    encode_text(mended, plain.empty() ? plain : std::span(&whole, 1), scratch.get(), ids);
  }
  const std::lock_guard lock(scratches_mutex_);
  scratches_.push_back(std::move(scratch));
}

namespace {

// Returns what lies of the ranges in [begin, end), counted from begin.
std::vector<TextRange> ranges_within(std::span<const TextRange> ranges, size_t begin, size_t end) {
  std::vector<TextRange> within;
  for (const TextRange& range : ranges)
    if (range.begin < end && range.end > begin)
      within.push_back({std::max(range.begin, begin) - begin, std::min(range.end, end) - begin});
  return within;
}

}  // namespace

void PipelineTokenizer::encode_text(std::string_view text, std::span<const TextRange> plain,
                                    BpeScratch* scratch, Ids* ids) const {
  BpeSink sink(&bpe_, scratch, ids);
  std::vector<AddedTokenSplitter::Part> parts;
  if (added_tokens_.empty()) {
    if (!text.empty()) parts.push_back({0, text.size(), -1});
  } else {
    added_tokens_.split(text, &parts, plain);
  }
  for (const AddedTokenSplitter::Part& part : parts) {
    if (part.id >= 0)
      ids->push_back(part.id);
    else
      encode_stretch(text.substr(part.begin, part.end - part.begin), part.begin == 0,
                     ranges_within(plain, part.begin, part.end), &sink, ids);
  }
}

// Encodes one stretch of text between the tokens that are looked for in the text as it is.
void PipelineTokenizer::encode_stretch(std::string_view text, bool at_start, std::span<const TextRange> plain,
                                       PieceSink* sink, Ids* ids) const {
  // Normalizers move bytes, so that the ranges are lost. Where one of them spells a control token, each is
  // therefore encoded as a stretch of its own.
  if (!plain.empty() && !normalizers_.empty() && spells_special_token(text, plain)) {
    size_t done = 0;
    for (const TextRange& range : plain) {
      if (range.begin > done)
        encode_stretch(text.substr(done, range.begin - done), at_start && done == 0, {}, sink, ids);
      pre_tokenize_normalized(text.substr(range.begin, range.size()), at_start && range.begin == 0, sink);
      done = range.end;
    }
    if (done < text.size()) encode_stretch(text.substr(done), false, {}, sink, ids);
    return;
  }
  std::string normalized;
  if (!normalizers_.empty()) {
    normalized = normalize(text);
    text = normalized;
    plain = {};
  }
  if (text.empty()) return;
  if (normalized_added_tokens_.empty()) return pre_tokenize(0, {text, at_start}, sink);
  std::vector<AddedTokenSplitter::Part> parts;
  normalized_added_tokens_.split(text, &parts, plain);
  for (const AddedTokenSplitter::Part& part : parts) {
    if (part.id >= 0)
      ids->push_back(part.id);
    else
      pre_tokenize(0, {text.substr(part.begin, part.end - part.begin), at_start && part.begin == 0}, sink);
  }
}

// Whether one of the ranges, normalized, spells a control token that is looked for there.
bool PipelineTokenizer::spells_special_token(std::string_view text, std::span<const TextRange> plain) const {
  if (normalized_added_tokens_.empty()) return false;
  std::vector<AddedTokenSplitter::Part> parts;
  return std::any_of(plain.begin(), plain.end(), [&](const TextRange& range) {
    const std::string normalized = normalize(text.substr(range.begin, range.size()));
    const TextRange whole{0, normalized.size()};
    normalized_added_tokens_.split(normalized, &parts);
    const size_t num_parts = parts.size();
    normalized_added_tokens_.split(normalized, &parts, std::span(&whole, 1));
    return parts.size() != num_parts;
  });
}

void PipelineTokenizer::pre_tokenize_normalized(std::string_view text, bool at_start, PieceSink* sink) const {
  const std::string normalized = normalize(text);
  if (!normalized.empty()) pre_tokenize(0, {normalized, at_start}, sink);
}

void PipelineTokenizer::pre_tokenize(size_t step, Piece piece, PieceSink* sink) const {
  if (step == pre_tokenizers_.size()) return sink->take(piece);
  if (step + 1 == pre_tokenizers_.size()) return pre_tokenizers_[step]->split(piece, sink);
  ChainSink next(this, step + 1, sink);
  pre_tokenizers_[step]->split(piece, &next);
}

const PipelineTokenizer::Token& PipelineTokenizer::token(int32_t id) const {
  if (id < 0 || static_cast<size_t>(id) >= tokens_.size()) {
    throw InputError(
        fmt::format("[{}] expected ids from 0 to {}, got {}; the ids belong to another tokenizer", source_,
                    tokens_.size() - 1, id));
  }
  return tokens_[static_cast<size_t>(id)];
}

std::string PipelineTokenizer::token_bytes(int32_t id) const {
  const Token& each = token(id);
  return each.special ? each.text : decoder_.bytes_of(each.text);
}

std::string PipelineTokenizer::decode(const Ids& ids, bool skip_special_tokens) const {
  std::vector<std::string_view> texts;
  texts.reserve(ids.size());
  for (const int32_t id : ids) {
    const Token& each = token(id);
    if (!each.exists || (skip_special_tokens && each.special)) continue;
    texts.push_back(each.text);
  }
  return decoder_.join(texts);
}

}  // namespace longlora::tokenizer
