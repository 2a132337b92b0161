// The model of an evaluation: base, adapter, rotary scaling and tokenizer.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "longlora/data/token_data.h"
#include "longlora/ops/device.h"
#include "longlora/ops/nf4_options.h"
#include "longlora/tokenizer/tokenizer.h"

namespace longlora::model {
struct Decoder;
}

namespace longlora::eval {

/// Where the model comes from and how it is run.
struct ModelOptions {
  /// Hugging Face directory with config.json, weights and, for text, the tokenizer.
  std::filesystem::path base_model;
  /// Adapter directory; empty: none. A config.json in it brings its rotary scaling.
  std::filesystem::path peft_model;
  /// Window to evaluate at, in tokens; 0 or -1: the one that the model is made for.
  int64_t context_size = 0;
  /// How a model without rotary scaling reaches context_size: "linear", "dynamic",
  /// "yarn" by ceil(context_size / original window), or "none": as it is. Empty:
  /// linear. A model that carries a scaling keeps it.
  std::string rope_scaling;
  /// "float32" or "bfloat16".
  std::string dtype = "float32";
  /// Where it is computed.
  ops::DeviceFlags device = {};
  /// Puts linear layers into four bits while they are read.
  std::optional<ops::Nf4Options> quantize = {};
};

/// The folder whose tokenizer is the model's: the adapter's where it has one, else the base's.
std::filesystem::path tokenizer_path(const ModelOptions& options);

/// A decoder that is ready to be evaluated. Copies share it.
struct LoadedModel {
  std::shared_ptr<const model::Decoder> decoder;
  int64_t context_size = 0;
  int64_t vocab_size = 0;
  /// Some of its weights are in four bits.
  bool quantized = false;
  /// "no rotary scaling", "linear rotary scaling by 8".
  std::string scaling;
};

/// Opens the device, too. Throws UsageError for options that contradict each other, InputError for files and
/// ResourceError for a GPU that cannot be used.
LoadedModel open_model(const ModelOptions& options);

/// Token data of `paths` (ids, text, JSON, folders) for the model; text goes through the tokenizer at
/// `tokenizer_path`. Of `reading` vocabulary, tokenizer and threads are set here. Throws InputError.
std::unique_ptr<data::TokenData> open_data(const std::vector<std::filesystem::path>& paths,
                                           const std::filesystem::path& tokenizer_path,
                                           const LoadedModel& loaded, data::TokenDataOptions reading = {});

}  // namespace longlora::eval
