#include "longlora/tokenizer/decoders.h"

#include <algorithm>
#include <utility>

#include "longlora/core/utf8.h"
#include "longlora/tokenizer/bpe.h"
#include "longlora/tokenizer/unicode.h"

namespace longlora::tokenizer {

namespace {

using Kind = DecoderStep::Kind;
using Tokens = std::vector<std::string>;

std::string concatenate(const Tokens& tokens) {
  std::string text;
  for (const std::string& token : tokens) text += token;
  return text;
}

int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  const char lower = static_cast<char>(c | 0x20);
  return lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
}

// The byte of a token like <0x0A>, or -1.
int byte_of(const std::string& token) {
  if (token.size() != 6 || !token.starts_with("<0x") || token[5] != '>') return -1;
  const int high = token[3] == '+' ? 0 : hex_digit(token[3]), low = hex_digit(token[4]);
  return high < 0 || low < 0 ? -1 : high * 16 + low;
}

// Turns runs of byte tokens into characters. In a run that is not UTF-8 as a whole, each byte becomes U+FFFD.
Tokens decode_bytes(Tokens tokens) {
  Tokens result;
  std::string bytes;
  const auto finish = [&] {
    if (bytes.empty()) return;
    if (find_invalid_utf8(bytes) == std::string::npos) {
      result.push_back(bytes);
    } else {
      for (size_t i = 0; i < bytes.size(); ++i) result.emplace_back(kReplacementCharacter);
    }
    bytes.clear();
  };
  for (std::string& token : tokens) {
    const int byte = byte_of(token);
    if (byte >= 0) {
      bytes += static_cast<char>(byte);
      continue;
    }
    finish();
    result.push_back(std::move(token));
  }
  finish();
  return result;
}

// Takes up to `start` copies of `content` off the beginning and `stop` off the end.
void strip(std::string* token, const std::string& content, int64_t start, int64_t stop) {
  size_t begin = 0, end = token->size();
  for (int64_t i = 0; i < start && token->compare(begin, content.size(), content) == 0; ++i)
    begin += content.size();
  for (int64_t i = 0; i < stop && end >= begin + content.size() &&
                      token->compare(end - content.size(), content.size(), content) == 0;
       ++i)
    end -= content.size();
  *token = token->substr(begin, end - begin);
}

std::string replace_marks(const std::string& token, const std::string& mark, std::string_view with) {
  std::string result;
  size_t done = 0;
  for (size_t at = token.find(mark); at != std::string::npos; at = token.find(mark, done)) {
    result.append(token, done, at - done).append(with);
    done = at + mark.size();
  }
  return result.append(token, done);
}

std::string raw_bytes(const std::string& token) {
  std::string bytes;
  return bytes_of_token(token, &bytes) ? bytes : token;
}

}  // namespace

DecoderChain::DecoderChain(const PipelineSpec& spec, const std::string& source)
    : steps_(spec.decoders), has_decoder_(spec.has_decoder) {
  for (const DecoderStep& step : steps_)
    patterns_.emplace_back(step.kind == Kind::kReplace ? step.pattern : PatternSpec{}, source);
  while (num_prepared_ < steps_.size() && steps_[num_prepared_].kind == Kind::kReplace) ++num_prepared_;
}

std::string DecoderChain::prepare(const std::string& token) const {
  std::string text = token;
  for (size_t i = 0; i < num_prepared_; ++i) text = patterns_[i].replace(text, steps_[i].content);
  if (num_prepared_ < steps_.size() && steps_[num_prepared_].kind == Kind::kByteLevel) text = raw_bytes(text);
  return text;
}

std::string DecoderChain::bytes_of(const std::string& prepared) const {
  std::string text = prepared;
  for (size_t step = num_prepared_; step < steps_.size(); ++step) {
    if (steps_[step].kind == Kind::kMetaspace) text = replace_marks(text, steps_[step].content, " ");
    if (steps_[step].kind != Kind::kByteFallback) continue;
    const int byte = byte_of(text);
    if (byte >= 0) return std::string(1, static_cast<char>(byte));
  }
  return text;
}

std::string DecoderChain::join(const std::vector<std::string_view>& prepared) const {
  if (!has_decoder_) {
    std::string text;
    for (size_t i = 0; i < prepared.size(); ++i) {
      if (i > 0) text += ' ';
      text += prepared[i];
    }
    return text;
  }
  size_t step = num_prepared_;
  Tokens tokens;
  if (step < steps_.size() && steps_[step].kind == Kind::kByteLevel) {
    std::string bytes;
    for (const std::string_view token : prepared) bytes += token;
    tokens.push_back(replace_broken_utf8(bytes));
    ++step;
  } else {
    tokens.assign(prepared.begin(), prepared.end());
  }
  for (; step < steps_.size(); ++step) {
    const DecoderStep& each = steps_[step];
    switch (each.kind) {
      case Kind::kByteLevel:
        for (std::string& token : tokens) token = raw_bytes(token);
        tokens = {replace_broken_utf8(concatenate(tokens))};
        break;
      case Kind::kByteFallback:
        tokens = decode_bytes(std::move(tokens));
        break;
      case Kind::kFuse:
        tokens = {concatenate(tokens)};
        break;
      case Kind::kReplace:
        for (std::string& token : tokens) token = patterns_[step].replace(token, each.content);
        break;
      case Kind::kStrip:
        for (std::string& token : tokens) strip(&token, each.content, each.start, each.stop);
        break;
      case Kind::kMetaspace:
        for (size_t i = 0; i < tokens.size(); ++i)
          tokens[i] = replace_marks(tokens[i], each.content, i == 0 && each.drops_first ? "" : " ");
        break;
    }
  }
  return concatenate(tokens);
}

}  // namespace longlora::tokenizer
