// Reads decoders from Hugging Face directories and writes them there.
#pragma once

#include <filesystem>
#include <functional>
#include <optional>
#include <set>
#include <string>

#include "longlora/checkpoint/tensor_store.h"
#include "longlora/model/decoder.h"

namespace longlora::model {

struct StoredModel;

/// How a model is held. By default all of it is in memory, as its files have it.
struct LoadOptions {
  /// The names of weights that are checked but not loaded. A forward::LayerSource has to bring them.
  std::set<std::string> left_in_files = {};
  /// Where set, the linear layers of the blocks are put into four bits, one after another, as they are read.
  /// A model whose files are in four bits already stays as it is.
  std::optional<ops::Nf4Options> quantize = {};
  /// The device on which the parameters are.
  at::Device device = at::kCPU;
};

/// Throws InputError for the weights of a training checkpoint in which low-rank pairs stand beside the base's
/// weights, because without the pairs it would be another model.
void refuse_low_rank_pairs(const checkpoint::TensorStore& store, const std::filesystem::path& directory);

/// Reads config.json and the weights of a directory, which may have Meta's layout, or
/// of a GGUF file. All parameters are frozen.
/// They are in `dtype` (float32 or bfloat16) whatever dtype the files hold, except weights that the files
/// hold in four bits, as bitsandbytes stores them. Each weight goes from its mapped file straight to the
/// device. Throws InputError for missing files or tensors, shapes that contradict config.json, and
/// architectures that are not supported.
Decoder load_decoder(const std::filesystem::path& directory, at::ScalarType dtype,
                     const LoadOptions& options = {});
/// As above, for a model that is open already.
Decoder load_decoder(const StoredModel& stored, at::ScalarType dtype, const LoadOptions& options = {});

/// Makes a decoder of the shape of `config` with random weights from normal(0, initializer_range). Norms are
/// 1 and biases 0. The result depends on the arguments alone. Throws InputError for mimetic attention in
/// families with fused projections.
Decoder random_decoder(const ModelConfig& config, at::ScalarType dtype, uint64_t seed,
                       AttentionInit attention_init = AttentionInit::kNormal);

/// Moves every parameter to `device`. None may be trainable yet.
void move_decoder(Decoder& decoder, at::Device device);

/// Makes a decoder of the shape of `config` whose tensors are on the meta device, have no values and take no
/// memory. Linear layers are in four bits where config.quantization says so.
Decoder shape_decoder(const ModelConfig& config, at::ScalarType dtype);

/// A function that returns the value of a parameter at the precision of training, which keeps it in float32.
/// An empty function means the decoder's own values.
using PreciseValue = std::function<at::Tensor(const Parameter&)>;

/// Returns the weights in `dtype` under their Hugging Face names, without low-rank pairs. A weight in four
/// bits is several tensors (checkpoint/nf4_files.h).
checkpoint::NamedTensors model_tensors(const Decoder& decoder, at::ScalarType dtype,
                                       const PreciseValue& precise = {});

/// Writes config.json and the weights into an existing folder.
void save_decoder(const Decoder& decoder, const std::filesystem::path& directory, at::ScalarType dtype,
                  const PreciseValue& precise = {});

/// Returns the mean of the rows of a weight [V, C] in its dtype: [1, C].
at::Tensor mean_of_rows(const at::Tensor& weight);

/// Returns a weight [V, C] with `rows` rows. They are the first of its own rows, and where it has fewer, the
/// mean of its own for the others.
at::Tensor with_rows(const at::Tensor& weight, int64_t rows);

}  // namespace longlora::model
