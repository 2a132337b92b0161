// The table that says what each field of config.json does here, and the check of a file against it.
#pragma once

#include <string>
#include <vector>

#include "longlora/core/json.h"

namespace longlora::model {

struct Family;
class ConfigReader;

/// What a field of config.json does in this program. The table knows the fields of transformers'
/// configuration classes, their older spellings, and further names that transformers' models look for.
enum class FieldUse {
  kRead,     // it is read
  kNothing,  // it changes nothing that is computed here
  kFixed,    // it is refused, unless it has a value that changes nothing
  kDropout,  // transformers applies it in training; this program does not, and a run says so
};

/// A field of config.json.
struct ConfigField {
  const char* name;
  FieldUse use;
  /// The values that are accepted of a kFixed field. The field may always be missing.
  std::vector<Json> neutral = {};
};

/// Returns the field with that name in a family's configuration, or null where no table knows it.
const ConfigField* find_config_field(const Family& family, const std::string& name);

/// Throws InputError for a field that makes transformers compute something that this program does not
/// compute.
void check_config_fields(const Json& json, const ConfigReader& reader, const Family& family);

/// Lists the fields that are set and that no table knows ("a, b and 2 more"); empty when there are none.
std::string unknown_config_fields(const Json& json, const Family& family);

/// Says which dropout transformers would apply in training ("attention_dropout 0.1"); empty when there is
/// none.
std::string unapplied_dropout(const Json& json, const Family& family);

/// Joins the first names and counts the others: "a, b, c and 4 more".
std::string short_list(const std::vector<std::string>& names);

/// Whether a value says that a setting is off or as usual: null, false, 0, 1, or something empty.
bool is_off(const Json& value);

}  // namespace longlora::model
