#include "longlora/model/stored_model.h"

#include <fmt/format.h>

#include "longlora/core/error.h"
#include "longlora/core/file.h"
#include "longlora/core/foreign_content.h"
#include "longlora/core/log.h"
#include "longlora/gguf/gguf_model.h"
#include "longlora/model/family.h"
#include "longlora/model/load.h"

namespace longlora::model {

namespace fs = std::filesystem;

namespace {

void require_directory(const fs::path& directory) {
  if (fs::is_directory(directory) || gguf::find_model(directory)) return;
  std::string found = "nothing there; correct the path";
  if (fs::exists(directory)) found = "a file; name the folder that it lies in";
  if (fs::is_regular_file(directory))
    if (const std::string other = foreign_content(MappedFile(directory).text()); !other.empty())
      found = other;
  throw InputError(fmt::format("[{}] expected a Hugging Face model directory or a GGUF file, got {}",
                               directory.string(), found));
}

// The names that embedding and head have in the files.
struct TiedNames {
  std::string embedding, head;

  explicit TiedNames(const Family& family)
      : embedding(fmt::format("{}.weight", family.names.embed_tokens)),
        head(fmt::format("{}.weight", family.names.lm_head)) {}
};

}  // namespace

bool has_own_head(const checkpoint::TensorStore& weights, const Family& family) {
  const TiedNames names(family);
  return weights.contains(names.embedding) && weights.contains(names.head) &&
         !checkpoint::TensorStore::are_equal(weights, names.embedding, weights, names.head);
}

StoredModel open_stored_model(const fs::path& directory) {
  require_directory(directory);
  StoredModel model = {directory, read_model_config(directory),
                       checkpoint::TensorStore::open_model_directory(directory)};
  ModelConfig& config = model.config;
  checkpoint::TensorStore& weights = model.weights;
  refuse_low_rank_pairs(weights, directory);
  if (!config.tie_word_embeddings) return model;
  const TiedNames names(config.family());
  if (has_own_head(weights, config.family()))
    config.tie_word_embeddings = false;
  else if (weights.contains(names.embedding))
    weights.add_alias(names.head, names.embedding);
  else if (weights.contains(names.head))
    weights.add_alias(names.embedding, names.head);
  return model;
}

bool says_tied(const ModelConfig& config) {
  return config.tie_word_embeddings ||
         (config.raw.is_object() && config.raw.value("tie_word_embeddings", Json()) == Json(true));
}

void require_head(const StoredModel& model, const fs::path& directory) {
  const std::string head = fmt::format("{}.weight", model.config.family().names.lm_head);
  if (!model.config.tie_word_embeddings && !model.weights.contains(head))
    throw InputError(fmt::format(
        "[{}] expected {}, because config.json does not set tie_word_embeddings, got no such tensor; "
        "set it to true there if the head of this model is its embedding",
        directory.string(), head));
}

void warn_about_own_head(const ModelConfig& config, const fs::path& directory) {
  if (config.tie_word_embeddings || !says_tied(config)) return;
  log_warning(fmt::format(
      "{}: config.json ties the head to the embedding, but {}.weight differs from it in the files: "
      "the head is used as it is there",
      directory.string(), config.family().names.lm_head));
}

}  // namespace longlora::model
