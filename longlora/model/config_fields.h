// What is done with each field of config.json: the table, and the check of a file against it.
#pragma once

#include <string>
#include <vector>

#include "longlora/core/json.h"

namespace longlora::model {

struct Family;
class ConfigReader;

/// What a field of config.json means here. The fields are those of the configuration classes of transformers,
/// their older spellings, and the names that its models look for beside them.
enum class FieldUse {
  kRead,     // decides something here
  kNothing,  // changes nothing that is computed here
  kFixed,    // refused unless it has a value under which it changes nothing
  kDropout,  // of training with transformers; not applied here, which a run says
};

/// One field.
struct ConfigField {
  const char* name;
  FieldUse use;
  /// Of kFixed: the values that are accepted; a field that is not there always is.
  std::vector<Json> neutral = {};
};

/// The field of a family's configuration; null for a name that no table knows.
const ConfigField* find_config_field(const Family& family, const std::string& name);

/// Throws InputError that names a field under which transformers computes something that is not computed
/// here.
void check_config_fields(const Json& json, const ConfigReader& reader, const Family& family);

/// The fields that are set and that no table knows ("a, b and 2 more"); empty when there are none.
std::string unknown_config_fields(const Json& json, const Family& family);

/// The dropout that transformers would apply in training ("attention_dropout 0.1"); empty when there is none.
std::string unapplied_dropout(const Json& json, const Family& family);

/// "a, b, c and 4 more".
std::string short_list(const std::vector<std::string>& names);

/// Whether a value says that something is off or as usual: null, false, 0, 1, empty.
bool is_off(const Json& value);

}  // namespace longlora::model
