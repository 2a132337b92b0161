// libFuzzer's entry for one parser.
#include <cstddef>
#include <cstdint>

#include "tests/fuzz/parsers.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  longlora::fuzz::parse_instructions({reinterpret_cast<const char*>(data), size});
  return 0;
}
