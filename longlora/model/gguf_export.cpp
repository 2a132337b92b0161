#include "longlora/model/gguf_export.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <set>

#include "longlora/checkpoint/gguf_weights.h"
#include "longlora/core/error.h"
#include "longlora/core/json.h"
#include "longlora/core/log.h"
#include "longlora/model/gguf_settings.h"
#include "longlora/model/load.h"
#include "longlora/tokenizer/chat_template.h"
#include "longlora/tokenizer/gguf_vocabulary.h"
#include "longlora/tokenizer/taught_form.h"
#include "longlora/tokenizer/tokenizer.h"

namespace longlora::model {
namespace {

namespace fs = std::filesystem;
using checkpoint::GgufWeight;
using checkpoint::TensorSpec;
using gguf::BlockType;

// Pairs the parameters of the model with what there is of weights.
class Weights {
 public:
  Weights(const ModelConfig& config, const GgufSettings& settings, const GgufSource& source, std::string file)
      : config_(config), settings_(settings), file_(std::move(file)) {
    for (const TensorSpec& spec : source.specs) specs_.emplace(spec.name, spec);
  }

  // That of the embedding, as a type of GGUF.
  BlockType natural_type() {
    switch (find(embedding_name(config_)).dtype) {
      case at::kFloat:
        return BlockType::kF32;
      case at::kHalf:
        return BlockType::kF16;
      default:
        return BlockType::kBF16;
    }
  }

  std::vector<GgufWeight> list(BlockType type) {
    std::vector<GgufWeight> weights;
    for (const auto& [name, factors] : settings_.factors)
      weights.push_back({.layout = {name, BlockType::kF32, {static_cast<int64_t>(factors.size())}},
                         .spec = {name, at::kFloat, {static_cast<int64_t>(factors.size())}}});
    const Decoder shape = shape_decoder(config_, at::kFloat);
    visit_parameters(shape, [&](const std::string& name, const Parameter& parameter) {
      add(name, name, parameter.value.sizes().vec(), type, weights);
    });
    // These have no tensor in common with the embedding in llama.cpp.
    const std::string architecture = settings_.architecture->name;
    if (is_tied() && (architecture == "gptneox" || architecture == "stablelm"))
      add(head_name(config_), embedding_name(config_), {config_.vocab_size, config_.hidden_size}, type,
          weights);
    refuse_strangers();
    return weights;
  }

 private:
  bool is_tied() const { return config_.tie_word_embeddings; }

  // A model that was saved without its head has no first part ("model.") in its names.
  const TensorSpec& find(const std::string& name) {
    for (const std::string& known : {name, name.substr(name.find('.') + 1)})
      if (const auto found = specs_.find(known); found != specs_.end()) {
        used_.insert(known);
        return found->second;
      }
    throw InputError(fmt::format("[{}] expected the weight {} of the model, got none", file_, name));
  }

  // `name` is the one that the model gives to the parameter, `stored` that of its values.
  void add(const std::string& name, const std::string& stored, const std::vector<int64_t>& shape,
           BlockType type, std::vector<GgufWeight>& weights) {
    TensorSpec spec = find(stored);
    if (spec.shape != shape || !at::isFloatingType(spec.dtype))
      throw InputError(
          fmt::format("[{}] expected numbers of the shape that config.json gives to {}, got another; a "
                      "quantised model has to be given as what it was made from",
                      file_, spec.name));
    spec.dtype = at::kFloat;
    const checkpoint::GgufArchitecture& architecture = *settings_.architecture;
    const auto known = checkpoint::gguf_name(architecture, name);
    if (!known)
      throw InputError(fmt::format("[{}] expected the weights of a {} of llama.cpp, got {} too", file_,
                                   architecture.name, name));
    const bool is_head = name == head_name(config_) || (is_tied() && name == embedding_name(config_));
    const checkpoint::GgufHeads heads = {config_.num_attention_heads, config_.num_key_value_heads};
    weights.push_back({.layout = {*known, checkpoint::gguf_weight_type(type, shape, is_head), shape},
                       .spec = std::move(spec),
                       .swap = checkpoint::gguf_row_swap(architecture, heads, *known, shape.front(), file_)});
  }

  // Of the weights that nobody asked for, those that hold something that was learned.
  void refuse_strangers() const {
    const std::vector<std::string>& ignored = config_.family().ignored_tensors;
    for (const auto& [name, spec] : specs_) {
      const bool is_derived = name.ends_with("rotary_emb.inv_freq") ||
                              std::any_of(ignored.begin(), ignored.end(),
                                          [&, &name = name](const auto& end) { return name.ends_with(end); });
      if (used_.contains(name) || is_derived || (is_tied() && name == head_name(config_))) continue;
      throw InputError(
          fmt::format("[{}] expected the weights of a {}, got {} too, which GGUF has no place for", file_,
                      config_.architecture, name));
    }
  }

  const ModelConfig& config_;
  const GgufSettings& settings_;
  std::string file_;
  std::map<std::string, TensorSpec> specs_;
  std::set<std::string> used_;
};

// The number that llama.cpp gives to files of a type.
int64_t file_type(BlockType type) {
  switch (type) {
    case BlockType::kF32:
      return 0;
    case BlockType::kF16:
      return 1;
    case BlockType::kQ4_0:
      return 2;
    case BlockType::kQ4_1:
      return 3;
    case BlockType::kQ8_0:
      return 7;
    default:
      return 32;  // BF16
  }
}

// The ids that end a text: those of generation_config.json, then those of config.json.
std::vector<int64_t> end_ids(const fs::path& folder) {
  std::vector<int64_t> ids;
  for (const char* name : {"generation_config.json", "config.json"}) {
    if (!fs::exists(folder / name)) continue;
    const Json json = read_json(folder / name);
    const Json value = json.is_object() ? json.value("eos_token_id", Json()) : Json();
    for (const Json& id : value.is_array() ? value : Json::array({value}))
      if (id.is_number_integer() && std::find(ids.begin(), ids.end(), id.get<int64_t>()) == ids.end())
        ids.push_back(id.get<int64_t>());
  }
  return ids;
}

void add_text_settings(const fs::path& folder, const fs::path& file, int64_t vocab_size,
                       gguf::MetadataWriter& values) {
  if (!tokenizer::has_tokenizer(folder)) {
    log_warning(fmt::format(
        "{}: there is no tokenizer beside the model, so the file has none: it can be run with ids alone",
        file.string()));
    values.add_text("tokenizer.ggml.model", "no_vocab");
    return;
  }
  tokenizer::add_gguf_tokenizer(folder, {.vocab_size = vocab_size, .end_ids = end_ids(folder)}, values);
  const std::string chat_template = tokenizer::read_chat_template(folder);
  if (!chat_template.empty()) values.add_text("tokenizer.chat_template", chat_template);
  if (tokenizer::read_taught_form(folder))
    log_info(fmt::format("{}: the prompt form that was taught ({}) has no place in GGUF: ask in that form",
                         file.string(), tokenizer::kTaughtFormFile));
}

}  // namespace

BlockType write_gguf(const fs::path& file, const GgufSource& source, std::optional<BlockType> type) {
  const ModelConfig config = read_model_config(source.folder);
  GgufSettings settings = gguf_settings(config, file.string());
  Weights weights(config, settings, source, file.string());
  const BlockType chosen = type ? *type : weights.natural_type();
  const std::vector<GgufWeight> list = weights.list(chosen);
  gguf::MetadataWriter& values = settings.values;
  values.add_text("general.name", file.stem().string());
  values.add_size("general.file_type", file_type(chosen));
  values.add_size("general.quantization_version", 2);
  add_text_settings(source.folder, file, config.vocab_size, values);
  checkpoint::write_gguf_weights(file, values, list, [&](const TensorSpec& spec) {
    for (const auto& [name, factors] : settings.factors)
      if (name == spec.name) return at::tensor(factors);
    return source.tensors(spec);
  });
  return chosen;
}

}  // namespace longlora::model
