// An opened model directory: what its config.json says, and its weight files.
#pragma once

#include <filesystem>

#include "longlora/checkpoint/tensor_store.h"
#include "longlora/model/config.h"
#include "longlora/model/family.h"

namespace longlora::model {

struct StoredModel {
  std::filesystem::path directory;
  ModelConfig config;
  checkpoint::TensorStore weights;
};

/// Opens config.json and the weights, and settles as transformers does whether head and embedding are one
/// weight. Where config.json says that they are, they are one if the files hold only one of them, which then
/// has both names, or hold both with equal values. If the values differ, the head is a weight of its own and
/// config.tie_word_embeddings becomes false. Throws InputError as read_model_config,
/// TensorStore::open_model_directory and refuse_low_rank_pairs do.
StoredModel open_stored_model(const std::filesystem::path& directory);

/// Whether the files hold a head whose values differ from the embedding's.
bool has_own_head(const checkpoint::TensorStore& weights, const Family& family);

/// Throws InputError where a model's head is not the embedding and is missing from the files. The message
/// says what to do.
void require_head(const StoredModel& model, const std::filesystem::path& directory);

/// Whether config.json says that the head is the embedding, whatever the weights showed.
bool says_tied(const ModelConfig& config);

/// Logs a line where the files of `directory` hold a head of its own although config.json says that it is the
/// embedding.
void warn_about_own_head(const ModelConfig& config, const std::filesystem::path& directory);

}  // namespace longlora::model
