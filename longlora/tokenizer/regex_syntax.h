// Translates regular expressions from the syntax of Hugging Face's tokenizers (Oniguruma) to that of PCRE2.
#pragma once

#include <string>

namespace longlora::tokenizer {

/// The same expression for PCRE2 with UTF, UCP and MULTILINE. There \w, \s and \h stand for other characters,
/// (?m) is called (?s), and {,n} is written {0,n}. `source` names the file in the InputError for what has no
/// counterpart: intersections, sets inside sets, and \H in a set.
std::string translate_regex(const std::string& pattern, const std::string& source);

}  // namespace longlora::tokenizer
