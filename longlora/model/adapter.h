// Low-rank adapters on a decoder, and which parameters train.
#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "longlora/checkpoint/peft_adapter.h"
#include "longlora/model/decoder.h"
#include "longlora/model/load.h"

namespace longlora::model {

/// Layer `index` of a decoder with all of its weights, in reach for as long as the pointer lives. An empty
/// function stands for weights that are all in memory.
using BlockSource = std::function<std::shared_ptr<const Block>(size_t index)>;

/// Adds a fresh pair to every linear layer that `config` targets: A uniform in
/// ±1/sqrt(in) as PEFT initialises it, B zero; a pure function of the seed. With
/// DoRA also a magnitude, the norms of the weight's rows, which `source` brings, in float32. Throws
/// UsageError when a target, or the pattern, matches no layer, listing the layers there are.
void add_lora(Decoder& decoder, const checkpoint::LoraConfig& config, uint64_t seed,
              const BlockSource& source = {});

/// The last parts of the names of all linear layers, sorted: what PEFT's "all-linear" stands for.
std::vector<std::string> linear_names(const Decoder& decoder);

/// Turns the target "all-linear" into names, as PEFT does when it writes an adapter, and no target at all
/// into those of the decoder's family.
void choose_targets(const Decoder& decoder, checkpoint::LoraConfig& config);

/// Puts the adapter into the decoder as plan_adapter says: pairs of layers as pairs, whole parameters in
/// place of the base's, and what is added to embedding and head into their weights, in float32. The
/// vocabulary gets the adapter's size. Throws InputError when a module or shape does not fit the decoder.
void load_adapter(Decoder& decoder, const checkpoint::PeftAdapter& adapter);

/// The base model's vocabulary, shapes and adapter in one: load_decoder (`options` as there), then
/// load_adapter when `adapter` is not empty. With an adapter directory that
/// holds a config.json, its rope_scaling replaces the base's.
Decoder load_with_adapter(const std::filesystem::path& base, const std::filesystem::path& adapter,
                          at::ScalarType dtype, const LoadOptions& options = {});
/// The same of a base and an adapter (null: none) that are open already.
Decoder load_with_adapter(const StoredModel& base, const checkpoint::PeftAdapter* adapter,
                          at::ScalarType dtype, const LoadOptions& options = {});

/// Gives `config` the rotary scaling and the window of the config.json of an adapter directory; nothing to do
/// where there is none.
void take_window(const std::filesystem::path& adapter, ModelConfig& config);

/// Puts the low-rank update, and the magnitude of DoRA, into every weight that has a pair and removes the
/// pairs. Computed in float32. Weights in four bits or left in their files keep their pairs.
void merge_lora(Decoder& decoder, const PreciseValue& precise = {});

/// Computes the norms that DoRA divides by once for all passes to come: for a decoder that is only run.
void keep_weight_norms(Decoder& decoder, const BlockSource& source = {});

/// Makes low-rank pairs trainable, every parameter that `config` trains whole, and every other one whose name
/// contains one of `patterns` ("embed", "norm": the released code's rule). Throws
/// UsageError when a pattern matches nothing.
void train_adapter(Decoder& decoder, const std::vector<std::string>& patterns,
                   const checkpoint::LoraConfig& config = {});

/// Makes every parameter trainable.
void train_everything(Decoder& decoder);

/// The low-rank pairs and the other trainable parameters, with frozen ones that came with an adapter, as
/// write_peft_adapter takes them.
struct AdapterTensors {
  checkpoint::NamedTensors lora;
  checkpoint::NamedTensors parameters;
};
AdapterTensors adapter_tensors(const Decoder& decoder, const PreciseValue& precise = {});

}  // namespace longlora::model
