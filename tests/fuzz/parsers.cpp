#include "tests/fuzz/parsers.h"

#include <cstdio>
#include <cstdlib>

#include "longlora/checkpoint/dtypes.h"
#include "longlora/checkpoint/meta_params.h"
#include "longlora/checkpoint/peft_adapter.h"
#include "longlora/checkpoint/safetensors_header.h"
#include "longlora/checkpoint/torch_file.h"
#include "longlora/core/error.h"
#include "longlora/core/json.h"
#include "longlora/data/instruction_file.h"
#include "longlora/model/config.h"

namespace longlora::fuzz {
namespace {

/// The bytes of a tensor are there to be read; the sanitizer looks at the first and the last.
void touch(std::string_view bytes, uint64_t begin, uint64_t end) {
  require(begin <= end && end <= bytes.size(), "a tensor lies inside the file");
  if (begin == end) return;
  const volatile char first = bytes[begin], last = bytes[end - 1];
  static_cast<void>(first);
  static_cast<void>(last);
}

}  // namespace

void require(bool condition, const char* what) {
  if (condition) return;
  std::fprintf(stderr, "violated: %s\n", what);
  std::abort();
}

void parse_safetensors(std::string_view bytes) {
  try {
    for (const auto& entry : checkpoint::parse_safetensors_header(bytes, "fuzz.safetensors").entries) {
      touch(bytes, entry.begin_bytes, entry.end_bytes);
      uint64_t num_bytes = checkpoint::element_bytes(entry.dtype);
      for (const int64_t size : entry.shape) num_bytes *= static_cast<uint64_t>(size);
      require(num_bytes == entry.end_bytes - entry.begin_bytes, "a tensor has the bytes of its shape");
    }
  } catch (const InputError&) {
  }
}

void parse_torch_file(std::string_view bytes) {
  try {
    for (const auto& tensor : checkpoint::read_torch_file(bytes, "fuzz.bin")) {
      require(tensor.shape.size() == tensor.strides.size(), "a tensor has a stride for each size");
      uint64_t last = 0;
      bool is_empty = false;
      for (size_t i = 0; i < tensor.shape.size(); ++i) {
        require(tensor.shape[i] >= 0 && tensor.strides[i] >= 0, "sizes and strides are not negative");
        is_empty = is_empty || tensor.shape[i] == 0;
        last += static_cast<uint64_t>(tensor.shape[i] - 1) * static_cast<uint64_t>(tensor.strides[i]);
      }
      const uint64_t element = checkpoint::element_bytes(tensor.dtype);
      require(element != 0, "a tensor has a dtype");
      if (!is_empty) touch(bytes, tensor.offset_bytes, tensor.offset_bytes + (last + 1) * element);
    }
  } catch (const InputError&) {
  }
}

void parse_config(std::string_view bytes) {
  try {
    const model::ModelConfig config =
        model::parse_model_config(parse_json(std::string(bytes), "config.json"), "config.json");
    require(config.hidden_size > 0 && config.num_hidden_layers > 0 && config.vocab_size > 0,
            "sizes are positive");
    require(config.num_attention_heads % config.num_key_value_heads == 0, "heads divide");
    require(config.context_window() >= config.max_position_embeddings, "the window is not less than stated");
    // What is written is read again.
    model::parse_model_config(model::model_config_json(config, "float32"), "config.json");
  } catch (const InputError&) {
  }
}

void parse_adapter_config(std::string_view bytes) {
  try {
    const auto config = checkpoint::parse_lora_config(std::string(bytes), "adapter_config.json");
    require(config.rank > 0, "a rank is positive");
    for (const char* module :
         {"model.layers.0.self_attn.q_proj", "gpt_neox.layers.11.mlp.dense_h_to_4h", ""}) {
      config.targets(module);
      require(config.rank_of(module) > 0, "a module's rank is positive");
      config.scaling_of(module);
    }
  } catch (const InputError&) {
  }
}

void parse_meta_params(std::string_view bytes) {
  try {
    const auto params = checkpoint::parse_meta_params(std::string(bytes), "params.json");
    require(params.dim % params.n_heads == 0 && params.n_heads % params.n_kv_heads == 0, "heads divide");
    require(params.multiple_of == 0 || params.feed_forward_size() % params.multiple_of == 0,
            "the feed-forward width is a multiple");
    require(params.feed_forward_size() >= 0, "the feed-forward width is not negative");
  } catch (const InputError&) {
  }
}

void parse_instructions(std::string_view bytes) {
  try {
    for (const std::string_view sample : data::cut_samples(bytes, "fuzz.json").samples) {
      require(sample.data() >= bytes.data() && sample.data() + sample.size() <= bytes.data() + bytes.size(),
              "a sample lies inside the file");
      try {
        const auto turns = data::parse_conversation(sample, "fuzz.json, sample 0");
        for (const std::string& form : tokenizer::prompt_form_names())
          for (const auto& piece :
               tokenizer::render_prompt(tokenizer::prompt_form_from_name(form), turns, "</s>"))
            for (const auto& answer : piece.answers)
              require(answer.begin < answer.end && answer.end <= piece.text.size(),
                      "an answer is in the text");
      } catch (const InputError&) {
      }
    }
  } catch (const InputError&) {
  }
}

}  // namespace longlora::fuzz
