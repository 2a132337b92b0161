#include "longlora/checkpoint/gguf_checkpoint.h"

#include <fmt/format.h>

#include <functional>
#include <numeric>

#include "longlora/checkpoint/bytes.h"
#include "longlora/checkpoint/gguf_architecture.h"
#include "longlora/checkpoint/gguf_config.h"
#include "longlora/core/error.h"
#include "longlora/tensors/dtypes.h"

namespace longlora::checkpoint {
namespace {

namespace fs = std::filesystem;

// That of the plain types; of quantised ones a dtype that loses little of them.
at::ScalarType natural_dtype(gguf::BlockType type) {
  switch (type) {
    case gguf::BlockType::kF32:
      return at::kFloat;
    case gguf::BlockType::kF16:
      return at::kHalf;
    default:
      return at::kBFloat16;
  }
}

TensorInfo tensor_info(const gguf::TensorEntry& entry, size_t file_index) {
  TensorInfo info{natural_dtype(entry.type), entry.shape, file_index, entry.offset_bytes, 0};
  const auto elements =
      std::accumulate(entry.shape.begin(), entry.shape.end(), uint64_t{1}, std::multiplies<>());
  info.num_bytes = elements * tensors::element_bytes(info.dtype);
  if (gguf::is_quantised(entry.type)) info.blocks = entry.type;
  return info;
}

// The tensors under the names of the files.
TensorStore store_of(const gguf::GgufModel& model) {
  std::map<std::string, TensorInfo> tensors;
  for (size_t file = 0; file < model.tensors().size(); ++file)
    for (const gguf::TensorEntry& entry : model.tensors()[file])
      if (!tensors.emplace(entry.name, tensor_info(entry, file)).second)
        throw InputError(fmt::format("[{}] expected tensor \"{}\" in one part, got it in two",
                                     model.files()[file]->path().string(), shown_text(entry.name)));
  return TensorStore::of_files(model.files(), std::move(tensors));
}

// bfloat16 where a matrix is quantised; else the widest dtype of the matrices, for vectors are in float32
// always.
at::ScalarType choose_dtype(const TensorStore& stored) {
  std::optional<at::ScalarType> widest;
  for (const auto& [name, info] : stored.tensors()) {
    if (info.shape.size() < 2) continue;
    if (info.blocks) return at::kBFloat16;
    widest = widest ? at::promote_types(*widest, info.dtype) : info.dtype;
  }
  return widest.value_or(at::kFloat);
}

}  // namespace

GgufCheckpoint GgufCheckpoint::open(const fs::path& path) {
  const std::optional<fs::path> file = gguf::find_model(path);
  if (!file)
    throw InputError(
        fmt::format("[{}] expected a GGUF file, or a folder with one, got neither", path.string()));
  GgufCheckpoint checkpoint(gguf::GgufModel::open(*file));
  const gguf::Metadata& metadata = checkpoint.metadata();
  const std::string& source = metadata.source();
  const GgufArchitecture& architecture = read_gguf_architecture(metadata);
  const GgufHeads heads = read_gguf_heads(metadata, architecture);
  const TensorStore stored = store_of(checkpoint.model_);
  std::vector<JoinedTensor> tensors;
  for (const auto& [name, info] : stored.tensors()) {
    if (is_rotary_factors(name)) continue;
    const std::optional<std::string> known = hugging_face_name(architecture, name);
    if (!known)
      throw InputError(fmt::format(
          "[{}] expected the tensors of a {}, got \"{}\" too, which would change what is computed", source,
          architecture.name, shown_text(name)));
    tensors.push_back({.name = *known,
                       .shape = info.shape,
                       .piece_name = name,
                       .swap = gguf_row_swap(architecture, heads, name, info.shape.front(), source)});
  }
  checkpoint.weights_ = TensorStore::join({stored}, tensors);
  checkpoint.dtype_ = choose_dtype(stored);
  checkpoint.config_ = gguf_config(metadata, architecture, stored, checkpoint.dtype_);
  return checkpoint;
}

Json GgufCheckpoint::generation_config() const {
  return gguf_generation_config(metadata());
}

}  // namespace longlora::checkpoint
