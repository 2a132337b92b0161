#include "longlora/tokenizer/gguf_vocabulary.h"

#include <fmt/format.h>
#include <sentencepiece_processor.h>

#include <algorithm>
#include <numeric>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>

#include "longlora/core/error.h"
#include "longlora/core/log.h"
#include "longlora/tokenizer/gguf_pre_tokenizers.h"
#include "longlora/tokenizer/llama_settings.h"
#include "longlora/tokenizer/llama_tokenizer.h"
#include "longlora/tokenizer/pipeline_tokenizer.h"
#include "longlora/tokenizer/settings_file.h"
#include "longlora/tokenizer/tokenizer_folder.h"

namespace longlora::tokenizer {
namespace {

constexpr std::string_view kSpaceMark = "\xE2\x96\x81";  // U+2581, a space inside pieces

// The numbers of token_type.
enum TokenType : int32_t {
  kNormal = 1,
  kUnknown = 2,
  kControl = 3,
  kUserDefined = 4,
  kUnused = 5,
  kByte = 6
};

// What a file is to say.
struct Vocabulary {
  std::string kind;  // "llama" or "gpt2"
  std::string pre = "default";
  std::vector<std::string> tokens;  // by id; empty for an id without one
  std::vector<int32_t> types;
  std::vector<float> scores;        // of `llama`
  std::vector<std::string> merges;  // of `gpt2`
  std::optional<int64_t> bos, eos, unknown, padding;
  bool adds_bos = false, adds_eos = false, adds_space = false;

  void set(int64_t id, const std::string& token, int32_t type) {
    if (static_cast<size_t>(id) >= tokens.size()) {
      tokens.resize(static_cast<size_t>(id) + 1);
      types.resize(tokens.size(), kUnused);
    }
    tokens[static_cast<size_t>(id)] = token;
    types[static_cast<size_t>(id)] = type;
  }
  std::optional<int64_t> find(const std::optional<std::string>& token) const {
    const auto found = token ? std::find(tokens.begin(), tokens.end(), *token) : tokens.end();
    return found == tokens.end() ? std::nullopt : std::optional(found - tokens.begin());
  }
};

[[noreturn]] void refuse(const std::string& source, const std::string& expected, const std::string& got) {
  throw InputError(
      fmt::format("[{}] expected a tokenizer that GGUF can hold ({}), got {}", source, expected, got));
}

// Files say of a token only that it is one, not which spaces it takes with it.
template <typename Token>
void note_stripping(const std::vector<Token>& added, const std::string& source) {
  const auto count = std::count_if(added.begin(), added.end(),
                                   [](const Token& token) { return token.lstrip || token.rstrip; });
  if (count > 0)
    log_info(fmt::format("{}: {} added tokens take the spaces beside them with them, which GGUF cannot say",
                         source, count));
}

bool is_byte_token(std::string_view token) {
  return token.size() == 6 && token.starts_with("<0x") && token.ends_with(">");
}

using IdsByToken = std::unordered_map<std::string_view, int32_t>;

uint64_t pair_of(int32_t left, int32_t right) {
  return static_cast<uint64_t>(left) << 32 | static_cast<uint32_t>(right);
}

// How many of the vocabulary's pairs llama.cpp would join, by the scores of what they make, in another order
// than the merges say, or without a merge that says so.
size_t count_strange_pairs(const BpeSpec& model, const Vocabulary& vocabulary, const IdsByToken& ids) {
  std::unordered_set<uint64_t> merges;
  std::unordered_set<std::string> seen;
  std::string last;
  size_t strange = 0;
  for (const auto& [left, right] : model.merges) {
    const auto left_id = ids.find(left), right_id = ids.find(right);
    if (left_id == ids.end() || right_id == ids.end()) continue;
    merges.insert(pair_of(left_id->second, right_id->second));
    std::string merged = left + right;
    if (merged == last) continue;
    if (!seen.insert(merged).second) ++strange;  // others come between the merges that make it
    last = std::move(merged);
  }
  for (size_t id = 0; id < vocabulary.tokens.size(); ++id) {
    const std::string_view token = vocabulary.tokens[id];
    if (vocabulary.types[id] != kNormal) continue;
    for (size_t at = 1; at < token.size(); ++at) {
      const auto left = ids.find(token.substr(0, at)), right = ids.find(token.substr(at));
      if (left != ids.end() && right != ids.end() && !merges.contains(pair_of(left->second, right->second)))
        ++strange;
    }
  }
  return strange;
}

// llama.cpp joins the pair that makes the token of the highest score: the earlier its merge, the higher.
void set_scores(const PipelineSpec& spec, Vocabulary& vocabulary) {
  IdsByToken ids;
  for (const auto& [token, id] : spec.model.vocab) ids.emplace(token, id);
  vocabulary.scores.assign(vocabulary.tokens.size(), -static_cast<float>(spec.model.merges.size()) - 1.0F);
  float score = 0.0F;
  for (const auto& [left, right] : spec.model.merges) {
    const auto found = ids.find(left + right);
    if (found == ids.end() || vocabulary.scores[static_cast<size_t>(found->second)] > score) continue;
    float& own = vocabulary.scores[static_cast<size_t>(found->second)];
    if (own < -static_cast<float>(spec.model.merges.size())) own = score -= 1.0F;
  }
  if (const size_t strange = count_strange_pairs(spec.model, vocabulary, ids); strange > 0)
    log_warning(
        fmt::format("{}: llama.cpp joins {} pairs of tokens otherwise than the merges say; texts with "
                    "them get other ids there",
                    spec.source, strange));
}

// SentencePiece's steps in tokenizer.json: spaces become marks, and one may be put in front.
void read_piece_steps(const PipelineSpec& spec, Vocabulary& vocabulary) {
  bool marks_spaces = false;
  for (const NormalizerStep& step : spec.normalizers) {
    if (step.kind == NormalizerStep::Kind::kPrepend && step.content == kSpaceMark)
      vocabulary.adds_space = true;
    else if (step.kind == NormalizerStep::Kind::kReplace && !step.pattern.is_regex &&
             step.pattern.text == " " && step.content == kSpaceMark)
      marks_spaces = true;
    else
      refuse(spec.source, "spaces as U+2581", "another normalizer");
  }
  for (const PreTokenizerStep& step : spec.pre_tokenizers) {
    if (step.kind != PreTokenizerStep::Kind::kMetaspace || step.split || step.replacement != kSpaceMark)
      refuse(spec.source, "text that is not cut into words", "another pre_tokenizer");
    marks_spaces = true;
    if (step.prepend != PrependScheme::kNever) vocabulary.adds_space = true;
  }
  if (!marks_spaces) refuse(spec.source, "spaces as U+2581", "spaces as they are");
}

void read_byte_level_steps(const PipelineSpec& spec, Vocabulary& vocabulary) {
  for (const NormalizerStep& step : spec.normalizers) {
    if (step.kind != NormalizerStep::Kind::kNfc) refuse(spec.source, "text as it is", "another normalizer");
    log_info(
        fmt::format("{}: text is put into normal form C, which llama.cpp leaves out: letters whose accents "
                    "stand apart get other ids there",
                    spec.source));
  }
  const char* name = name_gguf_pre_tokenizer(spec);
  if (name == nullptr)
    refuse(spec.source, "the pre_tokenizer of " + gguf_pre_tokenizer_names(), "another pre_tokenizer");
  vocabulary.pre = name;
  std::vector<size_t> order(spec.model.merges.size());
  std::iota(order.begin(), order.end(), size_t{0});
  if (const auto& ranks = spec.model.merge_ranks; !ranks.empty())
    std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return ranks[a] < ranks[b]; });
  for (const size_t i : order)
    vocabulary.merges.push_back(spec.model.merges[i].first + " " + spec.model.merges[i].second);
}

void set_ends(const PipelineSpec& spec, Vocabulary& vocabulary) {
  const auto is_one = [](const std::vector<int32_t>& ids, const std::optional<int64_t>& id) {
    return ids.size() == 1 && id == ids.front();
  };
  if (spec.prefix_ids.size() == 1 && !vocabulary.bos) vocabulary.bos = spec.prefix_ids.front();
  vocabulary.adds_bos = is_one(spec.prefix_ids, vocabulary.bos);
  vocabulary.adds_eos = is_one(spec.suffix_ids, vocabulary.eos);
  if (vocabulary.adds_bos == spec.prefix_ids.empty() || vocabulary.adds_eos == spec.suffix_ids.empty())
    log_warning(
        fmt::format("{}: the template puts other ids around a text than BOS and EOS, which GGUF cannot "
                    "say: they are left out",
                    spec.source));
}

Vocabulary vocabulary_of(const PipelineSpec& spec) {
  Vocabulary vocabulary;
  const PipelineTokenizer tokenizer(spec);
  const bool is_pieces = spec.model.byte_fallback;
  vocabulary.kind = is_pieces ? "llama" : "gpt2";
  for (const auto& [token, id] : spec.model.vocab)
    vocabulary.set(id, token, is_pieces && is_byte_token(token) ? kByte : kNormal);
  for (const AddedToken& token : tokenizer.added_tokens())
    vocabulary.set(token.id, token.content, token.special ? kControl : kUserDefined);
  vocabulary.unknown = vocabulary.find(spec.model.unk_token);
  if (is_pieces && vocabulary.unknown) vocabulary.types[static_cast<size_t>(*vocabulary.unknown)] = kUnknown;
  note_stripping(spec.added_tokens, spec.source);
  if (is_pieces) {
    read_piece_steps(spec, vocabulary);
    set_scores(spec, vocabulary);
  } else {
    read_byte_level_steps(spec, vocabulary);
  }
  vocabulary.bos = tokenizer.bos_id();
  vocabulary.eos = tokenizer.eos_id();
  set_ends(spec, vocabulary);
  return vocabulary;
}

Vocabulary vocabulary_of(const LlamaTokenizer& tokenizer, const LlamaSettings& settings,
                         const std::string& source) {
  if (!tokenizer.is_bpe())
    refuse(source, "SentencePiece's BPE or byte-level BPE", "SentencePiece's unigram model");
  if (!tokenizer.keeps_text())
    log_warning(
        fmt::format("{}: the model rewrites text before it is cut (normal forms, spaces), which "
                    "llama.cpp does not; such texts get other ids there",
                    source));
  Vocabulary vocabulary;
  vocabulary.kind = "llama";
  const sentencepiece::SentencePieceProcessor& model = tokenizer.model();
  for (int id = 0; id < model.GetPieceSize(); ++id) {
    vocabulary.set(id, model.IdToPiece(id),
                   model.IsUnknown(id)   ? kUnknown
                   : model.IsControl(id) ? kControl
                   : model.IsByte(id)    ? kByte
                   : model.IsUnused(id)  ? kUnused
                                         : kNormal);
    vocabulary.scores.push_back(model.GetScore(id));
  }
  const std::vector<SpecialToken>& added = tokenizer.special_tokens();
  for (const SpecialToken& token : added) {
    const auto id = static_cast<size_t>(token.id);
    if (id < vocabulary.types.size() && vocabulary.types[id] == kUnknown) continue;
    vocabulary.set(token.id, token.content, token.special ? kControl : kUserDefined);
  }
  note_stripping(added, source);
  vocabulary.scores.resize(vocabulary.tokens.size());
  vocabulary.bos = tokenizer.bos_id();
  vocabulary.eos = tokenizer.eos_id();
  vocabulary.unknown = vocabulary.find(settings.unk_token);
  vocabulary.adds_bos = settings.add_bos_token;
  vocabulary.adds_eos = settings.add_eos_token;
  vocabulary.adds_space = tokenizer.adds_space();
  return vocabulary;
}

Vocabulary read_vocabulary(const std::filesystem::path& folder) {
  TokenizerFiles files = read_tokenizer_files(folder);
  if (files.pipeline) return vocabulary_of(*files.pipeline);
  const LlamaSettings settings = read_llama_settings(files.path.parent_path());
  const LlamaTokenizer tokenizer(std::move(files.sentencepiece), settings, files.path.string());
  return vocabulary_of(tokenizer, settings, files.path.string());
}

// As many tokens as the embedding has rows.
void fit(int64_t vocab_size, const std::filesystem::path& folder, Vocabulary& vocabulary) {
  const auto rows = static_cast<size_t>(vocab_size);
  if (vocabulary.tokens.size() > rows)
    log_warning(
        fmt::format("{}: the embedding has {} rows, so the tokens from id {} on are left out ({} of them)",
                    folder.string(), rows, rows, vocabulary.tokens.size() - rows));
  vocabulary.tokens.resize(rows);
  vocabulary.types.resize(rows, kUnused);
  if (!vocabulary.scores.empty()) vocabulary.scores.resize(rows, -1e6F);
  for (size_t id = 0; id < rows; ++id)
    if (vocabulary.tokens[id].empty()) {
      vocabulary.tokens[id] = fmt::format("[PAD{}]", id);
      vocabulary.types[id] = kUnused;
    }
}

void add_ids(const Vocabulary& vocabulary, const GgufTokenizerOptions& options, const std::string& source,
             gguf::MetadataWriter& metadata) {
  const auto add = [&](const char* key, const std::optional<int64_t>& id) {
    if (id && *id >= 0 && *id < options.vocab_size)
      metadata.add_size(std::string("tokenizer.ggml.") + key, *id);
  };
  std::vector<int64_t> ends;
  if (vocabulary.eos) ends.push_back(*vocabulary.eos);
  for (const int64_t id : options.end_ids)
    if (id >= 0 && id < options.vocab_size && std::find(ends.begin(), ends.end(), id) == ends.end())
      ends.push_back(id);
  constexpr const char* kEnds[] = {"eos_token_id", "eot_token_id", "eom_token_id"};
  for (size_t i = 0; i < std::min(ends.size(), std::size(kEnds)); ++i) add(kEnds[i], ends[i]);
  if (ends.size() > std::size(kEnds))
    log_warning(fmt::format("{}: {} ids end a text, and GGUF has places for {}: the others are left out",
                            source, ends.size(), std::size(kEnds)));
  add("bos_token_id", vocabulary.bos);
  add("unknown_token_id", vocabulary.unknown);
  add("padding_token_id", vocabulary.padding);
}

}  // namespace

void add_gguf_tokenizer(const std::filesystem::path& folder, const GgufTokenizerOptions& options,
                        gguf::MetadataWriter& metadata) {
  Vocabulary vocabulary = read_vocabulary(folder);
  std::optional<std::string> padding;
  for (const char* name : {"special_tokens_map.json", "tokenizer_config.json"})
    SettingsFile(folder / name).read("pad_token", &padding);
  vocabulary.padding = vocabulary.find(padding);
  fit(options.vocab_size, folder, vocabulary);
  metadata.add_text("tokenizer.ggml.model", vocabulary.kind);
  metadata.add_text("tokenizer.ggml.pre", vocabulary.pre);
  metadata.add_texts("tokenizer.ggml.tokens", vocabulary.tokens);
  if (!vocabulary.scores.empty()) metadata.add_numbers("tokenizer.ggml.scores", vocabulary.scores);
  metadata.add_integers("tokenizer.ggml.token_type", vocabulary.types);
  if (vocabulary.kind == "gpt2") metadata.add_texts("tokenizer.ggml.merges", vocabulary.merges);
  add_ids(vocabulary, options, folder.string(), metadata);
  metadata.add_flag("tokenizer.ggml.add_bos_token", vocabulary.adds_bos);
  metadata.add_flag("tokenizer.ggml.add_eos_token", vocabulary.adds_eos);
  metadata.add_flag("tokenizer.ggml.add_space_prefix", vocabulary.adds_space);
}

}  // namespace longlora::tokenizer
