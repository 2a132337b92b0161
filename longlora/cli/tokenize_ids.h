// What the verb `tokenize` does with `--ids` and `--decode`: it turns texts into ids on standard output, and
// back.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "longlora/tokenizer/tokenizer.h"

namespace longlora::cli {

struct TokenizeIdsArguments {
  std::vector<std::string> texts;
  std::vector<std::filesystem::path> inputs;
  bool add_special_tokens = true;   // for --ids
  bool skip_special_tokens = true;  // of --decode
  int num_threads = 1;              // how many files are tokenized at once
  std::string bin_dtype = "auto";   // for --decode; see data::id_type_choices()
  std::filesystem::path json;
  std::filesystem::path output;  // for --decode, where the text goes
};

/// Prints a list of ids for each text and file (see data::read_text). Throws InputError that names a file
/// which cannot be read.
void print_ids(const tokenizer::Tokenizer& tokenizer, const TokenizeIdsArguments& arguments);

/// Prints the text of each list of ids. A list is numbers between spaces, commas or brackets in a text or
/// file, a file that `--ids --json` wrote, or a .bin of ids. Throws InputError that names what is no id.
void print_texts(const tokenizer::Tokenizer& tokenizer, const TokenizeIdsArguments& arguments);

}  // namespace longlora::cli
