#include "longlora/checkpoint/meta_checkpoint.h"
#include "longlora/model/config.h"

namespace longlora::model {

ModelConfig read_model_config(const std::filesystem::path& path) {
  const bool is_directory = std::filesystem::is_directory(path);
  if (is_directory && checkpoint::MetaCheckpoint::is_in(path))
    return parse_model_config(checkpoint::MetaCheckpoint::open(path).config(),
                              (path / "params.json").string());
  const std::filesystem::path file = is_directory ? path / "config.json" : path;
  return parse_model_config(read_json(file), file.string());
}

}  // namespace longlora::model
