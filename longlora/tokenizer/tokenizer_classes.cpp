#include "longlora/tokenizer/tokenizer_classes.h"

#include <fmt/core.h>

#include <algorithm>
#include <set>

#include "longlora/core/log.h"
#include "longlora/tokenizer/splitters.h"

namespace longlora::tokenizer {

namespace {

const std::string kSpaceMark = "\xE2\x96\x81";  // U+2581, a space inside pieces

// Model types for which transformers 5 takes tokenizer.json as it is, whatever class is named.
const std::set<std::string>& types_with_plain_tokenizer() {
  static const std::set<std::string> kTypes = {
      "ministral", "ministral3", "mistral",   "mistral3",  "mistral_large4", "mixtral",    "pixtral",
      "voxtral",   "granite",    "internlm2", "internlm3", "llava",          "llava_next", "minicpm3",
      "nemotron",  "olmo2",      "olmo3",     "persimmon", "phi3",           "phimoe",     "stablelm"};
  return kTypes;
}

// The class that transformers 5 registers for a model type, where it is one of those below.
std::string registered_class(const std::string& model_type) {
  static const std::map<std::string, std::string> kClasses = {{"code_llama", "CodeLlamaTokenizer"},
                                                              {"gpt2", "GPT2Tokenizer"},
                                                              {"gpt_neo", "GPT2Tokenizer"},
                                                              {"gpt_neox", "GPTNeoXTokenizer"},
                                                              {"gptj", "GPT2Tokenizer"},
                                                              {"mamba", "GPTNeoXTokenizer"},
                                                              {"mpt", "GPTNeoXTokenizer"},
                                                              {"olmo", "GPTNeoXTokenizer"},
                                                              {"olmoe", "GPTNeoXTokenizer"},
                                                              {"opt", "GPT2Tokenizer"},
                                                              {"phi", "GPT2Tokenizer"},
                                                              {"qwen2", "Qwen2Tokenizer"},
                                                              {"qwen2_moe", "Qwen2Tokenizer"},
                                                              {"qwen3", "Qwen2Tokenizer"},
                                                              {"qwen3_moe", "Qwen2Tokenizer"}};
  const auto found = kClasses.find(model_type);
  return found == kClasses.end() ? "" : found->second;
}

bool has_byte_level(const PipelineSpec& spec) {
  const auto is_byte_level = [](const auto& step) { return step.kind == decltype(step.kind)::kByteLevel; };
  return std::any_of(spec.pre_tokenizers.begin(), spec.pre_tokenizers.end(), is_byte_level) ||
         std::any_of(spec.decoders.begin(), spec.decoders.end(), is_byte_level);
}

void set_llama_steps(const std::string& name, const SettingsFile& config, PipelineSpec* spec) {
  const bool is_code = name == "CodeLlamaTokenizer";
  bool legacy = false, add_prefix_space = true;
  if (!is_code) config.read("legacy", &legacy);
  config.read("add_prefix_space", &add_prefix_space);
  PreTokenizerStep metaspace;
  metaspace.kind = PreTokenizerStep::Kind::kMetaspace;
  metaspace.replacement = kSpaceMark;
  metaspace.split = false;
  metaspace.prepend = PrependScheme::kNever;
  if (add_prefix_space) metaspace.prepend = legacy ? PrependScheme::kAlways : PrependScheme::kFirst;
  spec->pre_tokenizers = {metaspace};
  spec->model.fuse_unk = true;
  spec->model.byte_fallback = true;
  DecoderStep replace;
  replace.kind = DecoderStep::Kind::kReplace;
  replace.pattern.text = metaspace.replacement;
  replace.content.assign(1, ' ');
  DecoderStep byte_fallback, fuse, strip;
  byte_fallback.kind = DecoderStep::Kind::kByteFallback;
  fuse.kind = DecoderStep::Kind::kFuse;
  strip.kind = DecoderStep::Kind::kStrip;
  strip.content.assign(1, ' ');
  strip.start = 1;
  spec->decoders = {replace, byte_fallback, fuse};
  if (add_prefix_space || is_code) spec->decoders.push_back(strip);
}

// GPT2Tokenizer, GPTNeoXTokenizer and Qwen2Tokenizer.
void set_byte_level_steps(const std::string& name, const SettingsFile& config, PipelineSpec* spec) {
  spec->model.fuse_unk = false;
  spec->model.byte_fallback = false;
  if (name != "GPT2Tokenizer") spec->normalizers.push_back({});  // normal form C
  PreTokenizerStep bytes;
  bytes.kind = PreTokenizerStep::Kind::kByteLevel;
  config.read("add_prefix_space", &bytes.add_prefix_space);
  spec->pre_tokenizers.clear();
  if (name == "Qwen2Tokenizer") {
    PreTokenizerStep split;
    split.pattern = {kQwenRule, true};
    spec->pre_tokenizers.push_back(split);
    bytes.use_regex = false;
  }
  spec->pre_tokenizers.push_back(bytes);
  DecoderStep decoder;
  decoder.kind = DecoderStep::Kind::kByteLevel;
  spec->decoders = {decoder};
}

bool have_same_rules(const PipelineSpec& a, const PipelineSpec& b) {
  return std::equal(a.pre_tokenizers.begin(), a.pre_tokenizers.end(), b.pre_tokenizers.begin(),
                    b.pre_tokenizers.end(),
                    [](const PreTokenizerStep& x, const PreTokenizerStep& y) {
                      return x.kind == y.kind && x.pattern.text == y.pattern.text &&
                             x.use_regex == y.use_regex && x.add_prefix_space == y.add_prefix_space;
                    }) &&
         std::equal(a.normalizers.begin(), a.normalizers.end(), b.normalizers.begin(), b.normalizers.end(),
                    [](const NormalizerStep& x, const NormalizerStep& y) { return x.kind == y.kind; });
}

// CodeLlamaTokenizer puts BOS in front, whatever the file's template says.
void set_bos_template(const SettingsFile& config, PipelineSpec* spec) {
  std::optional<std::string> bos = "<s>";
  config.read("bos_token", &bos);
  spec->prefix_ids.clear();
  if (!bos) return;
  for (const auto& [content, id] : spec->model.vocab)
    if (content == *bos) spec->prefix_ids = {id};
  if (spec->prefix_ids.empty())
    throw InputError(fmt::format(
        "[{}] expected the BOS {} of CodeLlamaTokenizer in the vocabulary, got none; correct bos_token or "
        "tokenizer_class in tokenizer_config.json",
        spec->source, *bos));
}

}  // namespace

std::string rebuilding_class(const SettingsFile& config, const SettingsFile& model_config,
                             const PipelineSpec& spec) {
  static const std::set<std::string> kRebuilding = {"LlamaTokenizer", "CodeLlamaTokenizer", "GPT2Tokenizer",
                                                    "GPTNeoXTokenizer", "Qwen2Tokenizer"};
  std::string name, model_type;
  model_config.read("tokenizer_class", &name);
  model_config.read("model_type", &model_type);
  config.read("tokenizer_class", &name);
  if (name.ends_with("Fast")) name.resize(name.size() - 4);
  const std::string registered = registered_class(model_type);
  if (types_with_plain_tokenizer().contains(model_type)) return "";
  // The classes that files of Qwen 2 name are known to be wrong.
  if (name.empty() || model_type == "qwen2") name = registered;
  if (name == "LlamaTokenizer" && has_byte_level(spec)) return "";
  return kRebuilding.contains(name) ? name : "";
}

void set_class_steps(const std::string& name, const SettingsFile& config, PipelineSpec* spec) {
  PipelineSpec file;
  file.normalizers = spec->normalizers;
  file.pre_tokenizers = spec->pre_tokenizers;
  spec->normalizers.clear();
  spec->model.ignore_merges = false;
  spec->model.unk_token.reset();
  spec->has_decoder = true;
  if (name == "LlamaTokenizer" || name == "CodeLlamaTokenizer")
    set_llama_steps(name, config, spec);
  else
    set_byte_level_steps(name, config, spec);
  if (name != "LlamaTokenizer" && !have_same_rules(file, *spec))
    log_warning(fmt::format(
        "{}: splits texts by other rules than {}, whose own are taken, as transformers 5 does; name the file "
        "itself to get its rules",
        spec->source, name));
  if (name == "GPTNeoXTokenizer") spec->prefix_ids.clear();
  if (name == "CodeLlamaTokenizer") set_bos_template(config, spec);
  if (name == "GPTNeoXTokenizer" || name == "CodeLlamaTokenizer") spec->suffix_ids.clear();
}

std::map<std::string, std::string> class_tokens(const std::string& name) {
  const std::string end = "<|endoftext|>";
  if (name == "LlamaTokenizer" || name == "CodeLlamaTokenizer")
    return {{"bos_token", "<s>"}, {"eos_token", "</s>"}, {"unk_token", "<unk>"}};
  if (name == "GPT2Tokenizer") return {{"bos_token", end}, {"eos_token", end}, {"unk_token", end}};
  if (name == "GPTNeoXTokenizer")
    return {{"bos_token", end}, {"eos_token", end}, {"unk_token", end}, {"pad_token", "<|padding|>"}};
  if (name == "Qwen2Tokenizer") return {{"eos_token", end}, {"unk_token", end}, {"pad_token", end}};
  return {};
}

}  // namespace longlora::tokenizer
