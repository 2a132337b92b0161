#include <fmt/format.h>

#include "longlora/checkpoint/gguf_checkpoint.h"
#include "longlora/checkpoint/meta_checkpoint.h"
#include "longlora/core/error.h"
#include "longlora/core/log.h"
#include "longlora/model/config.h"

namespace longlora::model {

ModelConfig read_model_config(const std::filesystem::path& path) {
  const bool is_directory = std::filesystem::is_directory(path);
  if (is_directory && checkpoint::MetaCheckpoint::is_in(path))
    return parse_model_config(checkpoint::MetaCheckpoint::open(path).config(),
                              (path / "params.json").string());
  if (gguf::find_model(path))
    return parse_model_config(checkpoint::GgufCheckpoint::open(path).config(), path.string());
  const std::filesystem::path file = is_directory ? path / "config.json" : path;
  std::error_code ignored;
  if (is_directory && !std::filesystem::exists(file, ignored) &&
      std::filesystem::exists(path / "adapter_config.json", ignored))
    throw InputError(
        fmt::format("[{}] expected a model (config.json), got an adapter; give it with --peft_model, and the "
                    "model that it was "
                    "made for as the base",
                    path.string()));
  const ModelConfig config = parse_model_config(read_json(file), file.string());
  for (const std::string& remark : config.remarks) log_warning_once("config.json: " + remark);
  return config;
}

}  // namespace longlora::model
