#include "longlora/tokenizer/tiktoken.h"

#include <fmt/core.h>

#include <algorithm>
#include <charconv>
#include <unordered_map>
#include <utility>

#include "longlora/core/error.h"
#include "longlora/core/utf8.h"
#include "longlora/tokenizer/bpe.h"
#include "longlora/tokenizer/settings_file.h"
#include "longlora/tokenizer/splitters.h"
#include "longlora/tokenizer/unicode.h"

namespace longlora::tokenizer {

namespace {

constexpr size_t kLlama3Tokens = 128000;
constexpr size_t kQwenTokens = 151643;
constexpr size_t kMaxTokens = size_t{1} << 22;
constexpr size_t kMaxTokenBytes = 1024;

int base64_digit(char c) {
  if (c >= 'A' && c <= 'Z') return c - 'A';
  if (c >= 'a' && c <= 'z') return c - 'a' + 26;
  if (c >= '0' && c <= '9') return c - '0' + 52;
  if (c == '+') return 62;
  return c == '/' ? 63 : -1;
}

// Decodes base64 into `bytes`. Returns false for anything but whole groups of four, padded at the end.
bool decode_base64(std::string_view text, std::string* bytes) {
  bytes->clear();
  if (text.empty() || text.size() % 4 != 0) return false;
  const size_t padding = text.ends_with("==") ? 2 : text.ends_with("=") ? 1 : 0;
  text.remove_suffix(padding);
  uint32_t bits = 0;
  int num_bits = 0;
  for (const char c : text) {
    const int digit = base64_digit(c);
    if (digit < 0) return false;
    bits = bits << 6 | static_cast<uint32_t>(digit);
    num_bits += 6;
    if (num_bits < 8) continue;
    num_bits -= 8;
    *bytes += static_cast<char>(bits >> num_bits & 0xFF);
  }
  return true;
}

struct Line {
  std::string bytes;
  int32_t rank = 0;
};

bool parse_line(std::string_view text, Line* line) {
  const size_t space = text.find(' ');
  if (space == std::string_view::npos || !decode_base64(text.substr(0, space), &line->bytes)) return false;
  const std::string_view number = text.substr(space + 1);
  const auto [end, error] = std::from_chars(number.data(), number.data() + number.size(), line->rank);
  return error == std::errc{} && end == number.data() + number.size() && line->rank >= 0;
}

// Returns the line at *at without its end, and moves *at behind it.
std::string_view next_line(std::string_view content, size_t* at) {
  const size_t end = std::min(content.find('\n', *at), content.size());
  std::string_view line = content.substr(*at, end - *at);
  if (line.ends_with('\r')) line.remove_suffix(1);
  *at = end + 1;
  return line;
}

std::string spell(std::string_view bytes) {
  std::string token;
  for (const char c : bytes) append_character(character_of_byte(static_cast<unsigned char>(c)), &token);
  return token;
}

// Reads the tokens by rank. Every rank from 0 on must be there once.
std::vector<std::string> read_tokens(std::string_view content, const std::string& source) {
  std::vector<std::string> tokens;
  size_t number = 0;
  for (size_t at = 0; at < content.size();) {
    ++number;
    const std::string_view text = next_line(content, &at);
    if (text.empty()) continue;
    Line line;
    if (!parse_line(text, &line) || line.bytes.size() > kMaxTokenBytes) {
      throw InputError(fmt::format("[{}] expected a token in base64 and its rank in line {}, got \"{}\"",
                                   source, number, text.substr(0, 60)));
    }
    if (static_cast<size_t>(line.rank) != tokens.size() || tokens.size() == kMaxTokens) {
      throw InputError(
          fmt::format("[{}] expected rank {} in line {}, got {}", source, tokens.size(), number, line.rank));
    }
    tokens.push_back(std::move(line.bytes));
  }
  if (tokens.empty())
    throw InputError(fmt::format("[{}] expected tokens in base64, got none; fetch the file again", source));
  return tokens;
}

// Adds the merges: two tokens merge where their joined bytes are a token, the lowest rank first.
void add_merges(const std::vector<std::string>& tokens, BpeSpec* model) {
  std::unordered_map<std::string_view, size_t> ranks;
  for (size_t rank = 0; rank < tokens.size(); ++rank) ranks.emplace(tokens[rank], rank);
  for (size_t rank = 0; rank < tokens.size(); ++rank) {
    const std::string_view token = tokens[rank];
    for (size_t cut = 1; cut < token.size(); ++cut) {
      if (!ranks.contains(token.substr(0, cut)) || !ranks.contains(token.substr(cut))) continue;
      model->merges.emplace_back(spell(token.substr(0, cut)), spell(token.substr(cut)));
      model->merge_ranks.push_back(static_cast<uint32_t>(rank));
    }
  }
}

void add_special(std::string content, int32_t id, PipelineSpec* spec) {
  AddedToken token;
  token.content = std::move(content);
  token.id = id;
  token.special = true;
  spec->added_tokens.push_back(std::move(token));
}

// Adds the 256 special tokens of Llama 3.1 and later. Llama 3 calls five of them reserved; texts do not hold
// these.
void add_llama3_tokens(PipelineSpec* spec) {
  const std::vector<std::string> named = {"<|begin_of_text|>",
                                          "<|end_of_text|>",
                                          "<|reserved_special_token_0|>",
                                          "<|reserved_special_token_1|>",
                                          "<|finetune_right_pad_id|>",
                                          "<|reserved_special_token_2|>",
                                          "<|start_header_id|>",
                                          "<|end_header_id|>",
                                          "<|eom_id|>",
                                          "<|eot_id|>",
                                          "<|python_tag|>"};
  for (int32_t i = 0; i < 256; ++i) {
    const auto place = static_cast<size_t>(i);
    add_special(place < named.size() ? named[place] : fmt::format("<|reserved_special_token_{}|>", i - 8),
                static_cast<int32_t>(kLlama3Tokens) + i, spec);
  }
  spec->bos_token = named[0];
  spec->eos_token = named[1];
}

void add_qwen_tokens(PipelineSpec* spec) {
  auto id = static_cast<int32_t>(kQwenTokens);
  for (const char* name : {"<|endoftext|>", "<|im_start|>", "<|im_end|>"}) add_special(name, id++, spec);
  for (int i = 0; i < 205; ++i) add_special(fmt::format("<|extra_{}|>", i), id++, spec);
  spec->eos_token = "<|endoftext|>";
  spec->normalizers.push_back({});  // normal form C
}

}  // namespace

bool is_tiktoken_file(std::string_view content) {
  size_t at = 0;
  Line line;
  return parse_line(next_line(content.substr(0, 2 * kMaxTokenBytes), &at), &line);
}

PipelineSpec parse_tiktoken_file(std::string_view content, const std::string& source,
                                 const std::filesystem::path& folder) {
  PipelineSpec spec;
  spec.source = source;
  const std::vector<std::string> tokens = read_tokens(content, source);
  for (size_t rank = 0; rank < tokens.size(); ++rank)
    spec.model.vocab.emplace_back(spell(tokens[rank]), static_cast<int32_t>(rank));
  spec.model.ignore_merges = true;
  add_merges(tokens, &spec.model);
  PreTokenizerStep split, bytes;
  split.pattern = {tokens.size() == kQwenTokens ? kQwenRule : kLlama3Rule, true};
  bytes.kind = PreTokenizerStep::Kind::kByteLevel;
  bytes.use_regex = false;
  spec.pre_tokenizers = {split, bytes};
  DecoderStep decoder;
  decoder.kind = DecoderStep::Kind::kByteLevel;
  spec.decoders = {decoder};
  spec.has_decoder = true;
  const auto listed = SettingsFile(folder / "tokenizer_config.json").read_added_tokens();
  if (tokens.size() == kLlama3Tokens) {
    add_llama3_tokens(&spec);
    spec.prefix_ids = {static_cast<int32_t>(kLlama3Tokens)};
  } else if (tokens.size() == kQwenTokens) {
    add_qwen_tokens(&spec);
  }
  if (listed) spec.added_tokens = *listed;
  return spec;
}

}  // namespace longlora::tokenizer
