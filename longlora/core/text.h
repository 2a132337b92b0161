// Small operations on text.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace longlora {

/// `text` without spaces, tabs and line breaks at its ends.
std::string trimmed(std::string_view text);

/// Levenshtein distance: the fewest bytes to insert, remove or replace that make `a` into `b`.
size_t text_distance(std::string_view a, std::string_view b);

}  // namespace longlora
