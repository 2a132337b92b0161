// The regular expressions by which PEFT's adapter_config.json names modules.
#pragma once

#include <string>

namespace longlora::checkpoint {

/// Throws InputError naming `source` when `pattern` is not a regular expression, or one that is too long.
void check_module_pattern(const std::string& pattern, const std::string& source);

/// Whether a key of rank_pattern or alpha_pattern means the module. PEFT's rule is
/// re.match("(.*\.)?(pattern)$", module). Throws InputError for a wrong pattern, and for one that takes more
/// steps than matching a name should.
bool matches_module(const std::string& pattern, const std::string& module);

/// Whether a target_modules that is one text means the module. "all-linear" means every module; for other
/// texts PEFT's rule is re.fullmatch. Throws as matches_module does.
bool matches_target(const std::string& pattern, const std::string& module);

}  // namespace longlora::checkpoint
