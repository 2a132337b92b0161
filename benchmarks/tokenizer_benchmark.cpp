// Times encode() on one file: "tokenizer_benchmark TOKENIZER TEXT REPEATS" prints the seconds of each call on
// one line and the ids on the next. benchmarks/compare_tokenizers.py runs it beside Hugging Face's
// tokenizers.
#include <fmt/format.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>

#include "longlora/core/error.h"
#include "longlora/core/file.h"
#include "longlora/tokenizer/tokenizer.h"

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
      const auto start = std::chrono::steady_clock::now();
      ids = tokenizer->encode(text, true);
      const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
      fmt::print("{:.9f} ", seconds.count());
    }
    fmt::print("\n{}\n", fmt::join(ids, " "));
  } catch (const Error& error) {
    fmt::print(stderr, "error: {}\n", error.what());
    return static_cast<int>(error.code());
  }
  return 0;
}
