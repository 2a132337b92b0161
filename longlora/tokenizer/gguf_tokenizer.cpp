#include "longlora/tokenizer/gguf_tokenizer.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <set>
#include <tuple>
#include <unordered_map>

#include "longlora/core/error.h"
#include "longlora/core/log.h"
#include "longlora/core/utf8.h"
#include "longlora/tokenizer/bpe.h"
#include "longlora/tokenizer/gguf_pre_tokenizers.h"
#include "longlora/tokenizer/tokenizer_json.h"

namespace longlora::tokenizer {
namespace {

using gguf::Metadata;

const std::string kSpaceMark = "\xE2\x96\x81";  // U+2581, a space inside pieces
constexpr const char* kKind = "tokenizer.ggml.model";
constexpr const char* kTokens = "tokenizer.ggml.tokens";
constexpr const char* kScores = "tokenizer.ggml.scores";
constexpr const char* kTypes = "tokenizer.ggml.token_type";
constexpr const char* kMerges = "tokenizer.ggml.merges";
constexpr const char* kPre = "tokenizer.ggml.pre";
constexpr const char* kTemplate = "tokenizer.chat_template";
constexpr int64_t kControl = 3, kUserDefined = 4;  // of token_type
constexpr size_t kLongestToken = 1024;             // beyond it the ways to cut it in two are too many
constexpr size_t kMostTokens = 1 << 24;

// The vocabulary as the file has it.
struct Vocabulary {
  std::vector<std::string> tokens;
  std::vector<int64_t> types;  // empty: all are plain
  std::vector<double> scores;  // empty: none are given

  bool is(size_t id, int64_t type) const { return id < types.size() && types[id] == type; }
  bool is_added(size_t id) const { return is(id, kControl) || is(id, kUserDefined); }
};

std::string checked_utf8(const Metadata& metadata, const char* key, std::string_view text) {
  if (find_invalid_utf8(text) != std::string_view::npos)
    metadata.fail(key, "text in UTF-8", "\"" + replace_invalid_utf8(text.substr(0, 60)) + "\"");
  return std::string(text);
}

Vocabulary read_vocabulary(const Metadata& metadata) {
  Vocabulary vocabulary;
  for (const std::string_view token : metadata.texts(kTokens)) {
    if (token.size() > kLongestToken)
      metadata.fail(kTokens, fmt::format("texts of at most {} bytes", kLongestToken),
                    fmt::format("one of {}", token.size()));
    vocabulary.tokens.push_back(checked_utf8(metadata, kTokens, token));
  }
  const size_t count = vocabulary.tokens.size();
  if (count == 0 || count > kMostTokens)
    metadata.fail(kTokens, fmt::format("a list of 1 to {} tokens", kMostTokens), std::to_string(count));
  vocabulary.types = metadata.integers(kTypes);
  vocabulary.scores = metadata.numbers(kScores);
  for (const auto& [key, size] :
       {std::pair(kTypes, vocabulary.types.size()), std::pair(kScores, vocabulary.scores.size())})
    if (size != 0 && size != count)
      metadata.fail(key, fmt::format("a list of {}, one for each token", count), std::to_string(size));
  if (std::any_of(vocabulary.scores.begin(), vocabulary.scores.end(),
                  [](double score) { return std::isnan(score); }))
    metadata.fail(kScores, "a list of numbers", "NaN");
  return vocabulary;
}

using IdsByToken = std::unordered_map<std::string_view, int32_t>;

// Pairs of tokens that make up a third, the best first: what SentencePiece's scores mean, as transformers
// orders it.
std::vector<std::pair<std::string, std::string>> merges_of_scores(const Vocabulary& vocabulary,
                                                                  const IdsByToken& ids) {
  struct Merge {
    std::string_view left, right;
    double score;
    size_t left_length, right_length;  // in characters
    int32_t left_id, right_id;
    int32_t id;
  };
  std::vector<Merge> found;
  for (size_t id = 0; id < vocabulary.tokens.size(); ++id) {
    const std::string_view token = vocabulary.tokens[id];
    if (ids.at(token) != static_cast<int32_t>(id)) continue;  // the last of equal tokens counts
    const auto is_start = [](char c) { return (static_cast<unsigned char>(c) & 0xC0U) != 0x80U; };
    const auto length = static_cast<size_t>(std::count_if(token.begin(), token.end(), is_start));
    size_t characters = 1;
    for (size_t at = 1; at < token.size(); ++at) {
      if (!is_start(token[at])) continue;
      const size_t left_length = characters++;
      const auto left = ids.find(token.substr(0, at));
      if (left == ids.end()) continue;
      const auto right = ids.find(token.substr(at));
      if (right == ids.end()) continue;
      found.push_back({left->first, right->first, vocabulary.scores[id], left_length, length - left_length,
                       left->second, right->second, static_cast<int32_t>(id)});
    }
  }
  std::sort(found.begin(), found.end(), [](const Merge& a, const Merge& b) {
    return std::tuple(-a.score, b.left_length, b.right_length, a.id, a.left_id, a.right_id) <
           std::tuple(-b.score, a.left_length, a.right_length, b.id, b.left_id, b.right_id);
  });
  std::vector<std::pair<std::string, std::string>> merges;
  merges.reserve(found.size());
  for (const Merge& merge : found) merges.emplace_back(merge.left, merge.right);
  return merges;
}

std::vector<std::pair<std::string, std::string>> read_merges(const Metadata& metadata,
                                                             const Vocabulary& vocabulary,
                                                             const IdsByToken& ids) {
  std::vector<std::pair<std::string, std::string>> merges;
  if (!metadata.has(kMerges)) {
    if (vocabulary.scores.empty()) metadata.fail(kMerges, "a list of merges", "neither merges nor scores");
    return merges_of_scores(vocabulary, ids);
  }
  for (const std::string_view text : metadata.texts(kMerges)) {
    const size_t space = text.find(' ');
    if (space == std::string_view::npos || text.find(' ', space + 1) != std::string_view::npos)
      metadata.fail(kMerges, "texts of two tokens with a space between them",
                    "\"" + checked_utf8(metadata, kMerges, text) + "\"");
    merges.emplace_back(checked_utf8(metadata, kMerges, text.substr(0, space)),
                        checked_utf8(metadata, kMerges, text.substr(space + 1)));
  }
  return merges;
}

// Plain tokens have to be spelled in the characters of bytes; those that are not mean their own bytes.
void spell_plain_tokens(Vocabulary& vocabulary) {
  std::set<char32_t> characters;
  for (int byte = 0; byte < 256; ++byte)
    characters.insert(character_of_byte(static_cast<unsigned char>(byte)));
  const auto is_spelled = [&](std::string_view token) {
    for (size_t at = 0; at < token.size();)
      if (!characters.contains(next_character(token, at))) return false;
    return true;
  };
  for (size_t id = 0; id < vocabulary.tokens.size(); ++id) {
    std::string& token = vocabulary.tokens[id];
    if (vocabulary.is_added(id) || is_spelled(token)) continue;
    std::string spelled;
    for (const char byte : token)
      append_character(character_of_byte(static_cast<unsigned char>(byte)), &spelled);
    token = std::move(spelled);
  }
}

// Decoding of SentencePiece's pieces: spaces for their marks, bytes joined, the space in front dropped.
Json pieces_decoder(bool drops_space) {
  Json steps = Json::array({{{"type", "Replace"}, {"pattern", {{"String", kSpaceMark}}}, {"content", " "}},
                            {{"type", "ByteFallback"}},
                            {{"type", "Fuse"}}});
  if (drops_space) steps.push_back({{"type", "Strip"}, {"content", " "}, {"start", 1}, {"stop", 0}});
  return {{"type", "Sequence"}, {"decoders", steps}};
}

void set_pieces_steps(const Metadata& metadata, Json& pipeline) {
  const bool adds_space = metadata.flag("tokenizer.ggml.add_space_prefix").value_or(true);
  Json& model = pipeline["model"];
  model["fuse_unk"] = true;
  model["byte_fallback"] = true;
  pipeline["decoder"] = pieces_decoder(adds_space);
  if (metadata.text("general.architecture") == "phi3") {
    // A space goes before every text, also before one that begins with a space.
    Json steps = Json::array();
    if (adds_space) steps.push_back({{"type", "Prepend"}, {"prepend", kSpaceMark}});
    steps.push_back({{"type", "Replace"}, {"pattern", {{"String", " "}}}, {"content", kSpaceMark}});
    pipeline["normalizer"] = {{"type", "Sequence"}, {"normalizers", steps}};
    return;
  }
  pipeline["pre_tokenizer"] = {{"type", "Metaspace"},
                               {"replacement", kSpaceMark},
                               {"prepend_scheme", adds_space ? "first" : "never"},
                               {"split", false}};
}

const GgufPreTokenizer& read_pre_tokenizer(const Metadata& metadata) {
  const std::optional<std::string> name = metadata.text(kPre);
  if (!name)
    log_warning_once(
        fmt::format("{} names no pre-tokenizer ({}): text is split as GPT-2's is", metadata.source(), kPre));
  const GgufPreTokenizer* known = find_gguf_pre_tokenizer(name.value_or("default"));
  if (known == nullptr)
    metadata.fail(kPre, "a pre-tokenizer that is known (" + gguf_pre_tokenizer_names() + ")",
                  "\"" + replace_invalid_utf8(name->substr(0, 60)) + "\"");
  return *known;
}

Json added_token(const std::string& content, size_t id, bool is_special) {
  return {{"id", id},        {"content", content},  {"single_word", false}, {"lstrip", false},
          {"rstrip", false}, {"normalized", false}, {"special", is_special}};
}

// The token of an id that a key names; nothing where it names none.
std::optional<size_t> named_id(const Metadata& metadata, const std::string& key, size_t num_tokens) {
  const std::optional<int64_t> id = metadata.integer("tokenizer.ggml." + key);
  // Some writers say "none" so.
  if (!id || *id == -1 || *id == int64_t{0xFFFFFFFF}) return std::nullopt;
  if (*id < 0 || static_cast<size_t>(*id) >= num_tokens)
    metadata.fail("tokenizer.ggml." + key, fmt::format("an id below {}", num_tokens), std::to_string(*id));
  return static_cast<size_t>(*id);
}

// Puts BOS before each text and EOS behind it, where they are asked for.
Json text_template(const std::optional<std::pair<std::string, size_t>>& bos,
                   const std::optional<std::pair<std::string, size_t>>& eos) {
  if (!bos && !eos) return {};
  Json tokens = Json::object();
  const auto token = [&](const std::pair<std::string, size_t>& named, int type) {
    tokens[named.first] = {
        {"id", named.first}, {"ids", Json::array({named.second})}, {"tokens", Json::array({named.first})}};
    return Json{{"SpecialToken", {{"id", named.first}, {"type_id", type}}}};
  };
  const auto wrapped = [&](const char* sequence, int type) {
    Json parts = Json::array();
    if (bos) parts.push_back(token(*bos, type));
    parts.push_back({{"Sequence", {{"id", sequence}, {"type_id", type}}}});
    if (eos) parts.push_back(token(*eos, type));
    return parts;
  };
  const Json single = wrapped("A", 0);
  Json pair = single;
  for (const Json& part : wrapped("B", 1)) pair.push_back(part);
  return {{"type", "TemplateProcessing"}, {"single", single}, {"pair", pair}, {"special_tokens", tokens}};
}

// The template under its key, or all of them by name.
Json chat_templates(const Metadata& metadata) {
  const std::optional<std::string> plain = metadata.text(kTemplate);
  Json named = Json::array();
  for (const std::string_view name : metadata.texts("tokenizer.chat_templates")) {
    const std::string key = kTemplate + std::string(".") + checked_utf8(metadata, kTemplate, name);
    if (const auto text = metadata.text(key))
      named.push_back({{"name", checked_utf8(metadata, kTemplate, name)},
                       {"template", checked_utf8(metadata, key.c_str(), *text)}});
  }
  const Json text = plain ? Json(checked_utf8(metadata, kTemplate, *plain)) : Json();
  if (named.empty()) return text;
  if (plain) named.insert(named.begin(), Json{{"name", "default"}, {"template", text}});
  return named;
}

// Added tokens, what is put around a text, and tokenizer_config.json, which says it too.
void set_special_tokens(const Metadata& metadata, const Vocabulary& vocabulary, bool adds_bos,
                        GgufTokenizer& tokenizer) {
  const std::vector<std::string>& tokens = vocabulary.tokens;
  std::map<size_t, bool> added;  // ids, and whether they are special
  for (size_t id = 0; id < tokens.size(); ++id)
    if (vocabulary.is_added(id) && !tokens[id].empty()) added[id] = vocabulary.is(id, kControl);
  Json& settings = tokenizer.settings;
  settings = {{"tokenizer_class", "PreTrainedTokenizerFast"}, {"clean_up_tokenization_spaces", false}};
  std::map<std::string, std::pair<std::string, size_t>> named;
  for (const auto& [setting, key] :
       {std::pair("bos_token", "bos_token_id"), std::pair("eos_token", "eos_token_id"),
        std::pair("unk_token", "unknown_token_id"), std::pair("pad_token", "padding_token_id")}) {
    const std::optional<size_t> id = named_id(metadata, key, tokens.size());
    if (!id || tokens[*id].empty()) continue;
    added[*id] = true;
    named.emplace(setting, std::pair(tokens[*id], *id));
    settings[setting] = tokens[*id];
  }
  const auto around = [&](const char* key, const char* setting, bool otherwise) {
    const bool adds = metadata.flag(std::string("tokenizer.ggml.") + key).value_or(otherwise);
    const auto found = named.find(setting);
    settings[key] = adds && found != named.end();
    return adds && found != named.end() ? std::optional(found->second) : std::nullopt;
  };
  const auto bos = around("add_bos_token", "bos_token", adds_bos);
  const auto eos = around("add_eos_token", "eos_token", false);
  tokenizer.pipeline["post_processor"] = text_template(bos, eos);
  for (const auto& [id, is_special] : added)
    tokenizer.pipeline["added_tokens"].push_back(added_token(tokens[id], id, is_special));
  if (Json templates = chat_templates(metadata); !templates.is_null())
    settings["chat_template"] = std::move(templates);
}

Json empty_pipeline() {
  return {{"version", "1.0"},
          {"truncation", nullptr},
          {"padding", nullptr},
          {"added_tokens", Json::array()},
          {"normalizer", nullptr},
          {"pre_tokenizer", nullptr},
          {"post_processor", nullptr},
          {"decoder", nullptr},
          {"model",
           {{"type", "BPE"},
            {"dropout", nullptr},
            {"unk_token", nullptr},
            {"continuing_subword_prefix", nullptr},
            {"end_of_word_suffix", nullptr},
            {"fuse_unk", false},
            {"byte_fallback", false},
            {"ignore_merges", false}}}};
}

}  // namespace

bool has_gguf_tokenizer(const Metadata& metadata) {
  const std::string kind = metadata.text(kKind).value_or("none");
  return kind != "none" && kind != "no_vocab";
}

GgufTokenizer read_gguf_tokenizer(const Metadata& metadata) {
  const std::string kind = metadata.text(kKind).value_or("none");
  if (kind != "llama" && kind != "gpt2")
    metadata.fail(kKind, "llama or gpt2", "\"" + replace_invalid_utf8(kind.substr(0, 60)) + "\"");
  GgufTokenizer tokenizer;
  tokenizer.pipeline = empty_pipeline();
  Vocabulary vocabulary = read_vocabulary(metadata);
  bool adds_bos = true;
  if (kind == "llama") {
    set_pieces_steps(metadata, tokenizer.pipeline);
  } else {
    const GgufPreTokenizer& pre_tokenizer = read_pre_tokenizer(metadata);
    set_byte_level_steps(pre_tokenizer, tokenizer.pipeline);
    spell_plain_tokens(vocabulary);
    adds_bos = pre_tokenizer.adds_bos;
  }
  IdsByToken ids;
  for (size_t id = 0; id < vocabulary.tokens.size(); ++id)
    ids.insert_or_assign(vocabulary.tokens[id], static_cast<int32_t>(id));
  tokenizer.merges = read_merges(metadata, vocabulary, ids);
  set_special_tokens(metadata, vocabulary, adds_bos, tokenizer);
  for (size_t id = 0; id < vocabulary.tokens.size(); ++id)
    if (ids.at(vocabulary.tokens[id]) == static_cast<int32_t>(id))
      tokenizer.vocab.emplace_back(vocabulary.tokens[id], static_cast<int32_t>(id));
  return tokenizer;
}

PipelineSpec gguf_pipeline(const Metadata& metadata) {
  GgufTokenizer tokenizer = read_gguf_tokenizer(metadata);
  PipelineSpec spec;
  spec.source = metadata.source();
  spec.model.vocab = std::move(tokenizer.vocab);
  spec.model.merges = std::move(tokenizer.merges);
  internal::read_pipeline(tokenizer.pipeline, &spec);
  for (const auto& [setting, token] :
       {std::pair("bos_token", &spec.bos_token), std::pair("eos_token", &spec.eos_token)})
    if (tokenizer.settings.contains(setting)) *token = tokenizer.settings[setting].get<std::string>();
  return spec;
}

Json gguf_tokenizer_json(GgufTokenizer tokenizer) {
  Json json = std::move(tokenizer.pipeline);
  Json& model = json["model"];
  model["vocab"] = Json::object();
  for (auto& [token, id] : tokenizer.vocab) model["vocab"][std::move(token)] = id;
  model["merges"] = Json::array();
  for (auto& [left, right] : tokenizer.merges)
    model["merges"].push_back(Json::array({std::move(left), std::move(right)}));
  return json;
}

std::string gguf_chat_template(const Metadata& metadata) {
  const Json templates = chat_templates(metadata);
  if (templates.is_string()) return templates.get<std::string>();
  if (templates.empty()) return "";
  for (const Json& named : templates)
    if (named["name"] == "default") return named["template"].get<std::string>();
  return templates.front()["template"].get<std::string>();
}

}  // namespace longlora::tokenizer
