#include "longlora/data/learn_flags.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "longlora/data/json_samples.h"

namespace longlora::data {

namespace {

// True, or 1, in one of these means learned.
constexpr auto kFlags =
    std::to_array<std::string_view>({"weight", "train", "training", "trainable", "train_on_turn", "do_train",
                                     "train_on", "learn", "loss", "loss_mask", "loss_weight"});
// Some programs mean learned by true in one of these, others mean left out.
constexpr auto kUnclear = std::to_array<std::string_view>({"mask", "masked", "ignore", "loss_scale"});

std::string shown(const Json& value) {
  return value.is_boolean() || (value.is_number() && is_finite(value)) ? value.dump() : kind_of(value);
}

// A text of such a name is something else than a flag.
bool is_flag(const Json* value) {
  return value != nullptr && (value->is_boolean() || value->is_number() || value->is_array());
}

}  // namespace

std::optional<bool> read_learn_flag(SampleFields& fields, const char* what) {
  for (const std::string_view name : kUnclear)
    if (is_flag(fields.look_at(name)))
      fields.refuse("a flag whose meaning is known (write \"train\": true or false in each message instead)",
                    fmt::format("\"{}\": {}", name, shown(*fields.look_at(name))));
  std::optional<bool> learn;
  for (const std::string_view name : kFlags) {
    const Json* value = fields.take(name);
    if (value == nullptr) continue;
    const bool is_bit = value->is_boolean() || (value->is_number() && (*value == 0 || *value == 1));
    if (!is_bit)
      fields.refuse(fmt::format("{}'s \"{}\" to be 0, 1, true or false", what, name), shown(*value));
    const bool asked = value->is_boolean() ? value->get<bool>() : *value == 1;
    if (learn && *learn != asked)
      fields.refuse(fmt::format("{}'s flags to agree whether it is learned", what),
                    fmt::format("another word in \"{}\"", name));
    learn = asked;
  }
  return learn;
}

void refuse_learn_flag(const SampleFields& part) {
  const auto refuse = [&](std::string_view name) {
    part.refuse("messages that are learned or not as a whole (make two messages, or take the flag out)",
                fmt::format("a part of one with \"{}\"", name));
  };
  for (const std::string_view name : kFlags)
    if (part.look_at(name) != nullptr) refuse(name);
  for (const std::string_view name : kUnclear)
    if (is_flag(part.look_at(name))) refuse(name);
}

}  // namespace longlora::data
