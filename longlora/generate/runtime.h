// A model that is ready to run for an evaluation or a generation: base, adapter, rotary scaling and memory.
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

/// How many tokens the largest pass through a model has.
struct PassTokens {
  int64_t all = 0;  // that go through at once, in all rows together
  int64_t row = 0;  // in the longest row, including those before the pass
  /// The number of tokens whose last hidden states the head reads; nullopt: all that go through.
  std::optional<int64_t> wanted = {};
  int64_t cached = 0;  // for which a key/value cache has room
};

/// The tokens for prompts of at most `prompt_tokens` and answers of at most `answer_tokens` in a context.
PassTokens tokens_of_generation(int64_t context_size, int64_t prompt_tokens, int64_t answer_tokens);

/// Where the model comes from and how it is run.
struct RuntimeOptions {
  /// The Hugging Face directory with config.json, weights and, for text, the tokenizer.
  std::filesystem::path base_model;
  /// The adapter's directory; empty: none. A config.json in it sets the rotary scaling.
  std::filesystem::path peft_model;
  /// The window to run at, in tokens; 0 or -1: the one that the model is made for.
  int64_t context_size = 0;
  /// How a model without rotary scaling reaches context_size: by "linear", "dynamic" or "yarn" with the
  /// factor ceil(context_size / original window), or "none", which leaves it as it is. Empty means linear. A
  /// model that carries a scaling keeps it.
  std::string rope_scaling;
  /// "float32" or "bfloat16".
  std::string dtype = "float32";
  /// The device that computes.
  ops::DeviceFlags device = {};
  /// How linear layers are put into four bits while they are read; nullopt: they are not.
  std::optional<ops::Nf4Options> quantize = {};
  /// The bytes that the process may take; 0: most of what is free. Where the model and a pass take more,
  /// passes go through the layers in tiles of rows and, on the CPU, large weights stay in their files.
  int64_t memory_budget_bytes = 0;
  /// The tokens of the largest pass at a given context. Empty: those of a generation that fills the context.
  std::function<PassTokens(int64_t context_size)> pass_tokens = {};
};

/// The folder whose tokenizer is the model's: the adapter's where it has one, else the base's.
std::filesystem::path tokenizer_path(const RuntimeOptions& options);

/// A model that is ready to run. Copies share it.
struct Runtime {
  std::shared_ptr<const model::Decoder> decoder;
  /// The decoder together with what brings its layers and the tiles of its passes.
  forward::ReadyDecoder ready;
  int64_t context_size = 0;
  int64_t vocab_size = 0;
  /// Whether some of its weights are in four bits.
  bool quantized = false;
  /// The scaling in words: "no rotary scaling", "linear rotary scaling by 8".
  std::string scaling;
};

/// Opens the device and the model. Throws UsageError for options that contradict each other, InputError for
/// files that cannot be used, and ResourceError for a GPU that cannot be used and for a budget that was asked
/// for and is too small.
Runtime open_runtime(const RuntimeOptions& options);

}  // namespace longlora::generate
