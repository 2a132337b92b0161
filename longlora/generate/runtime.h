// The model of an evaluation or a generation, ready to run: base, adapter, rotary scaling, memory.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "longlora/forward/ready_decoder.h"
#include "longlora/model/decoder.h"
#include "longlora/ops/device.h"
#include "longlora/ops/nf4_options.h"

namespace longlora::generate {

/// Tokens that go through a model at once.
struct PassTokens {
  int64_t all = 0;  // of all rows
  int64_t row = 0;  // of the longest row, those before the pass included
};

/// Where the model comes from and how it is run.
struct RuntimeOptions {
  /// Hugging Face directory with config.json, weights and, for text, the tokenizer.
  std::filesystem::path base_model;
  /// Adapter directory; empty: none. A config.json in it brings its rotary scaling.
  std::filesystem::path peft_model;
  /// Window to run at, in tokens; 0 or -1: the one that the model is made for.
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
  /// Bytes that the process may take; 0: most of what is free. With less than the model and a pass take,
  /// passes go through the layers in tiles of rows and, on the CPU, large weights stay in their files.
  int64_t memory_budget_bytes = 0;
  /// Tokens of the largest pass, given the context. Empty: a chunk of a prompt.
  std::function<PassTokens(int64_t context_size)> pass_tokens = {};
};

/// The folder whose tokenizer is the model's: the adapter's where it has one, else the base's.
std::filesystem::path tokenizer_path(const RuntimeOptions& options);

/// A model that is ready to run. Copies share it.
struct Runtime {
  std::shared_ptr<const model::Decoder> decoder;
  /// The same with who brings its layers and the tiles of its passes.
  forward::ReadyDecoder ready;
  int64_t context_size = 0;
  int64_t vocab_size = 0;
  /// Some of its weights are in four bits.
  bool quantized = false;
  /// "no rotary scaling", "linear rotary scaling by 8".
  std::string scaling;
};

/// Opens the device, too. Throws UsageError for options that contradict each other, InputError for files and
/// ResourceError for a GPU that cannot be used and for a budget that was asked for and is too small.
Runtime open_runtime(const RuntimeOptions& options);

}  // namespace longlora::generate
