#include "longlora/tokenizer/tokenizer_folder.h"

#include <algorithm>
#include <array>
#include <map>
#include <utility>

#include "longlora/core/json.h"
#include "longlora/tokenizer/settings_file.h"
#include "longlora/tokenizer/tokenizer_classes.h"
#include "longlora/tokenizer/tokenizer_json.h"

namespace longlora::tokenizer {

namespace fs = std::filesystem;

namespace {

AddedToken* find_added(const std::string& content, PipelineSpec* spec) {
  const auto found = std::find_if(spec->added_tokens.begin(), spec->added_tokens.end(),
                                  [&](const AddedToken& token) { return token.content == content; });
  return found == spec->added_tokens.end() ? nullptr : &*found;
}

// Adds the tokens of added_tokens_decoder in the order of their ids. The flags of a token that is known
// already are replaced.
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
std::vector<AddedToken> read_old_added_tokens(const fs::path& folder, const std::vector<AddedToken>& named) {
  const SettingsFile file(folder / "added_tokens.json");
  std::vector<AddedToken> tokens;
  for (const auto& [content, id] : file.json().items()) {
    if (content.empty()) throw file.wrong_type("a token", "a text", Json(content));
    AddedToken token;
    token.content = content;
    token.id = file.checked_id(content, id);
    token.special = std::any_of(named.begin(), named.end(),
                                [&](const AddedToken& each) { return each.content == token.content; });
    token.normalized = !token.special;
    tokens.push_back(std::move(token));
  }
  return tokens;
}

void add_named_tokens(const std::vector<AddedToken>& named, PipelineSpec* spec) {
  for (const AddedToken& token : named) {
    AddedToken* known = find_added(token.content, spec);
    if (known == nullptr)
      spec->added_tokens.push_back(token);
    else
      known->special = true;
  }
}

// A special token as settings write it: its text, or an object with flags.
AddedToken read_named_token(const SettingsFile& file, const std::string& key, const Json& json) {
  AddedToken token;
  token.content = file.token_content(key, json);
  token.special = true;
  if (!json.is_object()) return token;
  const auto flag = [&](const char* name, bool otherwise) {
    return json.contains(name) && json[name].is_boolean() ? json[name].get<bool>() : otherwise;
  };
  token.lstrip = flag("lstrip", false);
  token.rstrip = flag("rstrip", false);
  token.single_word = flag("single_word", false);
  token.normalized = flag("normalized", json.contains("__type") && !flag("special", false));
  return token;
}

// The special tokens that a file names; `defaults` for keys that it does not have.
std::vector<AddedToken> read_named_tokens(const SettingsFile& file,
                                          const std::map<std::string, std::string>& defaults) {
  std::vector<AddedToken> named;
  for (const char* key :
       {"bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"}) {
    const Json* json = file.find(key);
    const auto otherwise = defaults.find(key);
    if (json != nullptr && !json->is_null()) named.push_back(read_named_token(file, key, *json));
    if (json == nullptr && otherwise != defaults.end())
      named.push_back(read_named_token(file, key, Json(otherwise->second)));
  }
  for (const char* key : {"additional_special_tokens", "extra_special_tokens"}) {
    const Json* tokens = file.find(key);
    if (tokens == nullptr || !tokens->is_structured()) continue;
    for (const Json& token : *tokens) named.push_back(read_named_token(file, key, token));
  }
  return named;
}

void guess_ends(PipelineSpec* spec) {
  constexpr std::array kEndNames = {"</s>", "<|end_of_text|>", "<|endoftext|>", "<eos>", "<|im_end|>"};
  if (!spec->bos_token && !spec->prefix_ids.empty()) {
    for (const AddedToken& token : spec->added_tokens)
      if (token.id == spec->prefix_ids.front()) spec->bos_token = token.content;
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
  config.read("split_special_tokens", &spec.split_special_tokens);
  const std::string rebuilt = rebuilding_class(config, SettingsFile(folder / "config.json"), spec);
  auto listed = config.read_added_tokens();
  if (!rebuilt.empty()) {
    set_class_steps(rebuilt, config, &spec);
    if (listed) spec.added_tokens.clear();
  }
  std::vector<AddedToken> named = read_named_tokens(config, class_tokens(rebuilt));
  if (listed) {
    add_listed_tokens(std::move(*listed), &spec);
  } else {
    for (AddedToken& token : read_named_tokens(SettingsFile(folder / "special_tokens_map.json"), {}))
      named.push_back(std::move(token));
    add_listed_tokens(read_old_added_tokens(folder, named), &spec);
  }
  if (rebuilt == "CodeLlamaTokenizer")
    for (const char* part : {"<PRE>", "<MID>", "<SUF>", "<EOT>"})
      named.push_back({.content = std::string("\xE2\x96\x81") + part, .special = true});
  if (rebuilt == "CodeLlamaTokenizer") named.push_back({.content = "<FILL_ME>", .special = true});
  add_named_tokens(named, &spec);
  read_named_ends(folder, &spec);
  return spec;
}

}  // namespace longlora::tokenizer
