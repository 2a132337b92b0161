#include "longlora/tokenizer/gguf_pre_tokenizers.h"

#include <algorithm>
#include <array>

#include "longlora/tokenizer/tokenizer_json.h"

namespace longlora::tokenizer {
namespace {

// The expressions are those of the models' own tokenizer.json.
constexpr const char* kLlama3 =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr const char* kQwen2 =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr const char* kTekken =
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

constexpr GgufPreTokenizer kAsGpt2 = {nullptr, false, false, false};
constexpr GgufPreTokenizer kDigitsAndGpt2 = {nullptr, true, false, false};
constexpr GgufPreTokenizer kAsLlama3 = {kLlama3, false, true, true};
constexpr GgufPreTokenizer kAsDbrx = {kLlama3, false, false, false};
constexpr GgufPreTokenizer kAsQwen2 = {kQwen2, false, false, false};
constexpr GgufPreTokenizer kAsTekken = {kTekken, false, true, true};

struct Named {
  const char* name;
  const GgufPreTokenizer* pre_tokenizer;
};

constexpr std::array kKnown = {Named{"gpt-2", &kAsGpt2},
                               Named{"default", &kAsGpt2},
                               Named{"gpt2", &kAsGpt2},
                               Named{"phi-2", &kAsGpt2},
                               Named{"olmo", &kAsGpt2},
                               Named{"mpt", &kAsGpt2},
                               Named{"gpt-neox", &kAsGpt2},
                               Named{"smollm", &kDigitsAndGpt2},
                               Named{"starcoder", &kDigitsAndGpt2},
                               Named{"refact", &kDigitsAndGpt2},
                               Named{"command-r", &kDigitsAndGpt2},
                               Named{"codeshell", &kDigitsAndGpt2},
                               Named{"llama-bpe", &kAsLlama3},
                               Named{"llama3", &kAsLlama3},
                               Named{"llama-v3", &kAsLlama3},
                               Named{"falcon3", &kAsLlama3},
                               Named{"dbrx", &kAsDbrx},
                               Named{"smaug-bpe", &kAsDbrx},
                               Named{"qwen2", &kAsQwen2},
                               Named{"deepseek-r1-qwen", &kAsQwen2},
                               Named{"stablelm2", &kAsQwen2},
                               Named{"stablelm", &kAsQwen2},
                               Named{"megrez", &kAsQwen2},
                               Named{"kormo", &kAsQwen2},
                               Named{"tekken", &kAsTekken}};

// Keeping what lies between matches is the same as keeping the matches of the rest; the expressions here
// leave nothing between their matches.
bool are_equal(PreTokenizerStep a, PreTokenizerStep b) {
  for (PreTokenizerStep* step : {&a, &b})
    if (step->kind == PreTokenizerStep::Kind::kSplit && step->invert &&
        step->behavior == SplitBehavior::kRemoved) {
      step->behavior = SplitBehavior::kIsolated;
      step->invert = false;
    }
  return a == b;
}

}  // namespace

const GgufPreTokenizer* find_gguf_pre_tokenizer(std::string_view name) {
  for (const Named& known : kKnown)
    if (name == known.name) return known.pre_tokenizer;
  return nullptr;
}

void set_byte_level_steps(const GgufPreTokenizer& pre_tokenizer, Json& pipeline) {
  pipeline["model"]["ignore_merges"] = pre_tokenizer.ignore_merges;
  const bool as_gpt2 = pre_tokenizer.regex == nullptr;
  const Json byte_level = {
      {"type", "ByteLevel"}, {"add_prefix_space", false}, {"trim_offsets", true}, {"use_regex", as_gpt2}};
  Json steps = Json::array();
  if (pre_tokenizer.digits) steps.push_back({{"type", "Digits"}, {"individual_digits", true}});
  if (!as_gpt2)
    steps.push_back({{"type", "Split"},
                     {"pattern", {{"Regex", pre_tokenizer.regex}}},
                     {"behavior", "Isolated"},
                     {"invert", false}});
  steps.push_back(byte_level);
  pipeline["pre_tokenizer"] = {{"type", "Sequence"}, {"pretokenizers", steps}};
  pipeline["decoder"] = {
      {"type", "ByteLevel"}, {"add_prefix_space", true}, {"trim_offsets", true}, {"use_regex", true}};
}

const char* name_gguf_pre_tokenizer(const PipelineSpec& spec) {
  for (const Named& known : kKnown) {
    Json pipeline = {{"model", {{"type", "BPE"}}}};
    set_byte_level_steps(*known.pre_tokenizer, pipeline);
    PipelineSpec made;
    internal::read_pipeline(pipeline, &made);
    if (std::equal(made.pre_tokenizers.begin(), made.pre_tokenizers.end(), spec.pre_tokenizers.begin(),
                   spec.pre_tokenizers.end(), are_equal) &&
        known.pre_tokenizer->ignore_merges == spec.model.ignore_merges)
      return known.name;
  }
  return nullptr;
}

std::string gguf_pre_tokenizer_names() {
  std::string names;
  for (const Named& known : kKnown) names += (names.empty() ? "" : ", ") + std::string(known.name);
  return names;
}

}  // namespace longlora::tokenizer
