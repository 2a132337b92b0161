// Reads the components of tokenizer.json, each of which is a JSON object with a "type".
#include <fmt/core.h>

#include <functional>
#include <utility>

#include "longlora/core/error.h"
#include "longlora/core/utf8.h"
#include "longlora/tokenizer/tokenizer_json.h"

namespace longlora::tokenizer::internal {

namespace {

constexpr int kMaxNesting = 16;  // of Sequence components in each other

// One component, whose errors name it and the file.
class Component {
 public:
  Component(const Json& json, std::string name, const std::string& source)
      : json_(json), name_(std::move(name)), source_(source) {
    if (!json.is_object()) throw wrong(name_, "an object", json);
  }

  std::string type() const { return text("type"); }
  const std::string& name() const { return name_; }

  std::string text(const std::string& key) const {
    const Json* value = find(key);
    if (value == nullptr || !value->is_string()) throw wrong(key, "a text", value);
    return value->get<std::string>();
  }
  bool flag(const std::string& key, bool otherwise) const {
    const Json* value = find(key);
    if (value == nullptr || value->is_null()) return otherwise;
    if (!value->is_boolean()) throw wrong(key, "true or false", *value);
    return value->get<bool>();
  }
  int64_t count(const std::string& key) const {
    const Json* value = find(key);
    if (value == nullptr || !value->is_number_integer() || value->get<int64_t>() < 0)
      throw wrong(key, "a number of at least 0", value);
    return value->get<int64_t>();
  }
  // Reads a value that is one character.
  std::string character(const std::string& key) const {
    std::string value = text(key);
    if (value.empty() || utf8_length(value, 0) != value.size())
      throw wrong(key, "one character", Json(value));
    return value;
  }
  PatternSpec pattern(const std::string& key) const {
    const Json* value = find(key);
    if (value != nullptr && value->is_string()) return {value->get<std::string>(), false};
    for (const bool is_regex : {false, true}) {
      const char* kind = is_regex ? "Regex" : "String";
      if (value != nullptr && value->is_object() && value->contains(kind) && (*value)[kind].is_string())
        return {(*value)[kind].get<std::string>(), is_regex};
    }
    throw wrong(key, "a String or a Regex", value);
  }
  const Json& list(const std::string& key) const {
    const Json* value = find(key);
    if (value == nullptr || !value->is_array()) throw wrong(key, "a list", value);
    return *value;
  }
  const Json* find(const std::string& key) const {
    const auto found = json_.find(key);
    return found == json_.end() ? nullptr : &*found;
  }

  InputError wrong(const std::string& key, const std::string& expected, const Json& got) const {
    std::string text = got.dump(-1, ' ', false, Json::error_handler_t::replace);
    if (text.size() > 80) text = text.substr(0, 80) + "…";
    return InputError(fmt::format("[{}] expected {} to be {}, got {}", source_,
                                  key == name_ ? name_ : name_ + "." + key, expected, text));
  }
  InputError wrong(const std::string& key, const std::string& expected, const Json* got) const {
    return got != nullptr ? wrong(key, expected, *got) : wrong(key, expected, Json());
  }
  InputError unsupported(const std::string& known) const {
    return InputError(fmt::format("[{}] expected a {} of a supported type ({}), got \"{}\"", source_, name_,
                                  known, type()));
  }

 private:
  const Json& json_;
  std::string name_;
  const std::string& source_;
};

// Visits the component, or where it is a Sequence, its components one after the other.
void for_each_step(const Json* json, const std::string& name, const std::string& list_key,
                   const std::string& source, int depth, const std::function<void(const Component&)>& visit) {
  if (json == nullptr || json->is_null()) return;
  const Component component(*json, name, source);
  if (component.type() != "Sequence") return visit(component);
  if (depth == kMaxNesting) {
    throw InputError(
        fmt::format("[{}] expected {} nested at most {} deep, got more", source, name, kMaxNesting));
  }
  for (const Json& each : component.list(list_key))
    for_each_step(&each, name, list_key, source, depth + 1, visit);
}

NormalizerStep read_normalizer(const Component& component) {
  using Kind = NormalizerStep::Kind;
  NormalizerStep step;
  const std::string type = component.type();
  if (type == "NFC") {
    step.kind = Kind::kNfc;
  } else if (type == "NFD") {
    step.kind = Kind::kNfd;
  } else if (type == "NFKC") {
    step.kind = Kind::kNfkc;
  } else if (type == "NFKD") {
    step.kind = Kind::kNfkd;
  } else if (type == "Lowercase") {
    step.kind = Kind::kLowercase;
  } else if (type == "Prepend") {
    step.kind = Kind::kPrepend;
    step.content = component.text("prepend");
  } else if (type == "Replace") {
    step.kind = Kind::kReplace;
    step.pattern = component.pattern("pattern");
    step.content = component.text("content");
  } else if (type == "Strip") {
    step.kind = Kind::kStrip;
    step.strip_left = component.flag("strip_left", true);
    step.strip_right = component.flag("strip_right", true);
  } else {
    throw component.unsupported("NFC, NFD, NFKC, NFKD, Lowercase, Prepend, Replace, Strip, Sequence");
  }
  return step;
}

SplitBehavior read_behavior(const Component& component) {
  const std::string name = component.text("behavior");
  if (name == "Removed") return SplitBehavior::kRemoved;
  if (name == "Isolated") return SplitBehavior::kIsolated;
  if (name == "MergedWithPrevious") return SplitBehavior::kMergedWithPrevious;
  if (name == "MergedWithNext") return SplitBehavior::kMergedWithNext;
  if (name == "Contiguous") return SplitBehavior::kContiguous;
  throw component.wrong("behavior", "Removed, Isolated, MergedWithPrevious, MergedWithNext or Contiguous",
                        Json(name));
}

// Reads prepend_scheme, in place of which older files have add_prefix_space.
PrependScheme read_prepend_scheme(const Component& component) {
  const bool add_prefix_space = component.flag("add_prefix_space", true);
  const Json* scheme = component.find("prepend_scheme");
  if (scheme == nullptr || scheme->is_null())
    return add_prefix_space ? PrependScheme::kAlways : PrependScheme::kNever;
  const std::string name = component.text("prepend_scheme");
  if (name == "always") return PrependScheme::kAlways;
  if (name == "first") return PrependScheme::kFirst;
  if (name == "never") return PrependScheme::kNever;
  throw component.wrong("prepend_scheme", "always, first or never", Json(name));
}

PreTokenizerStep read_pre_tokenizer(const Component& component) {
  using Kind = PreTokenizerStep::Kind;
  PreTokenizerStep step;
  const std::string type = component.type();
  if (type == "Split") {
    step.kind = Kind::kSplit;
    step.pattern = component.pattern("pattern");
    step.behavior = read_behavior(component);
    step.invert = component.flag("invert", false);
  } else if (type == "Digits") {
    step.kind = Kind::kDigits;
    step.individual_digits = component.flag("individual_digits", false);
  } else if (type == "Metaspace") {
    step.kind = Kind::kMetaspace;
    step.replacement = component.character("replacement");
    step.prepend = read_prepend_scheme(component);
    step.split = component.flag("split", true);
  } else if (type == "ByteLevel") {
    step.kind = Kind::kByteLevel;
    step.add_prefix_space = component.flag("add_prefix_space", true);
    step.use_regex = component.flag("use_regex", true);
  } else {
    throw component.unsupported("ByteLevel, Split, Digits, Metaspace, Sequence");
  }
  return step;
}

DecoderStep read_decoder(const Component& component) {
  using Kind = DecoderStep::Kind;
  DecoderStep step;
  const std::string type = component.type();
  if (type == "ByteLevel") {
    step.kind = Kind::kByteLevel;
  } else if (type == "ByteFallback") {
    step.kind = Kind::kByteFallback;
  } else if (type == "Fuse") {
    step.kind = Kind::kFuse;
  } else if (type == "Replace") {
    step.kind = Kind::kReplace;
    step.pattern = component.pattern("pattern");
    step.content = component.text("content");
  } else if (type == "Strip") {
    step.kind = Kind::kStrip;
    step.content = component.character("content");
    step.start = component.count("start");
    step.stop = component.count("stop");
  } else if (type == "Metaspace") {
    step.kind = Kind::kMetaspace;
    step.content = component.character("replacement");
    step.drops_first = read_prepend_scheme(component) != PrependScheme::kNever;
  } else {
    throw component.unsupported("ByteLevel, ByteFallback, Fuse, Replace, Strip, Metaspace, Sequence");
  }
  return step;
}

int32_t read_id(const Component& component, const std::string& key, const Json& json) {
  if (!json.is_number_integer() || json.get<int64_t>() < 0 || json.get<int64_t>() >= int64_t{1} << 24)
    throw component.wrong(key, "a list of ids", json);
  return json.get<int32_t>();
}

// The ids of a special token of a template.
std::vector<int32_t> read_template_token(const Component& component, const Json& part) {
  const Json* tokens = component.find("special_tokens");
  const std::string key = "special_tokens";
  if (!part.is_object() || !part.contains("id") || !part["id"].is_string())
    throw component.wrong("single", "a list of SpecialToken and Sequence", part);
  const auto name = part["id"].get<std::string>();
  if (tokens == nullptr || !tokens->is_object() || !tokens->contains(name))
    throw component.wrong(key, "an object with \"" + name + "\"", tokens);
  const Json& token = (*tokens)[name];
  if (!token.is_object() || !token.contains("ids") || !token["ids"].is_array())
    throw component.wrong(key, "an object with ids", token);
  std::vector<int32_t> ids;
  for (const Json& id : token["ids"]) ids.push_back(read_id(component, key, id));
  return ids;
}

void read_template(const Component& component, PipelineSpec* spec) {
  std::vector<int32_t> prefix, suffix;
  int num_sequences = 0;
  for (const Json& part : component.list("single")) {
    if (part.is_object() && part.contains("Sequence")) {
      ++num_sequences;
    } else if (part.is_object() && part.contains("SpecialToken")) {
      const std::vector<int32_t> ids = read_template_token(component, part["SpecialToken"]);
      std::vector<int32_t>& side = num_sequences == 0 ? prefix : suffix;
      side.insert(side.end(), ids.begin(), ids.end());
    } else {
      throw component.wrong("single", "a list of SpecialToken and Sequence", part);
    }
  }
  if (num_sequences != 1)
    throw component.wrong("single", "a list with one Sequence", component.list("single"));
  spec->prefix_ids.insert(spec->prefix_ids.begin(), prefix.begin(), prefix.end());
  spec->suffix_ids.insert(spec->suffix_ids.end(), suffix.begin(), suffix.end());
}

// Reads BertProcessing and RobertaProcessing, which put one token before the text and one behind it.
void read_pair_template(const Component& component, PipelineSpec* spec) {
  const auto id_of = [&](const std::string& key) {
    const Json& pair = component.list(key);
    if (pair.size() != 2) throw component.wrong(key, "a token and its id", pair);
    return read_id(component, key, pair[1]);
  };
  spec->prefix_ids.insert(spec->prefix_ids.begin(), id_of("cls"));
  spec->suffix_ids.push_back(id_of("sep"));
}

void read_post_processor(const Component& component, PipelineSpec* spec) {
  const std::string type = component.type();
  if (type == "TemplateProcessing") return read_template(component, spec);
  if (type == "BertProcessing" || type == "RobertaProcessing") return read_pair_template(component, spec);
  // A post-processor ByteLevel changes offsets only, not ids.
  if (type != "ByteLevel")
    throw component.unsupported("TemplateProcessing, ByteLevel, BertProcessing, RobertaProcessing, Sequence");
}

void read_added_tokens(const Json& list, PipelineSpec* spec) {
  if (!list.is_array())
    throw Component(list, "added_tokens", spec->source).wrong("added_tokens", "a list", list);
  for (const Json& json : list) {
    const Component component(json, "added_tokens", spec->source);
    AddedToken token;
    token.content = component.text("content");
    token.id = read_id(component, "id", component.find("id") != nullptr ? *component.find("id") : Json());
    token.special = component.flag("special", false);
    token.lstrip = component.flag("lstrip", false);
    token.rstrip = component.flag("rstrip", false);
    token.single_word = component.flag("single_word", false);
    token.normalized = component.flag("normalized", !token.special);
    spec->added_tokens.push_back(std::move(token));
  }
}

// Refuses a setting that would change the ids and is not supported.
void check_absent(const Component& component, const std::string& key) {
  const Json* value = component.find(key);
  const bool is_absent = value == nullptr || value->is_null() || *value == Json("") ||
                         (value->is_number() && value->get<double>() == 0);
  if (!is_absent) throw component.wrong(key, "null (anything else is not supported)", *value);
}

void read_model(const Json* json, PipelineSpec* spec) {
  const Json absent;
  const Component component(json != nullptr ? *json : absent, "model", spec->source);
  if (component.find("type") != nullptr && component.type() != "BPE") throw component.unsupported("BPE");
  for (const char* key : {"dropout", "continuing_subword_prefix", "end_of_word_suffix"})
    check_absent(component, key);
  const Json* unk_token = component.find("unk_token");
  if (unk_token != nullptr && !unk_token->is_null()) spec->model.unk_token = component.text("unk_token");
  spec->model.fuse_unk = component.flag("fuse_unk", false);
  spec->model.byte_fallback = component.flag("byte_fallback", false);
  spec->model.ignore_merges = component.flag("ignore_merges", false);
}

}  // namespace

void read_pipeline(const Json& json, PipelineSpec* spec) {
  const std::string& source = spec->source;
  const Component file(json, "the file", source);
  read_model(file.find("model"), spec);
  for_each_step(file.find("normalizer"), "normalizer", "normalizers", source, 0,
                [&](const Component& component) { spec->normalizers.push_back(read_normalizer(component)); });
  for_each_step(
      file.find("pre_tokenizer"), "pre_tokenizer", "pretokenizers", source, 0,
      [&](const Component& component) { spec->pre_tokenizers.push_back(read_pre_tokenizer(component)); });
  for_each_step(file.find("post_processor"), "post_processor", "processors", source, 0,
                [&](const Component& component) { read_post_processor(component, spec); });
  for_each_step(file.find("decoder"), "decoder", "decoders", source, 0,
                [&](const Component& component) { spec->decoders.push_back(read_decoder(component)); });
  const Json* decoder = file.find("decoder");
  spec->has_decoder = decoder != nullptr && !decoder->is_null();
  const Json* added_tokens = file.find("added_tokens");
  if (added_tokens != nullptr && !added_tokens->is_null()) read_added_tokens(*added_tokens, spec);
}

}  // namespace longlora::tokenizer::internal
