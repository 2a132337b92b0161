// Times encode() on one file: "tokenizer_benchmark TOKENIZER TEXT REPEATS" prints the processor seconds of
// each call on one line and the ids on the next. benchmarks/compare_tokenizers.py runs it beside Hugging
// Face's tokenizers.
#include <fmt/format.h>

#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <string>

#include "longlora/core/error.h"
#include "longlora/core/file.h"
#include "longlora/tokenizer/tokenizer.h"

namespace {

double processor_seconds() {
  timespec now{};
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

}  // namespace

int main(int argc, char** argv) {
  using namespace longlora;
  if (argc != 4) {
    std::fputs("usage: tokenizer_benchmark TOKENIZER TEXT REPEATS\n", stderr);
    return 2;
  }
  try {
    const auto tokenizer = tokenizer::load_tokenizer(argv[1]);
    const std::string text = read_file(argv[2]);
    tokenizer::Ids ids;
    for (int i = 0; i < std::atoi(argv[3]); ++i) {
      const double start = processor_seconds();
      ids = tokenizer->encode(text, true);
      fmt::print("{:.9f} ", processor_seconds() - start);
    }
    std::string line = "\n";
    for (const int32_t id : ids) line += std::to_string(id) + " ";
    fmt::print("{}\n", line);
  } catch (const Error& error) {
    fmt::print(stderr, "error: {}\n", error.what());
    return static_cast<int>(error.code());
  }
  return 0;
}
