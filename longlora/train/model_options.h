// The model that a run starts from, and the dtype that it computes in.
#pragma once

#include <filesystem>
#include <optional>

#include "longlora/model/config.h"
#include "longlora/ops/nf4_options.h"
#include "longlora/train/option_fields.h"

namespace longlora::train {

struct ModelOptions {
  std::filesystem::path model_name_or_path;  // a Hugging Face directory; empty with init_random
  bool init_random = false;                  // whether the run starts from random weights for `config_file`
  model::AttentionInit attention_init = model::AttentionInit::kNormal;
  std::filesystem::path config_file;
  std::filesystem::path tokenizer_path;  // empty: the model's directory
  std::filesystem::path peft_model;      // the adapter that the run goes on from; empty: none
  bool fp32 = false;                     // whether it computes in float32 instead of bfloat16
  /// Where set, linear layers are put into 4-bit NormalFloat when they are read (QLoRA).
  std::optional<ops::Nf4Options> quantize;
  /// Whether the run is only planned. Then it reads and writes nothing, so that it needs no model directory,
  /// data or output folder.
  bool only_planned = false;

  /// Returns "pretrained", "random" or "random, mimetic attention".
  const char* init_name() const {
    if (!init_random) return "pretrained";
    return attention_init == model::AttentionInit::kMimetic ? "random, mimetic attention" : "random";
  }

  template <typename Options, typename Fields>
  static void list_fields(Options& options, Fields& fields) {
    const FieldRule recorded = {.kept = Kept::kInRecord};
    fields.add("--model_name_or_path", options.model_name_or_path,
               "Directory to start from: Hugging Face's layout or Meta's; or a GGUF file", recorded);
    fields.check(options.init_random || options.only_planned || !options.model_name_or_path.empty(),
                 "--model_name_or_path is needed: the Hugging Face directory to start from (or --init random "
                 "--config FILE)");
    fields.check(!options.init_random || options.model_name_or_path.empty(),
                 "--init random starts from nothing: give either it or --model_name_or_path");
    fields.choice("--init", options.init_random, Choices<bool>{{"pretrained", false}, {"random", true}},
                  "Where weights come from: pretrained, or random to train from nothing",
                  {.kept = Kept::kNowhere});
    fields.choice("--attention_init", options.attention_init,
                  Choices<model::AttentionInit>{{"normal", model::AttentionInit::kNormal},
                                                {"mimetic", model::AttentionInit::kMimetic}},
                  "How --init random begins attention: normal, or mimetic (queries like keys, the output the "
                  "transpose of the values: small models learn to copy sooner)",
                  {.kept = Kept::kNowhere});
    fields.record("init", options.init_name(), Kept::kInIdentity);
    fields.add("--config", options.config_file, "config.json of a model trained from nothing", recorded);
    fields.check(!options.init_random || !options.config_file.empty(),
                 "--init random needs --config FILE, a config.json");
    fields.check(options.init_random || options.config_file.empty(), "--config is for --init random alone");
    fields.check(options.init_random || options.attention_init == model::AttentionInit::kNormal,
                 "--attention_init is for --init random alone");
    fields.check(!options.init_random || !options.low_rank_training,
                 "--init random trains every weight: add --low_rank_training False");
    fields.add("--tokenizer", options.tokenizer_path,
               "Tokenizer for text data (default: the model's directory)", recorded);
    fields.add("--peft_model", options.peft_model,
               "Go on from this adapter directory; its pairs keep their shape", recorded);
    fields.add("--fp32", options.fp32, "Compute in float32");
    fields.record("quantize", options.quantize, Kept::kInIdentity);
    fields.check(!options.quantize || options.low_rank_training,
                 "--quantize keeps the weights frozen: it needs --low_rank_training True");
    fields.check(!options.quantize || !options.init_random,
                 "--quantize needs a model to start from, not --init random");
    fields.check(!options.quantize || ops::is_nf4_block_size(options.quantize->block_size),
                 "--quantize_block must be 32, 64, 128, 256, 512, 1024, 2048 or 4096");
  }
};

}  // namespace longlora::train
