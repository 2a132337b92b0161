// The names of modules in PEFT's rank_pattern and alpha_pattern.
#pragma once

#include <string_view>

namespace longlora::checkpoint {

/// Whether this program understands the pattern: PEFT takes any regular
/// expression and writes names; of the former, '.' (any character), '\.', '\d' and the
/// anchors '^' and '$' at the ends are known here, which is what a name needs.
bool is_known_pattern(std::string_view pattern);

/// PEFT's rule, re.match("(.*\.)?(pattern)$", module): the pattern is the whole
/// name or the end of it after a dot. `pattern` has to be a known one.
bool matches_module(std::string_view pattern, std::string_view module);

}  // namespace longlora::checkpoint
