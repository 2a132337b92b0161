// The fields of one JSON object of a sample, and which of them were read. Internal to this room.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "longlora/core/json.h"

namespace longlora::data {

/// Hands out fields by name, and knows which of them nobody has taken. A field that is null counts as
/// missing.
class SampleFields {
 public:
  /// `object` must outlive this object. `place` names the sample in messages; `prefix` is put before the
  /// names of fields that were not read.
  SampleFields(const Json& object, std::string place, std::string prefix = "");

  /// The field, which then counts as read, or null where it is missing.
  const Json* take(std::string_view name);
  /// Does the same without counting the field as read.
  const Json* look_at(std::string_view name) const;
  /// The text of a field, or "" where it is missing. Throws InputError where the field is no text.
  std::string take_text(std::string_view name);
  /// Whether there is such a field. It may be null.
  bool has(std::string_view name) const { return object_.contains(name); }
  /// Whether there is such a field with something in it: neither null, false, "" nor an empty list or object.
  bool holds(std::string_view name) const;
  /// The first of the names whose field holds something, or "".
  std::string_view first_held(std::span<const std::string_view> names) const;

  /// Adds the names of the fields that hold something, or false, and were not taken.
  void add_unread(std::vector<std::string>* unread) const;
  /// The names of all fields: "a, b".
  std::string names() const;

  /// Throws InputError "[place] expected …, got …".
  [[noreturn]] void refuse(const std::string& expected, const std::string& got) const;
  const std::string& place() const { return place_; }
  const std::string& prefix() const { return prefix_; }

 private:
  const Json& object_;
  std::string place_;
  std::string prefix_;
  std::vector<std::string_view> taken_;
};

}  // namespace longlora::data
