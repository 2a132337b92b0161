#include "longlora/checkpoint/adapter_name.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <vector>

#include "longlora/checkpoint/wrapped_names.h"

namespace longlora::checkpoint {
namespace {

using Parts = std::vector<std::string>;

Parts split(std::string_view name) {
  Parts parts;
  for (size_t begin = 0; begin <= name.size();) {
    const size_t end = std::min(name.find('.', begin), name.size());
    parts.emplace_back(name.substr(begin, end - begin));
    begin = end + 1;
  }
  return parts;
}

std::string join(Parts::const_iterator begin, Parts::const_iterator end) {
  return fmt::format("{}", fmt::join(begin, end, "."));
}

bool is_one_of(const std::string& part, std::initializer_list<const char*> names) {
  return std::any_of(names.begin(), names.end(), [&](const char* name) { return part == name; });
}

bool is_leaf(const std::string& part) {
  return part == "weight" || part == "bias";
}

// Whether a part of a name is a module or parameter below which PEFT puts the adapter's own name.
bool holds_adapters(const std::string& part) {
  return is_one_of(part, {"lora_A", "lora_B", "lora_embedding_A", "lora_embedding_B", "lora_magnitude_vector",
                          "trainable_tokens_delta", "trainable_tokens_original", "modules_to_save"});
}

// Drops what stands before the model: everything up to the last "base_model.model".
void drop_prefix(Parts& parts) {
  for (size_t i = parts.size(); i-- > 1;)
    if (parts[i - 1] == "base_model" && parts[i] == "model") {
      parts.erase(parts.begin(), parts.begin() + static_cast<std::ptrdiff_t>(i) + 1);
      return;
    }
}

void drop_adapter_names(Parts& parts) {
  for (size_t i = 0; i + 1 < parts.size(); ++i)
    if (holds_adapters(parts[i]) && !is_leaf(parts[i + 1]))
      parts.erase(parts.begin() + static_cast<std::ptrdiff_t>(i) + 1);
}

struct Ending {
  const char* text;
  AdapterPart part;
  bool is_of_embedding;
};

constexpr std::array kEndings = {
    Ending{".lora_A.weight", AdapterPart::kPairA, false},
    Ending{".lora_B.weight", AdapterPart::kPairB, false},
    Ending{".lora_B.bias", AdapterPart::kPairBias, false},
    Ending{".lora_embedding_B", AdapterPart::kPairA, true},
    Ending{".lora_embedding_A", AdapterPart::kPairB, true},
    Ending{".lora_magnitude_vector", AdapterPart::kMagnitude, false},
    Ending{".token_adapter.trainable_tokens_delta", AdapterPart::kTokenRows, false},
    Ending{".token_adapter.trainable_tokens_original", AdapterPart::kDerived, false},
    Ending{".rotary_emb.inv_freq", AdapterPart::kDerived, false}};

}  // namespace

AdapterName parse_adapter_name(std::string_view stored) {
  Parts parts = split(without_wrappers(stored));
  // "base_layer" stands for the layer that PEFT's wrapper adapts.
  parts.erase(std::remove(parts.begin(), parts.end(), "base_layer"), parts.end());
  drop_prefix(parts);
  drop_adapter_names(parts);
  AdapterName result = {.part = AdapterPart::kParameter, .name = {}, .module = {}};
  const auto saved = std::find(parts.begin(), parts.end(), "modules_to_save");
  result.is_saved_copy = saved != parts.end();
  if (result.is_saved_copy) parts.erase(saved);
  // The wrapper of selected token rows holds the weight to which they belong.
  if (parts.size() > 1 && is_leaf(parts.back()) && parts[parts.size() - 2] == "token_adapter")
    parts.erase(parts.end() - 2);
  // In a wrapped model the magnitude lies in a module of its own.
  if (parts.size() > 1 && parts.back() == "weight" && parts[parts.size() - 2] == "lora_magnitude_vector")
    parts.pop_back();
  result.name = join(parts.begin(), parts.end());
  for (const Ending& ending : kEndings) {
    if (!result.name.ends_with(ending.text)) continue;
    result.part = ending.part;
    result.is_of_embedding = ending.is_of_embedding;
    result.module = result.name.substr(0, result.name.size() - std::string_view(ending.text).size());
    return result;
  }
  const bool is_whole = parts.size() > 1 && is_leaf(parts.back());
  const bool is_of_lora = std::any_of(parts.begin(), parts.end(),
                                      [](const std::string& part) { return part.starts_with("lora_"); });
  if (!is_whole || is_of_lora)
    result.part = AdapterPart::kOther;
  else if (std::find(parts.begin(), parts.end(), "original_module") != parts.end())
    result.part = AdapterPart::kOriginal;
  result.module = is_whole ? join(parts.begin(), parts.end() - 1) : result.name;
  return result;
}

}  // namespace longlora::checkpoint
