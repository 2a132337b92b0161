#include "longlora/tokenizer/tokenizer_folder.h"

#include <algorithm>
#include <array>
#include <set>
#include <utility>

#include "longlora/core/json.h"
#include "longlora/tokenizer/settings_file.h"
#include "longlora/tokenizer/tokenizer_json.h"

namespace longlora::tokenizer {

namespace fs = std::filesystem;

namespace {

const std::string kSpaceMark = "\xE2\x96\x81";  // U+2581, a space inside pieces

// Model types for which transformers 5 takes tokenizer.json as it is, whatever class is named.
const std::set<std::string>& types_with_plain_tokenizer() {
  static const std::set<std::string> kTypes = {
      "ministral", "ministral3", "mistral",   "mistral3", "mistral_large4", "mixtral",  "pixtral",  "voxtral",
      "granite",   "internlm2",  "internlm3", "llava",    "llava_next",     "minicpm3", "nemotron", "olmo2",
      "olmo3",     "persimmon",  "phi3",      "phimoe",   "qwen2",          "stablelm"};
  return kTypes;
}

std::string without_suffix(std::string name, const std::string& suffix) {
  if (name.ends_with(suffix)) name.resize(name.size() - suffix.size());
  return name;
}

// Whether transformers 5 would build its LlamaTokenizer from vocabulary and merges alone.
bool is_llama_class(const SettingsFile& config, const SettingsFile& model_config, const PipelineSpec& spec) {
  std::string name, model_type;
  model_config.read("tokenizer_class", &name);
  model_config.read("model_type", &model_type);
  config.read("tokenizer_class", &name);
  const auto is_byte_level = [](const auto& step) { return step.kind == decltype(step.kind)::kByteLevel; };
  return without_suffix(name, "Fast") == "LlamaTokenizer" &&
         !types_with_plain_tokenizer().contains(model_type) &&
         std::none_of(spec.pre_tokenizers.begin(), spec.pre_tokenizers.end(), is_byte_level) &&
         std::none_of(spec.decoders.begin(), spec.decoders.end(), is_byte_level);
}

void set_llama_steps(const SettingsFile& config, PipelineSpec* spec) {
  bool legacy = false, add_prefix_space = true;
  config.read("legacy", &legacy);
  config.read("add_prefix_space", &add_prefix_space);
  spec->normalizers.clear();
  PreTokenizerStep metaspace;
  metaspace.kind = PreTokenizerStep::Kind::kMetaspace;
  metaspace.replacement = kSpaceMark;
  metaspace.split = false;
  metaspace.prepend = PrependScheme::kNever;
  if (add_prefix_space) metaspace.prepend = legacy ? PrependScheme::kAlways : PrependScheme::kFirst;
  spec->pre_tokenizers = {metaspace};
  spec->model.fuse_unk = true;
  spec->model.byte_fallback = true;
  spec->model.ignore_merges = false;
  spec->model.unk_token.reset();
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
  if (add_prefix_space) spec->decoders.push_back(strip);
  spec->has_decoder = true;
}

AddedToken* find_added(const std::string& content, PipelineSpec* spec) {
  const auto found = std::find_if(spec->added_tokens.begin(), spec->added_tokens.end(),
                                  [&](const AddedToken& token) { return token.content == content; });
  return found == spec->added_tokens.end() ? nullptr : &*found;
}

// Tokens of added_tokens_decoder, in the order of their ids: the flags of known ones hold, others are added.
void add_listed_tokens(std::vector<AddedToken> tokens, PipelineSpec* spec) {
  std::stable_sort(tokens.begin(), tokens.end(),
                   [](const AddedToken& a, const AddedToken& b) { return a.id < b.id; });
  for (AddedToken& token : tokens) {
    AddedToken* known = find_added(token.content, spec);
    if (known == nullptr) {
      spec->added_tokens.push_back(std::move(token));
      continue;
    }
    known->lstrip = token.lstrip;
    known->rstrip = token.rstrip;
    known->single_word = token.single_word;
    known->special = known->special || token.special;
  }
}

// Older folders: ids by token; special are those that the settings name.
std::vector<AddedToken> read_old_added_tokens(const fs::path& folder, const std::vector<std::string>& names) {
  const SettingsFile file(folder / "added_tokens.json");
  std::vector<AddedToken> tokens;
  for (const auto& [content, id] : file.json().items()) {
    if (content.empty()) throw file.wrong_type("a token", "a text", Json(content));
    AddedToken token;
    token.content = content;
    token.id = file.checked_id(content, id);
    token.special = std::find(names.begin(), names.end(), content) != names.end();
    token.normalized = !token.special;
    tokens.push_back(std::move(token));
  }
  return tokens;
}

void add_named_tokens(const std::vector<std::string>& names, PipelineSpec* spec) {
  for (const std::string& name : names) {
    AddedToken* known = find_added(name, spec);
    if (known != nullptr) {
      known->special = true;
      continue;
    }
    AddedToken token;
    token.content = name;
    token.special = true;
    spec->added_tokens.push_back(std::move(token));
  }
}

std::vector<std::string> read_names(const SettingsFile& file) {
  std::vector<std::string> names;
  for (const char* key :
       {"bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"}) {
    std::optional<std::string> token;
    file.read(key, &token);
    if (token) names.push_back(*token);
  }
  for (const char* key : {"additional_special_tokens", "extra_special_tokens"}) {
    const Json* list = file.find(key);
    if (list != nullptr && list->is_array()) file.read(key, &names);
  }
  return names;
}

void guess_ends(PipelineSpec* spec) {
  constexpr std::array kEndNames = {"</s>", "<|end_of_text|>", "<|endoftext|>", "<eos>", "<|im_end|>"};
  if (!spec->bos_token && !spec->prefix_ids.empty()) {
    for (const AddedToken& token : spec->added_tokens) {
      if (token.id == spec->prefix_ids.front()) spec->bos_token = token.content;
    }
  }
  for (const char* name : kEndNames) {
    if (spec->eos_token) return;
    const AddedToken* token = find_added(name, spec);
    if (token != nullptr && token->special) spec->eos_token = name;
  }
}

}  // namespace

void read_named_ends(const fs::path& folder, PipelineSpec* spec) {
  for (const char* name : {"special_tokens_map.json", "tokenizer_config.json"}) {
    const SettingsFile file(folder / name);
    file.read("bos_token", &spec->bos_token);
    file.read("eos_token", &spec->eos_token);
  }
  guess_ends(spec);
}

PipelineSpec read_tokenizer_folder(const fs::path& folder, const std::string& content) {
  PipelineSpec spec = parse_tokenizer_json(content, (folder / "tokenizer.json").string());
  const SettingsFile config(folder / "tokenizer_config.json");
  const bool is_llama = is_llama_class(config, SettingsFile(folder / "config.json"), spec);
  auto listed = config.read_added_tokens();
  if (is_llama) {
    set_llama_steps(config, &spec);
    if (listed) spec.added_tokens.clear();
  }
  std::vector<std::string> names = read_names(config);
  if (listed) {
    add_listed_tokens(std::move(*listed), &spec);
  } else {
    const std::vector<std::string> old_names = read_names(SettingsFile(folder / "special_tokens_map.json"));
    names.insert(names.end(), old_names.begin(), old_names.end());
    add_listed_tokens(read_old_added_tokens(folder, names), &spec);
  }
  if (is_llama) {
    constexpr std::array kDefaults = {std::pair("eos_token", "</s>"), std::pair("bos_token", "<s>"),
                                      std::pair("unk_token", "<unk>")};
    for (const auto& entry : kDefaults) {
      if (config.find(entry.first) == nullptr) names.insert(names.begin(), entry.second);
    }
  }
  add_named_tokens(names, &spec);
  read_named_ends(folder, &spec);
  return spec;
}

}  // namespace longlora::tokenizer
