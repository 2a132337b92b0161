#include "tests/fuzz/parsers.h"

#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "longlora/checkpoint/meta_params.h"
#include "longlora/checkpoint/nf4_state.h"
#include "longlora/checkpoint/peft_adapter.h"
#include "longlora/checkpoint/safetensors_header.h"
#include "longlora/checkpoint/torch_file.h"
#include "longlora/core/error.h"
#include "longlora/core/json.h"
#include "longlora/data/conversation.h"
#include "longlora/data/json_samples.h"
#include "longlora/gguf/gguf_file.h"
#include "longlora/model/config.h"
#include "longlora/tensors/dtypes.h"

namespace longlora::fuzz {
namespace {

// The bytes of a tensor are there to be read; the sanitizer looks at the first and the last.
void touch(std::string_view bytes, uint64_t begin, uint64_t end) {
  require(begin <= end && end <= bytes.size(), "a tensor lies inside the file");
  if (begin == end) return;
  const volatile char first = bytes[begin], last = bytes[end - 1];
  static_cast<void>(first);
  static_cast<void>(last);
}

// The parts that are asked for cover every element.
void check_nf4_state(const checkpoint::Nf4State& state) {
  require(state.shape.size() == 2 && state.num_elements() > 0, "a weight has elements");
  const int64_t blocks = (state.num_elements() - 1) / state.block_size + 1;
  int64_t scales = 0, nested = 0;
  for (const checkpoint::Nf4Part& part : checkpoint::nf4_parts(state)) {
    require(part.count > 0, "a part has elements");
    if (part.suffix == std::string_view(checkpoint::kNf4Absmax)) scales = part.count;
    if (part.suffix == std::string_view(checkpoint::kNf4NestedAbsmax)) nested = part.count;
  }
  require(scales == blocks, "a block has a scale");
  require(state.is_nested == (nested > 0), "nested scales are there where they are meant");
  require(nested == 0 || (blocks - 1) / state.nested_block_size < nested, "a scale has a nested one");
  require(2 * checkpoint::nf4_code_bytes(state) >= state.num_elements(), "an element has a code");
}

// Asks for a value in one way; another type is refused.
template <typename Ask>
void ask(const Ask& question) {
  try {
    question();
  } catch (const InputError&) {
  }
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
      uint64_t num_bytes = tensors::element_bytes(entry.dtype);
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
      const uint64_t element = tensors::element_bytes(tensor.dtype);
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

void parse_nf4_weight(std::string_view bytes) {
  const std::string file = "fuzz.safetensors", end = checkpoint::kNf4QuantState;
  try {
    // The JSON by itself, or a file with such weights.
    if (bytes.starts_with('{'))
      return check_nf4_state(checkpoint::parse_nf4_state(std::string(bytes), file, end));
    for (const auto& entry : checkpoint::parse_safetensors_header(bytes, file).entries) {
      if (!entry.name.ends_with(end)) continue;
      const std::string_view text = bytes.substr(entry.begin_bytes, entry.end_bytes - entry.begin_bytes);
      check_nf4_state(checkpoint::parse_nf4_state(std::string(text), file, entry.name));
    }
  } catch (const InputError&) {
  }
}

void parse_gguf(std::string_view bytes) {
  try {
    const gguf::GgufFile file = gguf::parse_gguf(bytes, "fuzz.gguf");
    for (const char* key : {"a", "general.architecture", "general.alignment", "llama.block_count",
                            "llama.rope.freq_base", "tokenizer.ggml.tokens", "tokenizer.ggml.scores",
                            "tokenizer.ggml.token_type", "tokenizer.ggml.add_bos_token"}) {
      ask([&] { file.metadata.integer(key); });
      ask([&] { file.metadata.number(key); });
      ask([&] { file.metadata.flag(key); });
      ask([&] { file.metadata.text(key); });
      ask([&] { file.metadata.texts(key); });
      ask([&] { file.metadata.integers(key); });
      ask([&] { file.metadata.numbers(key); });
    }
    for (const gguf::TensorEntry& tensor : file.tensors) {
      touch(bytes, tensor.offset_bytes, tensor.offset_bytes + tensor.num_bytes);
      const uint64_t block = gguf::block_bytes(tensor.type);
      require(tensor.num_bytes >= block && tensor.num_bytes % block == 0, "a tensor is whole blocks");
      std::vector<float> values(static_cast<size_t>(gguf::block_elements(tensor.type)));
      const auto* end =
          reinterpret_cast<const std::byte*>(bytes.data()) + tensor.offset_bytes + tensor.num_bytes;
      gguf::dequantise(tensor.type, end - block, 1, values.data());
    }
  } catch (const InputError&) {
  }
}

void parse_instructions(std::string_view bytes) {
  try {
    data::holds_json(bytes, data::is_question_and_answer);
    for (const std::string_view sample : data::cut_samples(bytes, "fuzz.json").samples) {
      require(sample.data() >= bytes.data() && sample.data() + sample.size() <= bytes.data() + bytes.size(),
              "a sample lies inside the file");
      try {
        std::vector<std::string> unread;
        const auto turns = data::parse_conversation(sample, "fuzz.json, sample 0", &unread);
        for (const std::string& name : tokenizer::prompt_form_names()) {
          const tokenizer::PromptForm form = tokenizer::prompt_form_from_name(name);
          if (form == tokenizer::PromptForm::kTemplate) continue;
          for (const auto& piece : tokenizer::render_prompt(form, turns, "</s>"))
            for (const auto& answer : piece.answers)
              require(answer.begin < answer.end && answer.end <= piece.text.size(),
                      "an answer is in the text");
        }
      } catch (const InputError&) {
      }
    }
  } catch (const InputError&) {
  }
}

}  // namespace longlora::fuzz
