// Decoders from and to Hugging Face directories.
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

/// What of a model is held in another way than whole, in memory.
struct LoadOptions {
  /// Weights that are checked but not loaded; a forward::LayerSource has to bring them.
  std::set<std::string> left_in_files = {};
  /// The linear layers of the blocks are put into four bits one after another as they are read; a model whose
  /// files are quantised already stays as it is.
  std::optional<ops::Nf4Options> quantize = {};
  /// Where the parameters go.
  at::Device device = at::kCPU;
};

/// Throws InputError for weights of a training checkpoint, which hold low-rank pairs beside those of the
/// base: the base alone would be another model.
void refuse_low_rank_pairs(const checkpoint::TensorStore& store, const std::filesystem::path& directory);

/// Reads config.json and the weights of a directory, or Meta's layout; every parameter frozen, in
/// `dtype` (float32 or bfloat16) whatever the files hold, but for weights in four bits, which the files may
/// hold as bitsandbytes stores them. Throws InputError: missing files or tensors, shapes that contradict
/// config.json, unsupported architectures. Each weight goes
/// from its mapped file to the device.
Decoder load_decoder(const std::filesystem::path& directory, at::ScalarType dtype,
                     const LoadOptions& options = {});
/// The same of a model that is open already.
Decoder load_decoder(const StoredModel& stored, at::ScalarType dtype, const LoadOptions& options = {});

/// A decoder of the shape of `config` with random weights: normal(0,
/// initializer_range), norms 1, biases 0; a pure function of its arguments. Throws InputError for mimetic
/// attention in families with fused projections.
Decoder random_decoder(const ModelConfig& config, at::ScalarType dtype, uint64_t seed,
                       AttentionInit attention_init = AttentionInit::kNormal);

/// Puts every parameter, none of which trains yet, on `device`.
void move_decoder(Decoder& decoder, at::Device device);

/// The same without values: every tensor is on the meta device and takes no memory. Linear layers are in four
/// bits where config.quantization says so.
Decoder shape_decoder(const ModelConfig& config, at::ScalarType dtype);

/// The value of a parameter at its best precision, as training has it; an empty function stands for the
/// decoder's own values.
using PreciseValue = std::function<at::Tensor(const Parameter&)>;

/// The weights under their Hugging Face names, without low-rank pairs, in
/// `dtype`; weights in four bits are several tensors each (checkpoint/nf4_files.h).
checkpoint::NamedTensors model_tensors(const Decoder& decoder, at::ScalarType dtype,
                                       const PreciseValue& precise = {});

/// Writes config.json and the weights into an existing folder.
void save_decoder(const Decoder& decoder, const std::filesystem::path& directory, at::ScalarType dtype,
                  const PreciseValue& precise = {});

/// The mean of the rows of a weight [V, C] in its dtype: [1, C].
at::Tensor mean_of_rows(const at::Tensor& weight);

/// A weight [V, C] with `rows` rows: the first of its own, and beyond them the mean of its own.
at::Tensor with_rows(const at::Tensor& weight, int64_t rows);

}  // namespace longlora::model
