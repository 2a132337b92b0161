// Little-endian numbers in files, and text from files shown in messages.
#pragma once

#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>

namespace longlora::checkpoint {

/// The little-endian number at `offset`; the caller has checked that it lies inside `bytes`.
template <typename Number>
Number read_number(std::string_view bytes, size_t offset) {
  Number value;
  std::memcpy(&value, bytes.data() + offset, sizeof value);
  return value;
}

/// Text from a file of others in a form fit for a message: control characters become '?', and long text is
/// cut.
inline std::string shown_text(std::string_view text) {
  constexpr size_t kMaxShown = 120;
  std::string result(text.substr(0, kMaxShown));
  for (char& c : result)
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = '?';
  return text.size() > kMaxShown ? result + "…" : result;
}

}  // namespace longlora::checkpoint
