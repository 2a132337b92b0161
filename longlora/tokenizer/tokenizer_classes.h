// The tokenizer classes of transformers 5 that take vocabulary and merges from tokenizer.json and bring the
// other steps themselves.
#pragma once

#include <map>
#include <string>

#include "longlora/tokenizer/pipeline_spec.h"
#include "longlora/tokenizer/settings_file.h"

namespace longlora::tokenizer {

/// The class that AutoTokenizer builds for a folder, without "Fast": LlamaTokenizer, CodeLlamaTokenizer,
/// GPT2Tokenizer, GPTNeoXTokenizer or Qwen2Tokenizer; empty where tokenizer.json is taken as it is. `config`
/// is tokenizer_config.json, `model_config` config.json.
std::string rebuilding_class(const SettingsFile& config, const SettingsFile& model_config,
                             const PipelineSpec& spec);

/// Puts the steps of that class in the place of the file's. The template stays but for GPTNeoXTokenizer and
/// CodeLlamaTokenizer, which write their own. Throws InputError where CodeLlamaTokenizer's BOS is missing.
void set_class_steps(const std::string& name, const SettingsFile& config, PipelineSpec* spec);

/// The special tokens of a class that settings do not mention, by key ("bos_token").
std::map<std::string, std::string> class_tokens(const std::string& name);

}  // namespace longlora::tokenizer
