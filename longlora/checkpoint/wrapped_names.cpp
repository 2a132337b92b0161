#include "longlora/checkpoint/wrapped_names.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <set>

#include "longlora/core/error.h"

namespace longlora::checkpoint {
namespace {

constexpr std::array<std::string_view, 5> kWrappers = {"module.", "_orig_mod.", "_fsdp_wrapped_module.",
                                                       "_checkpoint_wrapped_module.", "_forward_module."};

// A tensor that every model has, by its whole name and by its name in a model that was saved without its
// head.
struct Landmark {
  std::string_view whole;
  std::string_view bare;
};
// The norms are looked for, too, because training may put something in the place of the embedding.
constexpr std::array<std::array<Landmark, 2>, 2> kLandmarks = {
    {{{{"model.embed_tokens.weight", "embed_tokens.weight"},
       {"gpt_neox.embed_in.weight", "embed_in.weight"}}},
     {{{"model.layers.0.input_layernorm.weight", "layers.0.input_layernorm.weight"},
       {"gpt_neox.layers.0.input_layernorm.weight", "layers.0.input_layernorm.weight"}}}}};

// Whether a name ends with another one, in whole parts.
bool ends_in_part(std::string_view name, std::string_view end) {
  return name.ends_with(end) && (name.size() == end.size() || name[name.size() - end.size() - 1] == '.');
}

// What stands before the model's own names, and what they lack at their beginning.
struct Place {
  std::string above;
  std::string missing;
  auto operator<=>(const Place&) const = default;
};

std::set<Place> find_models(const std::vector<std::string>& names) {
  std::set<Place> places;
  for (const auto& landmarks : kLandmarks) {
    for (const std::string& name : names) {
      const auto whole = std::find_if(landmarks.begin(), landmarks.end(),
                                      [&](const Landmark& mark) { return ends_in_part(name, mark.whole); });
      const auto bare = std::find_if(landmarks.begin(), landmarks.end(),
                                     [&](const Landmark& mark) { return ends_in_part(name, mark.bare); });
      if (whole != landmarks.end())
        places.insert({name.substr(0, name.size() - whole->whole.size()), ""});
      else if (bare != landmarks.end())
        places.insert({name.substr(0, name.size() - bare->bare.size()),
                       std::string(bare->whole.substr(0, bare->whole.size() - bare->bare.size()))});
    }
    if (!places.empty()) break;
  }
  return places;
}

// Gives heads the names that they have in files. A head whose name is a part of the model's root is the head:
// names without a root below the key "model" read like that. GPT-NeoX's head is called lm_head in the memory
// of transformers 5, and embed_out in its files.
std::map<std::string, std::string> with_head_of_files(std::map<std::string, std::string> names) {
  for (const char* root : {"model.", "gpt_neox."})
    for (const char* head : {"lm_head.weight", "embed_out.weight"})
      if (const auto inside = names.find(std::string(root) + head); inside != names.end())
        if (names.emplace(head, inside->second).second) names.erase(inside);
  const auto head = names.find("lm_head.weight");
  if (head == names.end() || names.count("gpt_neox.embed_in.weight") == 0) return names;
  if (names.emplace("embed_out.weight", head->second).second) names.erase(head);
  return names;
}

}  // namespace

std::string without_wrappers(std::string_view name) {
  std::string result(name);
  for (const std::string_view wrapper : kWrappers)
    for (size_t at = result.find(wrapper); at != std::string::npos; at = result.find(wrapper, at)) {
      if (at == 0 || result[at - 1] == '.')
        result.erase(at, wrapper.size());
      else
        at += wrapper.size();
    }
  return result;
}

std::map<std::string, std::string> unwrapped_names(const std::vector<std::string>& names,
                                                   const std::string& source) {
  std::map<std::string, std::string> clean;
  std::vector<std::string> unwrapped;
  for (const std::string& name : names) {
    std::string shorter = without_wrappers(name);
    const auto [place, is_new] = clean.emplace(shorter, name);
    if (!is_new)
      throw InputError(
          fmt::format("[{}] expected each tensor once, got \"{}\" and \"{}\"", source, place->second, name));
    unwrapped.push_back(std::move(shorter));
  }
  const std::set<Place> models = find_models(unwrapped);
  if (models.empty() || models.count({"", ""}) != 0) return with_head_of_files(std::move(clean));
  if (models.size() > 1)
    throw InputError(
        fmt::format("[{}] expected the weights of one model, got several, under \"{}\" and \"{}\"; save "
                    "the one that is wanted by itself",
                    source, models.begin()->above, models.rbegin()->above));
  const Place& model = *models.begin();
  std::map<std::string, std::string> result;
  for (const auto& [name, stored] : clean) {
    if (!name.starts_with(model.above)) continue;
    const std::string own = name.substr(model.above.size());
    // The head lies beside the model, not in it.
    const bool is_head = own.starts_with("lm_head.") || own.starts_with("embed_out.");
    result.emplace((is_head ? "" : model.missing) + own, stored);
  }
  return with_head_of_files(std::move(result));
}

}  // namespace longlora::checkpoint
