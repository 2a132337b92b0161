// libFuzzer's entry for the parser that LONGLORA_FUZZED names.
#include <cstddef>
#include <cstdint>

#include "tests/fuzz/parsers.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  longlora::fuzz::LONGLORA_FUZZED({reinterpret_cast<const char*>(data), size});
  return 0;
}
