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

/// A function that returns layer `index` of a decoder with all of its weights, which may be used for as long
/// as the pointer lives. An empty function means that all weights are in memory.
using BlockSource = std::function<std::shared_ptr<const Block>(size_t index)>;

/// Adds a fresh pair to every linear layer that `config` targets. A is uniform in ±1/sqrt(in), as PEFT
/// initialises it, and B is zero; the values depend on the seed alone. DoRA adds a magnitude in float32, the
/// norms of the rows of the weight, which `source` brings. Throws UsageError when a target or the pattern
/// matches no layer, and lists the layers that there are.
void add_lora(Decoder& decoder, const checkpoint::LoraConfig& config, uint64_t seed,
              const BlockSource& source = {});

/// The last parts of the names of all linear layers, sorted: what PEFT's "all-linear" stands for.
std::vector<std::string> linear_names(const Decoder& decoder);

/// Writes the names of layers into `config` in place of the target "all-linear", as PEFT does when it writes
/// an adapter, and where there is no target at all, the names that the decoder's family says.
void choose_targets(const Decoder& decoder, checkpoint::LoraConfig& config);

/// Puts the adapter into the decoder as plan_adapter says. Linear layers get their pairs, whole parameters
/// take the place of the base's, and the updates of embedding and head are added to their weights in float32.
/// The vocabulary gets the adapter's size. Throws InputError when a module or shape does not fit the decoder.
void load_adapter(Decoder& decoder, const checkpoint::PeftAdapter& adapter);

/// Loads a base with load_decoder, which takes `options`, then the adapter with load_adapter, unless
/// `adapter` is empty. Where the adapter's directory holds a config.json, its rope_scaling replaces the
/// base's.
Decoder load_with_adapter(const std::filesystem::path& base, const std::filesystem::path& adapter,
                          at::ScalarType dtype, const LoadOptions& options = {});
/// As above, for a base and an adapter (null: none) that are open already.
Decoder load_with_adapter(const StoredModel& base, const checkpoint::PeftAdapter* adapter,
                          at::ScalarType dtype, const LoadOptions& options = {});

/// Gives `config` the rotary scaling and the window that the config.json in an adapter's directory says. Does
/// nothing where there is no such file.
void take_window(const std::filesystem::path& adapter, ModelConfig& config);

/// Adds the low-rank update to every weight that has a pair, applies the magnitude of DoRA, and removes the
/// pairs. Computes in float32. Weights that are in four bits or left in their files keep their pairs.
void merge_lora(Decoder& decoder);

/// Computes the norms that DoRA divides by, and keeps them for all later passes. This is for a decoder that
/// will not be trained.
void keep_weight_norms(Decoder& decoder, const BlockSource& source = {});

/// Makes trainable: the low-rank pairs, every parameter that `config` trains whole, and every other parameter
/// whose name contains one of `patterns`, as LongLoRA's released code does with "embed" and "norm". Throws
/// UsageError when a pattern matches nothing.
void train_adapter(Decoder& decoder, const std::vector<std::string>& patterns,
                   const checkpoint::LoraConfig& config = {});

/// Makes every parameter trainable.
void train_everything(Decoder& decoder);

/// What checkpoint::write_peft_adapter writes: the low-rank pairs, and the other parameters that are
/// trainable or came whole with an adapter.
struct AdapterTensors {
  checkpoint::NamedTensors lora;
  checkpoint::NamedTensors parameters;
};
AdapterTensors adapter_tensors(const Decoder& decoder, const PreciseValue& precise = {});

}  // namespace longlora::model
