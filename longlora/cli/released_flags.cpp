#include "longlora/cli/foreign_flags.h"

namespace longlora::cli {
namespace {

constexpr FlagFate kWorks = FlagFate::kWorks, kNoEffect = FlagFate::kNoEffect, kRefused = FlagFate::kRefused;
constexpr FlagValues kOne = FlagValues::kOne, kMaybeOne = FlagValues::kMaybeOne,
                     kSeveral = FlagValues::kSeveral;

constexpr ForeignFlag kCacheDir = {"cache_dir", kNoEffect, kOne, "", "nothing is downloaded"};
constexpr ForeignFlag kFlashAttn = {"flash_attn", kNoEffect, kMaybeOne, "",
                                    "the fastest attention that fits is always used"};
constexpr ForeignFlag kBaseModel = {"base_model", kWorks, kOne, "",
                                    "directory of the model (no default here)"};
constexpr std::string_view kNoPage = "there is no page to serve; ask one question with --question";

FlagGroup training() {
  return {"Training",
          {"fine-tune.py", "supervised-fine-tune.py", "supervised-fine-tune-qlora.py"},
          {"fine-tune", "sft", "plan"},
          {{"model_name_or_path", kWorks, kOne, "", "directory to start from (no default here)"},
           {"model_type", kWorks, kOne, "",
            "gpt-neox or llama: compared with config.json, which decides (there gpt-neox unless given)"},
           {"data_path", kWorks, kSeveral, "",
            "the data; fine-tune.py reads a data set from the network instead"},
           kCacheDir,
           {"optim", kWorks, kOne, "", "see below"},
           {"model_max_length", kWorks, kOne, "", "tokens of a row (needed here, there 32768)"},
           {"use_flash_attn", kNoEffect, kMaybeOne, "", "attention never materialises its matrix"},
           {"use_full_attn", kWorks, kMaybeOne, "", "full attention in training, --attention full"},
           {"low_rank_training", kWorks, kMaybeOne, "", "low-rank pairs, or False: every weight"},
           {"trainable_params", kWorks, kSeveral, "", "what trains beside the pairs"}}};
}

// The options of fine-tune and sft on which a plan does not depend.
FlagGroup planning() {
  constexpr std::string_view kWhy = "the plan does not depend on it";
  FlagGroup group = {"Planning", {}, {"plan"}, {}};
  for (const char* name :
       {"text_field", "bin_dtype", "prompt", "prompt_date", "truncate", "order", "preview"})
    group.flags.push_back({name, kNoEffect, kOne, "", kWhy});
  for (const char* name : {"shuffle", "packing", "skip_bad_samples", "cache_tokens"})
    group.flags.push_back({name, kNoEffect, kMaybeOne, "", kWhy});
  return group;
}

FlagGroup perplexity() {
  return {"Perplexity",
          {"eval.py", "eval_distributed.py"},
          {"eval"},
          {kBaseModel,
           {"peft_model", kWorks, kOne, "", "adapter directory"},
           {"seq_len", kWorks, kOne, "", "tokens of a window; several here (there 2048 unless given)"},
           {"context_size", kWorks, kOne, "", "-1: the longest --seq_len, as there"},
           {"batch_size", kWorks, kOne, "", "windows computed at once"},
           {"data_path", kWorks, kSeveral, "", "the held-out data (no default here)"},
           kCacheDir,
           kFlashAttn,
           {"progress_bar_fresh_rate", kNoEffect, kOne, "", "the bar of progress keeps its own time"}}};
}

FlagGroup pass_keys() {
  return {"Pass keys",
          {"passkey_retrivial.py"},
          {"passkey"},
          {kBaseModel,
           {"context_size", kWorks, kOne, "", "-1: the window that the model is made for"},
           {"max_tokens", kWorks, kOne, "", "longest text (default here --context_size, there 32000)"},
           {"interval", kWorks, kOne, "", "tokens from one length to the next"},
           {"num_tests", kWorks, kOne, "", "trials for each length"},
           kCacheDir,
           kFlashAttn}};
}

FlagGroup answers() {
  return {"Answers",
          {"inference.py", "inference-qlora.py", "demo.py"},
          {"inference"},
          {kBaseModel,
           {"question", kWorks, kOne, "", "the question (needed here)"},
           {"material", kWorks, kOne, "", "a text that it is about"},
           {"context_size", kWorks, kOne, "", "-1: the window that the model is made for"},
           {"max_gen_len", kWorks, kOne, "", "tokens of the longest answer"},
           {"temperature", kWorks, kOne, "", "higher: more varied"},
           {"top_p", kWorks, kOne, "", "share of probability that is drawn from"},
           kCacheDir,
           kFlashAttn,
           {"host", kRefused, kOne, "", kNoPage},
           {"port", kRefused, kOne, "", kNoPage}}};
}

FlagGroup merging() {
  return {"Merging",
          {"merge_lora_weights_and_save_hf_model.py"},
          {"merge"},
          {kBaseModel,
           {"peft_model", kWorks, kOne, "", "adapter directory"},
           {"context_size", kWorks, kOne, "", "-1: the window that the adapter was trained for"},
           {"save_path", kWorks, kOne, "", "directory to write"},
           kCacheDir}};
}

FlagGroup trainable_weights() {
  return {
      "Trained weights of a checkpoint",
      {"get_trainable_weights.py"},
      {"get-trainable-weights"},
      {{"checkpoint_path", kWorks, kOne, "", "training checkpoint (no default here)"},
       {"trainable_params", kWorks, kSeveral, "", "parts of the names of what trained beside the pairs"}}};
}

}  // namespace

const std::vector<FlagGroup>& released_flags() {
  static const std::vector<FlagGroup> groups = {
      training(),  perplexity(),
      pass_keys(), answers(),
      merging(),   trainable_weights(),
      planning(),  {"Other verbs that open a model", {}, {"answer", "score"}, {kCacheDir, kFlashAttn}}};
  return groups;
}

}  // namespace longlora::cli
