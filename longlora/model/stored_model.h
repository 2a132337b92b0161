// A model's directory as one thing: what config.json says and what the weight files hold.
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

/// Opens both and settles whether the head is the embedding, as transformers does. Where config.json says so,
/// it is so if the files hold one of the two, which then goes by both names, or hold both and they are equal;
/// if they differ, the head is one of its own and config.tie_word_embeddings becomes false. Throws
/// InputError as read_model_config, TensorStore::open_model_directory and refuse_low_rank_pairs.
StoredModel open_stored_model(const std::filesystem::path& directory);

/// Whether the files hold a head whose values differ from the embedding's.
bool has_own_head(const checkpoint::TensorStore& weights, const Family& family);

/// Throws InputError for a model whose head is its own and missing, with the way out.
void require_head(const StoredModel& model, const std::filesystem::path& directory);

/// What config.json said of the head, whatever the weights have settled.
bool says_tied(const ModelConfig& config);

/// Logs a line where the files of `directory` hold a head that config.json does not tell of.
void warn_about_own_head(const ModelConfig& config, const std::filesystem::path& directory);

}  // namespace longlora::model
